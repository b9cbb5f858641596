// Retention drops whole files; nothing is rewritten. The new start is durable before the first file goes.
#include "storage/rocks/rocks_partition_log.hpp"

#include "storage/rocks/keys.hpp"
#include "storage/rocks/log_cursor.hpp"

#include <rocksdb/convenience.h>

#include <algorithm>

namespace millrace::storage::rocks {

/// Files of the last level in order: those that RocksDB can drop whole. A fresh file gets there by a move within moments.
std::vector<rocks_partition_log::file_range> rocks_partition_log::movable_files() const {
  rocksdb::ColumnFamilyMetaData meta;
  db_->db().GetColumnFamilyMetaData(family_, &meta);
  std::vector<file_range> files;
  for (const auto& level : meta.levels) {
    if (level.level == 0) continue;
    for (const auto& file : level.files)
      if (file.smallestkey.size() == sizeof(std::uint64_t) && file.largestkey.size() == sizeof(std::uint64_t))
        files.push_back({{read_be64(file.smallestkey.data())}, {read_be64(file.largestkey.data())}});
  }
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  return files;
}

/// The last file that the rule drops decides: gives the end of its newest entry, or the present start.
result<offset> rocks_partition_log::droppable(const drop_rule& drop, offset limit) const {
  offset start;
  std::uint64_t end_bytes = 0, start_bytes = 0;
  {
    std::lock_guard lock(mutex_);
    start = first_;
    start_bytes = first_bytes_;
    end_bytes = next_bytes_;
  }
  auto it = make_iterator(0);
  for (const auto& file : movable_files()) {
    if (file.last < start) continue; // not yet deleted, but no longer part of the log
    if (file.last >= limit) break;
    it->Seek(offset_key(file.last));
    // A replica's file may end with keys that were truncated away.
    if (replicated_ && it->status().ok() && (!it->Valid() || view(it->key()) != offset_key(file.last)))
      it->SeekForPrev(offset_key(file.last));
    if (!it->Valid())
      return it->status().ok() ? failure{errc::corrupt, place(file.last) + ": the entry is missing"}
                               : read_failure(it->status(), place(file.last));
    const auto stored = it->value().size();
    auto newest = parse_at(*it);
    if (!newest) return newest.error();
    const auto& fields = newest.value().fields;
    if (replicated_ && fields.end() <= start) continue;
    if (!drop(fields, end_bytes - start_bytes) || fields.end() > limit) break;
    start = fields.end();
    start_bytes = fields.bytes_before + stored;
  }
  return start;
}

result<offset> rocks_partition_log::trim(const retention_policy& policy, offset floor, timestamp now, bool force) {
  auto writing = enter_leader();
  if (!writing) return writing.error();
  if (policy.time.count() < 0) return failure{errc::invalid, place() + ": a negative retention time"};
  // The newest acknowledged entry stays whatever the policy says: offsets, times and hashes go on from it.
  const offset newest{high_watermark_.value - std::min<std::uint64_t>(high_watermark_.value, 1)};
  const offset limit = force ? newest : std::min(floor, newest);
  auto start = droppable(
      [&](const entry_fields& file_end, std::uint64_t kept) {
        const bool too_old = policy.time.count() > 0 && file_end.last_time < now - policy.time;
        const bool too_large = policy.bytes > 0 && kept > policy.bytes;
        return too_old || too_large;
      },
      limit);
  if (!start) return start.error();
  if (start.value() > first_) {
    // What was carried goes first: a start that grows with every call would be carried for ever and never reached.
    const auto to = carried_below_ > first_ ? std::min(carried_below_, start.value()) : start.value();
    auto ready = carry(to);
    if (!ready) return ready.error();
    if (ready.value())
      if (auto ok = set_start(to); !ok) return ok.error();
  }
  // Also after a crash between the two: files below the start are never part of the log again.
  if (auto ok = drop_below(first_); !ok) return ok.error();
  if (auto ok = flush_expired(policy, limit, now); !ok) return ok.error();
  return first_;
}

result<offset> rocks_partition_log::trim_to(offset start) {
  auto writing = enter_writer();
  if (!writing) return writing.error();
  if (high_watermark_ == first_) return first_;
  auto mine =
      droppable([](const entry_fields&, std::uint64_t) { return true; }, std::min(start, offset{high_watermark_.value - 1}));
  if (!mine) return mine.error();
  if (mine.value() > first_) {
    if (auto ok = set_start(mine.value()); !ok) return ok.error();
  }
  if (auto ok = drop_below(first_); !ok) return ok.error();
  return first_;
}

result<void> rocks_partition_log::drop_below(offset start) {
  if (start.value == 0) return success();
  release_cursors();
  const auto end = offset_key(start);
  const rocksdb::Slice bound(end);
  const rocksdb::RangePtr range(nullptr, &bound);
  if (auto status = rocksdb::DeleteFilesInRanges(&db_->db(), family_, &range, 1, false); !status.ok())
    db_->say(place() + ": retention could not drop files and will try again: " + status.ToString());
  return success();
}

result<void> rocks_partition_log::set_start(offset start) {
  // `start` is an entry's base: the limit of droppable() lies below the end.
  auto it = make_iterator(0);
  auto entry = find(*it, start);
  if (!entry) return entry.error();
  const auto bytes = entry.value().fields.bytes_before;
  rocksdb::WriteBatch rows;
  std::string value;
  append_be64(value, start.value);
  append_be64(value, bytes);
  rows.Put(db_->meta(), meta_key(prefix_, meta_tag::log_start), value);
  if (replicated_) { // its stored watermark may be older, and must not be below the start
    std::string acknowledged;
    append_be64(acknowledged, high_watermark_.value);
    rows.Put(db_->meta(), meta_key(prefix_, meta_tag::high_watermark), acknowledged);
  }
  if (auto ok = db_->write(rows, database::durability::synced, place() + ": its new start"); !ok) return ok;
  {
    std::lock_guard lock(mutex_);
    first_ = start;
    first_bytes_ = bytes;
  }
  return letters_->forget_notes_below(start);
}

/// Entries in memory are in no file, so a quiet log would keep them for ever: they become a file some time after they expire.
result<void> rocks_partition_log::flush_expired(const retention_policy& policy, offset limit, timestamp now) {
  if (policy.time.count() == 0 || first_ >= limit) return success();
  const auto files = movable_files();
  if (!files.empty() && files.back().last >= first_) return success();
  auto oldest = fields_at(first_);
  if (!oldest) return oldest.error();
  const auto grace = std::max<std::chrono::seconds>(policy.time / 8, std::chrono::seconds(60));
  if (oldest.value().last_time >= now - policy.time - grace) return success();
  return db_->flush(family_, place() + ": its expired entries");
}

void rocks_partition_log::release_cursors() const {
  std::lock_guard lock(cursors_mutex_);
  for (auto* cursor : cursors_) cursor->release();
}

} // namespace millrace::storage::rocks
