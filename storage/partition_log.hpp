#pragma once
// The ordered, replayable log of one partition. On-disk form and rules: replication.md sections 3, 5 and 13 (one replica).

#include "storage/batch.hpp"
#include "storage/dead_letters.hpp"

#include <functional>
#include <span>

namespace millrace::storage {

struct retention_policy {
  std::chrono::seconds time{0}; ///< 0: keep for ever
  std::uint64_t bytes = 0;      ///< 0: no bound
};

struct log_info {
  offset first, next, high_watermark;
  std::uint64_t bytes = 0;   ///< stored, on disk
  std::uint64_t changes = 0; ///< data changes since the log began (control entries apart): "ingested"
  storage::epoch epoch;
  log_id id;
};

/// Source: what append() accepted is the truth of this replica; anything held in memory is rebuilt from it.
/// Owner:  created by node_store. Functions under "Writer" belong to one thread, the stage's; the others are thread safe.
/// Errors: returned, never thrown. After io_failed the process must end (a failed sync is never retried); no_space is
///         returned before anything was written and may be retried; corrupt names partition and offset.
class partition_log {
public:
  virtual ~partition_log() = default;

  // ---- Writer
  // Of a replicated log (replica_log.hpp) what an append changes comes true when the high watermark passes the end that the log
  // has when the call returns: until then neither readers nor the source's state nor the dead letters know of it. Its appends
  // are fenced unless this replica leads, and cut what is large into several entries: the offset given is the first one's for
  // append(), the last one's for decisions.
  /// Makes the calling thread the only writer: an earlier one, whose owner may not have ended yet, gets `fenced` from now on.
  /// Waits for a call of it that is under way. Without this call any one thread may write.
  virtual void take_writer() = 0;
  /// Appends all of `batches` or none, synced on return; gives the offset of the first change. One call is one sync:
  /// the caller groups what waits. Batches without changes only move the source's state.
  virtual result<offset> append(std::span<const staged_batch_ptr> batches) = 0;
  /// Appends the decision and stores `letters` in one synced write. Letters the index already has as open are left alone;
  /// replaced ones come back with attempts + 1. Letters are in offset order.
  virtual result<offset> append_quarantine(std::string_view load, std::span<const dead_letter> letters) = 0;
  virtual result<offset> append_redrive(std::string_view load, std::span<const offset> letters, bool force) = 0;
  virtual result<offset> append_discard(std::string_view load, std::span<const offset> letters) = 0;
  /// Marks the load's dead letters at or above `to` as replaced and leaves a pending rewind, in one synced write.
  virtual result<offset> append_rewind(std::string_view load, offset to, bool truncate) = 0;
  /// What the order at `at` (redrive, discard) will do to dead letters, before the destination commits past `at`: call it for
  /// each order, also without outcomes (an earlier try may have had some). See dead_letter_table::prepare.
  virtual result<offset> append_outcomes(std::string_view load, offset at, std::span<const outcome> outcomes) = 0;
  /// The destination carried the load's pending rewind out. See dead_letter_table::clear_rewind.
  virtual result<offset> append_rewound(std::string_view load) = 0;
  /// Drops whole files below `floor` (what every load has committed; force ignores it) that the policy no longer keeps.
  /// Gives the new first offset. Of a replicated log, what a new replica needs of the dropped entries (source state, dead
  /// letters) is first appended again; they go at a later call, when that is acknowledged.
  virtual result<offset> trim(const retention_policy& policy, offset floor, timestamp now, bool force) = 0;

  // ---- Readers
  // They see what is below the high watermark: all of the log, unless it is replicated.
  virtual log_info info() const = 0;
  /// The entry that contains `at` (its base may be lower). Fresh entries come from memory.
  /// Errors: trimmed, end_of_log, corrupt, io_failed.
  virtual result<batch_ptr> read(offset at) const = 0;
  /// A forward scan with read-ahead: next() gives the entry containing the position, then each following one; end_of_log may
  /// be asked again later. Not thread safe, one per reader. Does not pin files: a trimmed position is errc::trimmed.
  class cursor {
  public:
    virtual ~cursor() = default;
    virtual result<batch_ptr> next() = 0;
    virtual void seek(offset at) = 0;
  };
  virtual std::unique_ptr<cursor> scan(offset from) const = 0;
  /// First offset whose entry has last_time >= t; the high watermark if none.
  virtual result<offset> seek_time(timestamp t) const = 0;
  /// Data changes (not control entries) below `at`.
  virtual result<std::uint64_t> changes_below(offset at) const = 0;
  /// All of the source's state, as of the high watermark.
  virtual result<std::vector<state_entry>> source_state() const = 0;
};

} // namespace millrace::storage
