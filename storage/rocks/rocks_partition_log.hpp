#pragma once
// One partition's log as a column family: key = base offset, value = entry. Bookkeeping (epochs, log start, source state) lies
// in the meta family and changes in the same write as the entry that changes it.
//
//   writer thread ──append──> one WriteBatch: entries + meta + letters ──sync──> publish: next_, tail_ ──> readers
//
// Written in open.cpp, append.cpp, read.cpp and retention.cpp.

#include "storage/entry_internal.hpp"
#include "storage/rocks/database.hpp"
#include "storage/rocks/dead_letter_table.hpp"
#include "storage/rocks/tail_cache.hpp"

#include <set>
#include <thread>

namespace millrace::storage::rocks {

class log_cursor;

class rocks_partition_log final : public partition_log, public std::enable_shared_from_this<rocks_partition_log> {
public:
  struct environment {
    std::shared_ptr<database> db;
    storage::catalog* catalog = nullptr; ///< used while opening only
    std::shared_ptr<dead_letter_rows> letters;
    std::uint64_t session = 0; ///< of this process
  };
  static result<std::shared_ptr<rocks_partition_log>> open(environment env, const std::string& uid, std::uint32_t partition,
                                                           const partition_options& options);

  // ---- Writer
  void take_writer() override;
  result<offset> append(std::span<const staged_batch_ptr> batches) override;
  result<offset> append_quarantine(std::string_view load, std::span<const dead_letter> letters) override;
  result<offset> append_redrive(std::string_view load, std::span<const offset> letters, bool force) override;
  result<offset> append_discard(std::string_view load, std::span<const offset> letters) override;
  result<offset> append_rewind(std::string_view load, offset to, bool truncate) override;
  result<offset> trim(const retention_policy& policy, offset floor, timestamp now, bool force) override;

  // ---- Readers
  log_info info() const override;
  result<batch_ptr> read(offset at) const override;
  std::unique_ptr<cursor> scan(offset from) const override;
  result<offset> seek_time(timestamp t) const override;
  result<std::uint64_t> changes_below(offset at) const override;
  result<std::vector<state_entry>> source_state() const override;

  // ---- For the store
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

  // append.cpp
  using extra_rows = std::function<void(rocksdb::WriteBatch&)>;
  result<offset> append_entries(std::span<const staged_entry* const> entries, database::use use, const extra_rows& extra);
  result<std::unique_lock<std::mutex>> enter_writer();
  result<offset> append_control(batch_kind kind, const control_entry& control, const extra_rows& extra);

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
  result<offset> droppable(const retention_policy& policy, offset limit, timestamp now) const;
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
  rocksdb::ColumnFamilyHandle* family_ = nullptr;

  // Set while opening.
  storage::log_id id_;
  storage::epoch epoch_;
  std::uint64_t store_ = 0;
  std::uint64_t seen_epoch_ = 0;

  std::mutex writing_; ///< held by whoever writes
  std::thread::id writer_;

  // Writer's thread.
  hash128 last_hash_;
  timestamp last_time_{};
  std::size_t appended_since_release_ = 0;
  rocksdb::WriteBatch batch_;

  mutable std::mutex mutex_; ///< of what follows
  offset first_, next_;
  std::uint64_t first_bytes_ = 0, next_bytes_ = 0; ///< stored bytes below first_ and next_
  std::uint64_t changes_ = 0;
  tail_cache tail_;

  mutable std::mutex cursors_mutex_;
  mutable std::set<log_cursor*> cursors_;
};

} // namespace millrace::storage::rocks
