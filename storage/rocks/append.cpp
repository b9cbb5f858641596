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
  // next_ and its like change on this thread only: reading them needs no lock.
  const offset begin = next_;
  offset next = next_;
  auto stored = next_bytes_, changes = changes_;
  auto previous = last_hash_;
  const auto time = std::max(now(), last_time_); // a clock set back must not make the log's times fall

  batch_.Clear();
  for (const auto* entry : entries) {
    for (const auto& s : entry->state) {
      const auto key = meta_key(prefix_, meta_tag::source_state) + s.key;
      if (s.value.empty())
        batch_.Delete(db_->meta(), key);
      else
        batch_.Put(db_->meta(), key, s.value);
    }
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
                        .prev = previous,
                        .hash = {}};
    const auto frame = make_header(fields, entry->state, body);
    put_entry(batch_, family_, next, frame, body);
    previous = fields.hash;
    stored += frame.size() + body.size();
    changes += fields.changes();
    next = fields.end();
    fresh.push_back({fields, entry});
  }
  // What was synced before this write. Detects a log that lost entries which its bookkeeping remembers.
  if (!fresh.empty()) batch_.Put(db_->meta(), meta_key(prefix_, meta_tag::high_watermark), number(begin.value));
  if (extra) extra(batch_);
  if (batch_.Count() == 0) return begin;

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
    for (auto& b : opened) tail_.push(std::move(b));
  }
  appended_since_release_ += bytes;
  if (appended_since_release_ >= db_->memory().log_memtable) {
    appended_since_release_ = 0;
    release_cursors();
  }
  return begin;
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
  auto writing = enter_writer();
  if (!writing) return writing.error();
  std::vector<const staged_entry*> entries;
  entries.reserve(batches.size());
  for (const auto& batch : batches) {
    const auto* entry = dynamic_cast<const staged_entry*>(batch.get());
    if (entry == nullptr) return failure{errc::invalid, place() + ": a batch to append was not made by encode()"};
    entries.push_back(entry);
  }
  return append_entries(entries, database::use::data, nullptr);
}

result<offset> rocks_partition_log::append_control(batch_kind kind, const control_entry& control, const extra_rows& extra) {
  auto staged = encode_control(kind, control);
  if (!staged) return staged.error();
  const staged_entry* entry = staged.value().get();
  return append_entries({&entry, 1}, database::use::control, extra);
}

result<offset> rocks_partition_log::append_quarantine(std::string_view load, std::span<const dead_letter> letters) {
  auto writing = enter_writer();
  if (!writing) return writing.error();
  auto transaction = letters_->begin(load);
  if (!transaction) return transaction.error();
  auto& rows = *transaction.value();
  control_entry decision;
  decision.load = load;
  std::size_t bytes = 0;
  for (const auto& letter : letters) {
    if (letter.offset >= next_)
      return failure{errc::invalid, place(letter.offset) +
                                        ": a dead letter names an offset that the log does not have; it ends at " +
                                        std::to_string(next_.value)};
    auto added = rows.quarantine(letter);
    if (!added) return added.error();
    if (!added.value()) continue;
    decision.offsets.push_back(letter.offset);
    decision.reasons.push_back(letter.reason);
    bytes += letter.payload.size() + letter.context.size();
  }
  // All were open already: a load that restarted decides again what is decided. The newest entry is as durable as the decision.
  if (decision.offsets.empty()) return offset{next_.value - 1};
  if (auto ok = db_->check_space(database::use::control, bytes,
                                 place() + ": storing " + std::to_string(letters.size()) + " dead letters");
      !ok)
    return ok.error();
  auto at = append_control(batch_kind::quarantine, decision, [&](rocksdb::WriteBatch& batch) { rows.add_to(batch); });
  if (at) rows.written();
  return at;
}

result<offset> rocks_partition_log::append_redrive(std::string_view load, std::span<const offset> letters, bool force) {
  auto writing = enter_writer();
  if (!writing) return writing.error();
  control_entry order;
  order.load = load;
  order.offsets.assign(letters.begin(), letters.end());
  order.flag = force;
  return append_control(batch_kind::redrive, order, nullptr);
}

result<offset> rocks_partition_log::append_discard(std::string_view load, std::span<const offset> letters) {
  auto writing = enter_writer();
  if (!writing) return writing.error();
  control_entry order;
  order.load = load;
  order.offsets.assign(letters.begin(), letters.end());
  return append_control(batch_kind::discard, order, nullptr);
}

result<offset> rocks_partition_log::append_rewind(std::string_view load, offset to, bool truncate) {
  auto writing = enter_writer();
  if (!writing) return writing.error();
  if (to > next_)
    return failure{errc::invalid, place(to) + ": cannot rewind beyond the end of the log, " + std::to_string(next_.value)};
  auto transaction = letters_->begin(load);
  if (!transaction) return transaction.error();
  auto& rows = *transaction.value();
  if (auto ok = rows.replace_from(to); !ok) return ok.error();
  rows.set_rewind({to, truncate});
  control_entry order;
  order.load = load;
  order.to = to;
  order.flag = truncate;
  auto at = append_control(batch_kind::rewind, order, [&](rocksdb::WriteBatch& batch) { rows.add_to(batch); });
  if (at) rows.written();
  return at;
}

void rocks_partition_log::limit_tail(std::size_t bytes) {
  std::lock_guard lock(mutex_);
  tail_.limit(std::min(bytes, tail_wanted_));
}

} // namespace millrace::storage::rocks
