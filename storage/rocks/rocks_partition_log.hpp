#pragma once
// One partition's log as a column family: key = base offset, value = entry. Bookkeeping (epochs, log start, source state) lies
// in the meta family and changes in the same write as the entry that changes it.
//
//   writer thread ──append──> one WriteBatch: entries + meta + letters ──sync──> publish: next_, tail_ ──> readers
//
// As one of several replicas the write carries entries only, and readers wait:
//
//   append, append_raw ──> entries + meta ──sync──> next_ ──> ... advance() ──> state and letters ──> publish: high_watermark_
//
// Written in open.cpp, append.cpp, control.cpp, read.cpp and retention.cpp; a replica also in open_replica.cpp, follow.cpp,
// lead.cpp and apply.cpp.

#include "storage/entry_internal.hpp"
#include "storage/replica_log.hpp"
#include "storage/rocks/database.hpp"
#include "storage/rocks/dead_letter_table.hpp"
#include "storage/rocks/raw_cache.hpp"
#include "storage/rocks/tail_cache.hpp"

#include <deque>
#include <set>
#include <thread>

namespace millrace::storage::rocks {

class log_cursor;

/// Not 0.
std::uint64_t random_id();

class rocks_partition_log final : public partition_log,
                                  public replica_log,
                                  public std::enable_shared_from_this<rocks_partition_log> {
public:
  struct environment {
    std::shared_ptr<database> db;
    storage::catalog* catalog = nullptr; ///< used while opening only
    std::shared_ptr<dead_letter_rows> letters;
    std::uint64_t session = 0; ///< of this process
  };
  static result<std::shared_ptr<rocks_partition_log>> open(environment env, const std::string& uid, std::uint32_t partition,
                                                           const partition_options& options);
  /// One of several replicas: no record, no new epoch.
  static result<std::shared_ptr<rocks_partition_log>> open_replica(environment env, const std::string& uid,
                                                                   std::uint32_t partition, const partition_options& options);

  // ---- Writer
  void take_writer() override;
  result<offset> append(std::span<const staged_batch_ptr> batches) override;
  result<offset> append_quarantine(std::string_view load, std::span<const dead_letter> letters) override;
  result<offset> append_redrive(std::string_view load, std::span<const offset> letters, bool force) override;
  result<offset> append_discard(std::string_view load, std::span<const offset> letters) override;
  result<offset> append_rewind(std::string_view load, offset to, bool truncate) override;
  result<offset> append_outcomes(std::string_view load, offset at, std::span<const outcome> outcomes) override;
  result<offset> append_rewound(std::string_view load) override;
  result<offset> trim(const retention_policy& policy, offset floor, timestamp now, bool force) override;

  // ---- Readers
  log_info info() const override;
  result<batch_ptr> read(offset at) const override;
  std::unique_ptr<cursor> scan(offset from) const override;
  result<offset> seek_time(timestamp t) const override;
  result<std::uint64_t> changes_below(offset at) const override;
  result<std::vector<state_entry>> source_state() const override;

  // ---- Replica
  std::uint64_t store() const override;
  log_id id() const override;
  storage::epoch seen_epoch() const override;
  result<void> see_epoch(storage::epoch e) override;
  log_position position() const override;
  offset start() const override;
  offset high_watermark() const override;
  std::vector<epoch_start> epochs() const override;
  result<std::vector<raw_entry>> read_raw(offset from, std::size_t bytes) const override;
  result<void> append_raw(std::span<const raw_entry> entries) override;
  result<void> truncate(offset end, storage::epoch seen) override;
  result<void> reset(log_id id, offset start) override;
  result<void> begin_epoch(storage::epoch e) override;
  void end_epoch() override;
  void before_write(std::function<void(std::span<const raw_entry>)> hook) override;
  result<void> advance(offset high_watermark) override;
  result<offset> trim_to(offset start) override;

  // ---- For the store
  bool replicated() const noexcept { return replicated_; }
  /// Shares the store's memory for tails among its partitions.
  void limit_tail(std::size_t bytes);
  std::size_t tail_wanted() const noexcept { return tail_wanted_; }

private:
  friend class log_cursor;
  rocks_partition_log(environment env, const std::string& uid, std::uint32_t partition, const partition_options& options);

  // open.cpp
  result<void> load_or_create(storage::catalog& catalog, const partition_options& options);
  result<void> create_meta();
  result<void> load_meta();
  result<void> load_end();
  result<void> check_meta(bool empty);
  result<void> take_epoch(storage::catalog& catalog, const partition_options& options);
  result<std::optional<std::uint64_t>> meta_number(meta_tag tag, std::size_t at = 0) const;

  // open_replica.cpp
  /// Where an entry ends, and what goes on from there. One is kept for each entry that is not acknowledged, and one for the
  /// newest acknowledged one: a truncation needs no read, and advance() looks only at entries that change something.
  struct edge {
    offset end;
    hash128 hash;
    bool hash_known = true; ///< false: nothing was ever here below `end`
    storage::epoch epoch;
    timestamp last_time{};
    std::uint64_t bytes = 0, changes = 0;
    batch_kind kind = batch_kind::changes;
    bool applies = false; ///< the entry changes the source's state or the letters
  };
  static edge edge_after(const entry_fields& fields, std::size_t stored);
  edge end_edge() const;
  result<void> load_replica();
  result<void> load_epochs();
  result<void> load_edges();

  // follow.cpp
  result<entry_fields> check_next(const raw_entry& entry, const edge& before) const;
  void go_back_to(const edge& e);

  // lead.cpp
  result<std::unique_lock<std::mutex>> enter_leader();
  static result<void> fold_state(std::vector<const staged_entry*>& entries,
                                 std::vector<std::shared_ptr<const staged_entry>>& made);

  // apply.cpp
  result<void> apply(std::size_t count, std::size_t& applied);
  result<shared_bytes> unacknowledged(std::size_t index) const;

  // append.cpp
  using extra_rows = std::function<void(rocksdb::WriteBatch&)>;
  result<offset> append_entries(std::span<const staged_entry* const> entries, database::use use, const extra_rows& extra);
  result<std::unique_lock<std::mutex>> enter_writer();
  void put_state(rocksdb::WriteBatch& to, std::span<const state_entry> state) const;
  void count_appended(std::size_t bytes);

  // control.cpp
  result<offset> append_control(batch_kind kind, const control_entry& control, const extra_rows& extra);
  result<offset> append_letters(batch_kind kind, control_entry control, std::span<const outcome> letters);

  // read.cpp
  std::string place() const;
  std::string place(offset at) const;
  /// trimmed or end_of_log, if the log does not have `at` (now).
  result<void> check_range(offset at) const;
  batch_ptr find_fresh(offset at) const;
  std::unique_ptr<rocksdb::Iterator> make_iterator(std::size_t readahead) const;
  /// Leaves `it` on the entry that contains `at`.
  result<parsed_entry> find(rocksdb::Iterator& it, offset at) const;
  result<parsed_entry> find_past_damage(rocksdb::Iterator& it, offset at, const rocksdb::Status& damage, bool damage_above) const;
  /// The entry under `it`; corrupt names its offset.
  result<parsed_entry> parse_at(const rocksdb::Iterator& it) const;
  result<batch_ptr> decode(const parsed_entry& entry) const;
  result<entry_fields> fields_at(offset at) const;

  // retention.cpp
  struct file_range {
    offset first, last; ///< keys
  };
  std::vector<file_range> movable_files() const;
  /// Whether to drop the file whose newest entry this is, when `kept` bytes are in it and after it.
  using drop_rule = std::function<bool(const entry_fields& newest, std::uint64_t kept)>;
  result<offset> droppable(const drop_rule& drop, offset limit) const;
  result<void> drop_below(offset start);

  // carry.cpp
  struct dropped_effects;
  result<bool> carry(offset start);
  result<void> find_effects(offset start, dropped_effects& found) const;
  result<void> append_carried(const dropped_effects& found);
  result<void> set_start(offset start);
  result<void> flush_expired(const retention_policy& policy, offset limit, timestamp now);
  /// So that readers that idle hold neither files nor memtables.
  void release_cursors() const;

  const std::shared_ptr<database> db_;
  const std::shared_ptr<dead_letter_rows> letters_;
  const std::string uid_;
  const std::uint32_t partition_;
  const std::uint64_t session_;
  const std::string prefix_; ///< of meta keys
  const std::size_t tail_wanted_;
  const codec compression_;
  rocksdb::ColumnFamilyHandle* family_ = nullptr;

  bool replicated_ = false; ///< set while opening

  std::mutex writing_; ///< held by whoever writes
  std::thread::id writer_;

  // Writer's thread.
  hash128 last_hash_;
  bool hash_known_ = true; ///< false: empty, and begins above 0
  timestamp last_time_{};
  bool leading_ = false;
  offset carried_below_, carried_end_; ///< see carry()
  std::function<void(std::span<const raw_entry>)> before_write_;
  std::size_t appended_since_release_ = 0;
  rocksdb::WriteBatch batch_;

  // The writer changes what follows under mutex_, and reads it without.
  mutable std::mutex mutex_;
  storage::log_id id_;
  storage::epoch epoch_;      ///< that appends are stamped with
  storage::epoch tail_epoch_; ///< of the newest entry
  std::uint64_t store_ = 0;
  std::uint64_t seen_epoch_ = 0;
  offset first_, next_;
  offset high_watermark_;                          ///< next_, if this is the only replica
  std::uint64_t first_bytes_ = 0, next_bytes_ = 0; ///< stored bytes below first_ and next_
  std::uint64_t changes_ = 0;
  tail_cache tail_;
  raw_cache raw_;
  std::deque<edge> edges_; ///< of a replica: the first one is at high_watermark_, the last one at next_
  std::vector<epoch_start> epochs_;

  mutable std::mutex cursors_mutex_;
  mutable std::set<log_cursor*> cursors_;
};

} // namespace millrace::storage::rocks
