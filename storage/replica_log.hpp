#pragma once
// The disk side of one replica: what replication needs of a partition beyond partition_log (replication.md sections 3, 5, 6).
//
//   leader:   partition_log::append ──before_write──> frames to followers ──sync──> ... advance(hw) ──> readers, ingest, loads
//   follower: frames ──append_raw──sync──> durable ──> ... advance(hw) ──> source state and dead letters follow
//
// What an entry does to the partition's state (the source's position, the index of dead letters) is applied when the high
// watermark passes it: an entry above it may still be truncated, and then nothing must remember it.

#include "storage/batch.hpp"
#include "storage/shared_bytes.hpp"

#include <functional>

namespace millrace::storage {

/// One entry as it lies on the disk and travels, header and body in one piece. Immutable, shared.
struct raw_entry {
  offset base;
  std::uint32_t count = 0;
  storage::epoch epoch;
  hash128 prev, hash;
  shared_bytes value;
  offset end() const { return {base.value + count}; }
};
/// Checks structure and hash. Errors: corrupt, with what is wrong; the caller adds where it came from.
result<raw_entry> parse_raw(shared_bytes value);

/// Where a log ends: elections compare (last_epoch, end).
struct log_position {
  storage::epoch last_epoch; ///< of the newest entry; 0: the log is empty
  offset end;
  hash128 hash; ///< of the newest entry
};
struct epoch_start {
  storage::epoch epoch;
  offset first;
};

/// Owner:  made by node_store::open_replica(), which also gives the same partition as a partition_log. Everything here is for the
///         partition's one writer thread, but for read_raw and the getters, which are thread safe.
/// Errors: returned. After io_failed the process must end; no_space is returned before anything was written.
class replica_log {
public:
  virtual ~replica_log() = default;

  virtual std::uint64_t store() const = 0; ///< identity of this copy: random, made with its storage
  virtual log_id id() const = 0;           ///< 0 until the first reset() of a replica that has never had any
  virtual epoch seen_epoch() const = 0;
  virtual result<void> see_epoch(epoch e) = 0; ///< synced; never lowers
  virtual log_position position() const = 0;   ///< everything in it is synced
  virtual offset start() const = 0;
  virtual offset high_watermark() const = 0; ///< of this process's knowledge; after a start the stored one, which may be old
  virtual std::vector<epoch_start> epochs() const = 0; ///< the epoch table, rising
  /// Entries from `from` on, which must be an entry's base: at least one, at most `bytes` together after the first.
  /// Errors: trimmed, end_of_log, corrupt, io_failed; invalid if `from` is inside of an entry.
  virtual result<std::vector<raw_entry>> read_raw(offset from, std::size_t bytes) const = 0;

  // ---- Follower
  /// All or none, one synced write; each is verified again. Errors: conflict if they do not continue this log (offset, hash,
  /// an epoch that falls or is above the seen one); corrupt; invalid while leading or before the first reset().
  virtual result<void> append_raw(std::span<const raw_entry> entries) = 0;
  /// Drops [end, ...); synced, together with `seen`. Errors: invalid below the high watermark (nothing was done) or inside an
  /// entry.
  virtual result<void> truncate(offset end, epoch seen) = 0;
  /// Empties this replica: a new store, which begins at `start` as a copy of log `id`. One write: a crash leaves the old copy or
  /// the empty one. The seen epoch stays. Until the first entry came, position().hash is not known (0) unless `start` is 0.
  virtual result<void> reset(log_id id, offset start) = 0;

  // ---- Leader
  /// Appends the epoch's marker; partition_log's appends stamp this epoch from now on. Until the first call of it they are
  /// refused (fenced), and again after end_epoch(). Errors: fenced if a later epoch was seen; invalid if the epoch is not above
  /// the newest entry's, or there is no entry to go on from.
  virtual result<void> begin_epoch(epoch e) = 0;
  virtual void end_epoch() = 0;
  /// Called on the writer's thread with the entries that partition_log's appends are about to write and sync, so that followers
  /// can write them at the same time. Empty: none.
  virtual void before_write(std::function<void(std::span<const raw_entry>)> hook) = 0;

  // ---- Both
  /// Raises the high watermark (at most to the end; lower values are ignored): readers may see what is below, the source's state
  /// and the dead letters' index follow. Not synced by itself.
  /// A value inside of an entry counts as that entry's base. Errors: corrupt, if an entry cannot be applied; what was applied
  /// before it is published.
  virtual result<void> advance(offset high_watermark) = 0;
  /// Drops whole files below `start` (the leader's), but never the newest acknowledged entry; gives the new start, which may be
  /// lower. What is not acknowledged stays: advance() first.
  virtual result<offset> trim_to(offset start) = 0;
};

} // namespace millrace::storage
