// The writer's side: whatever one call changes is one synced RocksDB write, and readers see it only after that.
#include "storage/rocks/rocks_partition_log.hpp"

#include "storage/rocks/keys.hpp"

#include <algorithm>

namespace millrace::storage::rocks {
namespace {

constexpr std::size_t batch_kept_bytes = 8u << 20;
constexpr std::size_t append_bytes_max = std::size_t{2} << 30;

std::string number(std::uint64_t v) {
  std::string s;
  append_be64(s, v);
  return s;
}

void put_entry(rocksdb::WriteBatch& to, rocksdb::ColumnFamilyHandle* family, offset at, std::string_view frame,
               std::string_view body) {
  const auto key = offset_key(at);
  const rocksdb::Slice keys[] = {key};
  const rocksdb::Slice values[] = {slice(frame), slice(body)}; // gathered by RocksDB: the body is not copied for it
  to.Put(family, rocksdb::SliceParts(keys, 1), rocksdb::SliceParts(values, 2));
}

} // namespace

result<offset> rocks_partition_log::append_entries(std::span<const staged_entry* const> entries, database::use use,
                                                   const extra_rows& extra) {
  std::size_t bytes = 0;
  for (const auto* entry : entries) {
    bytes += entry->stored_bytes() + 512;
    for (const auto& s : entry->state) bytes += s.key.size() + s.value.size();
  }
  if (bytes > append_bytes_max)
    return failure{errc::invalid, place() + ": one append of " + std::to_string(bytes) + " bytes, at most " +
                                      std::to_string(append_bytes_max) + " are possible; append in parts"};
  if (auto ok = db_->check_space(use, bytes, place() + ": an append"); !ok) return ok.error();

  struct fresh_entry {
    entry_fields fields;
    const staged_entry* staged;
  };
  std::vector<fresh_entry> fresh;
  fresh.reserve(entries.size());
  std::vector<raw_entry> raw;
  std::vector<edge> edges;
  // next_ and its like change on this thread only: reading them needs no lock.
  const offset begin = next_;
  offset next = next_;
  auto stored = next_bytes_, changes = changes_;
  auto previous = last_hash_;
  const auto time = std::max(now(), last_time_); // a clock set back must not make the log's times fall

  batch_.Clear();
  for (const auto* entry : entries) {
    if (!replicated_) put_state(batch_, entry->state);
    if (entry->entry_count == 0) continue;
    const auto body = entry->body();
    if (next.value + entry->entry_count < next.value) return failure{errc::invalid, place() + ": offsets are used up"};
    entry_fields fields{.base = next,
                        .count = entry->entry_count,
                        .kind = entry->kind,
                        .codec = entry->codec,
                        .epoch = epoch_,
                        .first_time = time,
                        .last_time = time,
                        .changes_before = changes,
                        .bytes_before = stored,
                        .body_bytes = static_cast<std::uint32_t>(body.size()),
                        .raw_bytes = static_cast<std::uint32_t>(entry->raw.chars().size()),
                        .states = static_cast<std::uint32_t>(entry->state.size()),
                        .prev = previous,
                        .hash = {}};
    const auto frame = make_header(fields, entry->state, body);
    if (replicated_) { // followers and advance() want it in one piece
      auto value = std::make_shared<std::string>();
      value->reserve(frame.size() + body.size());
      value->append(frame).append(body);
      batch_.Put(family_, offset_key(next), *value);
      edges.push_back(edge_after(fields, value->size()));
      raw.push_back({fields.base, fields.count, fields.epoch, fields.prev, fields.hash, std::move(value)});
    } else {
      put_entry(batch_, family_, next, frame, body);
    }
    previous = fields.hash;
    stored += frame.size() + body.size();
    changes += fields.changes();
    next = fields.end();
    fresh.push_back({fields, entry});
  }
  // Detects a log that lost entries which its bookkeeping remembers. Alone: what was synced before this write.
  if (!fresh.empty())
    batch_.Put(db_->meta(), meta_key(prefix_, meta_tag::high_watermark), number((replicated_ ? high_watermark_ : begin).value));
  if (extra) extra(batch_);
  if (batch_.Count() == 0) return begin;
  if (before_write_ && !raw.empty()) before_write_(raw);

  auto written = db_->write(batch_, database::durability::synced, place(begin) + ": an append");
  if (batch_.GetDataSize() > batch_kept_bytes) batch_ = rocksdb::WriteBatch();
  if (!written) return written.error();

  std::vector<batch_ptr> opened;
  opened.reserve(fresh.size());
  for (auto& f : fresh) opened.push_back(std::move(open_batch(f.fields, f.staged->raw)).value());
  last_hash_ = previous;
  if (!fresh.empty()) last_time_ = time;
  {
    std::lock_guard lock(mutex_);
    next_ = next;
    next_bytes_ = stored;
    changes_ = changes;
    if (!fresh.empty()) tail_epoch_ = epoch_;
    if (!replicated_) high_watermark_ = next;
    for (auto& b : opened) tail_.push(std::move(b));
    for (auto& e : raw) raw_.push(std::move(e));
    for (auto& e : edges) edges_.push_back(std::move(e));
  }
  count_appended(bytes);
  return begin;
}

void rocks_partition_log::put_state(rocksdb::WriteBatch& to, std::span<const state_entry> state) const {
  for (const auto& s : state) {
    const auto key = meta_key(prefix_, meta_tag::source_state) + s.key;
    if (s.value.empty())
      to.Delete(db_->meta(), key);
    else
      to.Put(db_->meta(), key, s.value);
  }
}

void rocks_partition_log::count_appended(std::size_t bytes) {
  appended_since_release_ += bytes;
  if (appended_since_release_ < db_->memory().log_memtable) return;
  appended_since_release_ = 0;
  release_cursors();
}

void rocks_partition_log::take_writer() {
  std::lock_guard lock(writing_);
  writer_ = std::this_thread::get_id();
}

result<std::unique_lock<std::mutex>> rocks_partition_log::enter_writer() {
  std::unique_lock lock(writing_);
  if (writer_ != std::thread::id{} && writer_ != std::this_thread::get_id())
    return failure{errc::fenced, place() + ": another writer of this process has taken over"};
  return lock;
}

result<offset> rocks_partition_log::append(std::span<const staged_batch_ptr> batches) {
  auto writing = enter_leader();
  if (!writing) return writing.error();
  std::vector<const staged_entry*> entries;
  entries.reserve(batches.size());
  for (const auto& batch : batches) {
    const auto* entry = dynamic_cast<const staged_entry*>(batch.get());
    if (entry == nullptr) return failure{errc::invalid, place() + ": a batch to append was not made by encode()"};
    entries.push_back(entry);
  }
  if (!replicated_) return append_entries(entries, database::use::data, nullptr);
  std::vector<std::shared_ptr<const staged_entry>> made;
  if (auto ok = fold_state(entries, made); !ok) return ok.error();
  return append_entries(entries, database::use::data, nullptr);
}

void rocks_partition_log::limit_tail(std::size_t bytes) {
  std::lock_guard lock(mutex_);
  const auto mine = std::min(bytes, tail_wanted_);
  tail_.limit(replicated_ ? mine / 2 : mine); // a replica keeps its entries in both forms
  raw_.limit(replicated_ ? mine / 2 : 0);
}

} // namespace millrace::storage::rocks
