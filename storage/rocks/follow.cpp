// The follower's side of a replica: entries as they come from the leader, truncation, a new beginning; and reading raw entries.
#include "storage/rocks/rocks_partition_log.hpp"

#include "storage/rocks/keys.hpp"

#include <rocksdb/convenience.h>

#include <algorithm>

namespace millrace::storage::rocks {
namespace {

constexpr std::size_t append_bytes_max = std::size_t{2} << 30;
constexpr std::size_t readahead_min = 128u << 10;

std::string number(std::uint64_t v) {
  std::string s;
  append_be64(s, v);
  return s;
}
std::string text(std::uint64_t v) { return std::to_string(v); }

} // namespace

/// What must hold between a log that ends at `before` and the entry that comes.
result<entry_fields> rocks_partition_log::check_next(const raw_entry& entry, const edge& before) const {
  auto parsed = parse_entry(*entry.value);
  if (!parsed) return failure{errc::corrupt, place(entry.base) + ": an entry to append is damaged: " + parsed.error().message};
  const auto& f = parsed.value().fields;
  const auto conflict = [&](const std::string& what) {
    return failure{errc::conflict, place(f.base) + ": an entry to append does not continue this log: " + what};
  };
  if (f.base != entry.base || f.count != entry.count || f.epoch != entry.epoch || f.prev != entry.prev || f.hash != entry.hash)
    return failure{errc::corrupt, place(entry.base) + ": an entry to append is not what its description says"};
  if (f.base != before.end) return conflict("the log ends at " + text(before.end.value));
  if (f.end() < f.base) return failure{errc::corrupt, place(f.base) + ": offsets are used up"};
  if (before.hash_known && f.prev != before.hash) return conflict("it follows another entry than the log's newest one");
  if (f.epoch < before.epoch)
    return conflict("it is of epoch " + text(f.epoch.value) + ", the log's newest of epoch " + text(before.epoch.value));
  if (f.epoch.value > seen_epoch_)
    return conflict("it is of epoch " + text(f.epoch.value) + ", which this replica has not seen; it has seen " +
                    text(seen_epoch_));
  if (before.hash_known && (f.bytes_before != before.bytes || f.changes_before != before.changes))
    return failure{errc::corrupt, place(f.base) + ": an entry to append counts " + text(f.changes_before) + " changes and " +
                                      text(f.bytes_before) + " bytes below it, this log has " + text(before.changes) + " and " +
                                      text(before.bytes)};
  return f;
}

result<void> rocks_partition_log::append_raw(std::span<const raw_entry> entries) {
  auto writing = enter_writer();
  if (!writing) return writing.error();
  if (entries.empty()) return success();
  if (leading_) return failure{errc::invalid, place() + ": the leader takes no entries from others"};
  if (id_.value == 0) return failure{errc::invalid, place() + ": it is not a copy of any log yet; reset() says of which"};
  std::size_t bytes = 0;
  for (const auto& e : entries) bytes += e.value->size() + 512;
  if (bytes > append_bytes_max)
    return failure{errc::invalid, place() + ": one append of " + text(bytes) + " bytes, at most " + text(append_bytes_max) +
                                      " are possible; append in parts"};

  rocksdb::WriteBatch rows;
  std::vector<edge> edges;
  std::vector<epoch_start> starts;
  bool control = true;
  auto before = end_edge();
  const bool first_of_all = !before.hash_known;
  std::uint64_t first_bytes = first_bytes_;
  for (const auto& e : entries) {
    auto fields = check_next(e, before);
    if (!fields) return fields.error();
    const auto& f = fields.value();
    if (f.epoch > before.epoch || (first_of_all && edges.empty())) {
      rows.Put(db_->meta(), meta_key(prefix_, meta_tag::epoch_table) + number(f.epoch.value), number(f.base.value));
      starts.push_back({f.epoch, f.base});
    }
    if (first_of_all && edges.empty()) {
      first_bytes = f.bytes_before;
      rows.Put(db_->meta(), meta_key(prefix_, meta_tag::log_start), number(f.base.value) + number(f.bytes_before));
    }
    rows.Put(family_, offset_key(f.base), *e.value);
    control = control && f.kind != batch_kind::changes;
    before = edge_after(f, e.value->size());
    edges.push_back(before);
  }
  if (auto ok = db_->check_space(control ? database::use::control : database::use::data, bytes, place() + ": a copy"); !ok)
    return ok;
  rows.Put(db_->meta(), meta_key(prefix_, meta_tag::high_watermark), number(high_watermark_.value));
  if (auto ok = db_->write(rows, database::durability::synced, place(next_) + ": a copy"); !ok) return ok;

  last_hash_ = before.hash;
  hash_known_ = true;
  last_time_ = before.last_time;
  {
    std::lock_guard lock(mutex_);
    first_bytes_ = first_bytes;
    next_ = before.end;
    next_bytes_ = before.bytes;
    changes_ = before.changes;
    tail_epoch_ = before.epoch;
    epochs_.insert(epochs_.end(), starts.begin(), starts.end());
    edges_.insert(edges_.end(), edges.begin(), edges.end());
    for (const auto& e : entries) raw_.push(e);
  }
  count_appended(bytes);
  return success();
}

void rocks_partition_log::go_back_to(const edge& e) {
  last_hash_ = e.hash;
  hash_known_ = e.hash_known;
  last_time_ = e.last_time;
  next_ = e.end;
  next_bytes_ = e.bytes;
  changes_ = e.changes;
  tail_epoch_ = e.epoch;
}

result<void> rocks_partition_log::truncate(offset end, storage::epoch seen) {
  auto writing = enter_writer();
  if (!writing) return writing.error();
  if (leading_) return failure{errc::invalid, place(end) + ": a leader's log is not truncated; end_epoch() first"};
  if (end < high_watermark_)
    return failure{errc::invalid, place(end) + ": refused to truncate the log below its high watermark, " +
                                      text(high_watermark_.value) + ": what is below was acknowledged. The partition must stop"};
  std::size_t kept = 0; // index into edges_
  while (kept + 1 < edges_.size() && edges_[kept + 1].end <= end) ++kept;
  if (edges_[kept].end != end)
    return failure{errc::invalid, place(end) + ": cannot truncate the log there: " +
                                      (end > next_ ? "it ends at " + text(next_.value)
                                                   : "that is inside of the entry at " + text(edges_[kept].end.value))};
  rocksdb::WriteBatch rows;
  // Key by key: they are few, and a range's tombstone would cost every later read.
  for (std::size_t i = kept; i + 1 < edges_.size(); ++i) rows.Delete(family_, offset_key(edges_[i].end));
  for (const auto& e : epochs_)
    if (e.first >= end) rows.Delete(db_->meta(), meta_key(prefix_, meta_tag::epoch_table) + number(e.epoch.value));
  const auto now_seen = std::max(seen.value, seen_epoch_);
  if (now_seen != seen_epoch_) rows.Put(db_->meta(), meta_key(prefix_, meta_tag::seen_epoch), number(now_seen));
  if (rows.Count() == 0) return success();
  if (auto ok = db_->write(rows, database::durability::synced, place(end) + ": a truncation"); !ok) return ok;
  {
    std::lock_guard lock(mutex_);
    seen_epoch_ = now_seen;
    while (edges_.size() > kept + 1) edges_.pop_back();
    while (!epochs_.empty() && epochs_.back().first >= end) epochs_.pop_back();
    go_back_to(edges_.back());
    tail_.truncate(end);
    raw_.truncate(end);
  }
  release_cursors(); // their iterators would still show what was dropped once the watermark passes what replaces it
  return success();
}

result<void> rocks_partition_log::reset(log_id id, offset start) {
  auto writing = enter_writer();
  if (!writing) return writing.error();
  if (leading_) return failure{errc::invalid, place() + ": a leader's log is not emptied; end_epoch() first"};
  if (id.value == 0) return failure{errc::invalid, place() + ": a log's id is not 0"};
  const auto new_store = random_id();
  rocksdb::WriteBatch rows;
  if (next_.value > 0) rows.DeleteRange(family_, offset_key({0}), offset_key(next_));
  rows.DeleteRange(db_->meta(), prefix_, after_partition(uid_, partition_));
  rows.DeleteRange(db_->letters(), prefix_, after_partition(uid_, partition_));
  const auto put = [&](meta_tag tag, const std::string& value) { rows.Put(db_->meta(), meta_key(prefix_, tag), value); };
  put(meta_tag::store, number(new_store));
  put(meta_tag::log_id, number(id.value));
  put(meta_tag::replicated, number(1));
  put(meta_tag::seen_epoch, number(seen_epoch_));
  put(meta_tag::log_start, number(start.value) + number(0));
  put(meta_tag::high_watermark, number(start.value));
  if (auto ok = db_->write(rows, database::durability::synced, place() + ": its new beginning"); !ok) return ok;
  const auto old_end = next_;
  {
    std::lock_guard lock(mutex_);
    id_ = id;
    store_ = new_store;
    go_back_to({.end = start, .hash = {}, .hash_known = start.value == 0, .epoch = {}});
    first_ = high_watermark_ = start;
    first_bytes_ = 0;
    epochs_.clear();
    edges_.assign(1, end_edge());
    tail_.truncate({0});
    raw_.clear();
  }
  letters_->emptied();
  release_cursors();
  return old_end.value > 0 ? drop_below(old_end) : success();
}

result<void> rocks_partition_log::see_epoch(storage::epoch e) {
  auto writing = enter_writer();
  if (!writing) return writing.error();
  if (e.value <= seen_epoch_) return success();
  rocksdb::WriteBatch rows;
  rows.Put(db_->meta(), meta_key(prefix_, meta_tag::seen_epoch), number(e.value));
  if (auto ok = db_->write(rows, database::durability::synced, place() + ": its seen epoch"); !ok) return ok;
  std::lock_guard lock(mutex_);
  seen_epoch_ = e.value;
  return success();
}

result<std::vector<raw_entry>> rocks_partition_log::read_raw(offset from, std::size_t bytes) const {
  offset end;
  {
    std::lock_guard lock(mutex_);
    if (from < first_)
      return failure{errc::trimmed, place(from) + ": dropped by retention; the log begins at " + text(first_.value)};
    if (from >= next_) return failure{errc::end_of_log, place(from) + ": the log ends at " + text(next_.value)};
    if (auto fresh = raw_.run(from, bytes); !fresh.empty()) return fresh;
    end = next_;
  }
  // Values go as they are stored. The read-ahead is what will be asked for: the next call goes on where this one ends.
  auto it = make_iterator(std::max(bytes, readahead_min));
  it->Seek(offset_key(from));
  if (!it->status().ok()) return read_failure(it->status(), place(from));
  std::vector<raw_entry> found;
  std::size_t taken = 0;
  for (auto at = from; at < end; it->Next()) {
    if (!it->Valid() || view(it->key()) != offset_key(at)) {
      if (!it->status().ok()) return read_failure(it->status(), place(at));
      if (!found.empty()) break; // the next call says what is wrong with it
      auto around = make_iterator(0);
      auto entry = find(*around, at);
      if (!entry) return entry.error();
      return failure{errc::invalid,
                     place(at) + ": not where an entry begins; one begins at " + text(entry.value().fields.base.value)};
    }
    if (!found.empty() && taken + it->value().size() > bytes) break;
    if (!found.empty()) taken += it->value().size();
    auto entry = parse_raw(std::make_shared<const std::string>(it->value().data(), it->value().size()));
    if (!entry) return failure{entry.error().code, place(at) + ": the entry is damaged: " + entry.error().message};
    if (entry.value().base != at || (!found.empty() && entry.value().prev != found.back().hash)) {
      return failure{errc::corrupt, place(at) + ": the entry does not follow the one before it"};
    }
    at = entry.value().end();
    found.push_back(std::move(entry).value());
  }
  return found;
}

std::uint64_t rocks_partition_log::store() const {
  std::lock_guard lock(mutex_);
  return store_;
}
log_id rocks_partition_log::id() const {
  std::lock_guard lock(mutex_);
  return id_;
}
storage::epoch rocks_partition_log::seen_epoch() const {
  std::lock_guard lock(mutex_);
  return {seen_epoch_};
}
log_position rocks_partition_log::position() const {
  std::lock_guard lock(mutex_);
  const auto& end = edges_.back();
  return {end.epoch, end.end, end.hash};
}
offset rocks_partition_log::start() const {
  std::lock_guard lock(mutex_);
  return first_;
}
offset rocks_partition_log::high_watermark() const {
  std::lock_guard lock(mutex_);
  return high_watermark_;
}
std::vector<epoch_start> rocks_partition_log::epochs() const {
  std::lock_guard lock(mutex_);
  return epochs_;
}

} // namespace millrace::storage::rocks
