// The readers' side: fresh entries from memory, others from RocksDB, every one verified.
#include "storage/rocks/rocks_partition_log.hpp"

#include "storage/rocks/keys.hpp"
#include "storage/rocks/log_cursor.hpp"

#include <algorithm>

namespace millrace::storage::rocks {
namespace {
constexpr std::size_t readahead_bytes = 2u << 20;
}

std::string rocks_partition_log::place() const { return "pipeline " + uid_ + ", partition " + std::to_string(partition_); }
std::string rocks_partition_log::place(offset at) const { return place() + ", offset " + std::to_string(at.value); }

log_info rocks_partition_log::info() const {
  std::lock_guard lock(mutex_);
  return {.first = first_,
          .next = next_,
          .high_watermark = high_watermark_,
          .bytes = next_bytes_ - first_bytes_,
          .changes = changes_,
          .epoch = epoch_,
          .id = id_};
}

result<void> rocks_partition_log::check_range(offset at) const {
  std::lock_guard lock(mutex_);
  if (at < first_)
    return failure{errc::trimmed, place(at) + ": dropped by retention; the log begins at " + std::to_string(first_.value)};
  if (at >= high_watermark_)
    return failure{errc::end_of_log, place(at) + (high_watermark_ == next_ ? ": the log ends at " + std::to_string(next_.value)
                                                                           : ": the log is acknowledged up to " +
                                                                                 std::to_string(high_watermark_.value))};
  return success();
}

batch_ptr rocks_partition_log::find_fresh(offset at) const {
  std::lock_guard lock(mutex_);
  return tail_.find(at);
}

std::unique_ptr<rocksdb::Iterator> rocks_partition_log::make_iterator(std::size_t readahead) const {
  rocksdb::ReadOptions options;
  options.verify_checksums = true;
  options.fill_cache = false; // an entry is read once by each reader; the cache is for indexes and tables
  options.readahead_size = readahead;
  options.background_purge_on_iterator_cleanup = true; // a reader does not delete the files that it was the last to hold
  return std::unique_ptr<rocksdb::Iterator>(db_->db().NewIterator(options, family_));
}

result<parsed_entry> rocks_partition_log::parse_at(const rocksdb::Iterator& it) const {
  if (it.key().size() != sizeof(std::uint64_t)) return failure{errc::corrupt, place() + ": a key is not an offset"};
  const offset key{read_be64(it.key().data())};
  auto entry = parse_entry(view(it.value()));
  if (!entry) return failure{entry.error().code, place(key) + ": the entry is damaged: " + entry.error().message};
  if (entry.value().fields.base != key)
    return failure{errc::corrupt,
                   place(key) + ": the entry says that it begins at " + std::to_string(entry.value().fields.base.value)};
  return entry;
}

result<parsed_entry> rocks_partition_log::find(rocksdb::Iterator& it, offset at) const {
  // Forward first: that reads one block. Going backward reads three, and is needed only inside of an entry.
  it.Seek(offset_key(at));
  const bool exact = it.Valid() && view(it.key()) == offset_key(at);
  if (!it.status().ok()) return find_past_damage(it, at, it.status(), true);
  if (!exact) {
    if (it.Valid())
      it.Prev();
    else
      it.SeekToLast();
    if (!it.status().ok()) return find_past_damage(it, at, it.status(), false);
  }
  if (it.Valid()) {
    auto entry = parse_at(it);
    if (!entry || at < entry.value().fields.end()) return entry;
  }
  // Trimmed while we looked, or lost.
  if (auto ok = check_range(at); !ok) return ok.error();
  return failure{errc::corrupt, place(at) + ": the entry is missing"};
}

/// Going backward RocksDB also reads the neighbours of the wanted block, so the damaged one may be any of the three. Forward
/// seeks read one block each: with them the largest key up to `at` is searched by halves. Only ever run on a damaged file.
result<parsed_entry> rocks_partition_log::find_past_damage(rocksdb::Iterator& it, offset at, const rocksdb::Status& damage,
                                                           bool damage_above) const {
  if (!damage.IsCorruption()) return read_failure(damage, place(at));
  // Whether a seek to `x` leads past `at`. A damaged block that the seek to `at` met lies above; another one does not.
  const auto past = [&](std::uint64_t x) {
    it.Seek(offset_key({x}));
    return it.Valid() ? read_be64(it.key().data()) > at.value : it.status().ok() || damage_above;
  };
  // Small entries share a block: it is named by its first one, and by what was asked for.
  const auto damaged_at = [&](const rocksdb::Status& status, offset named) {
    return read_failure(status, named == at ? place(at) : place(named) + " (reading offset " + std::to_string(at.value) + ")");
  };
  const std::uint64_t lowest = info().first.value;
  std::uint64_t high = at.value + 1, low = at.value;
  for (std::uint64_t step = 1; past(low); step *= 2) {
    if (low <= lowest) return damaged_at(damage, {lowest});
    high = low;
    low = low - lowest > step ? low - step : lowest;
  }
  while (high - low > 1) {
    const auto middle = low + (high - low) / 2;
    (past(middle) ? high : low) = middle;
  }
  it.Seek(offset_key({low}));
  if (!it.Valid()) return damaged_at(it.status().ok() ? damage : it.status(), {low});
  auto entry = parse_at(it);
  if (!entry || at < entry.value().fields.end()) return entry;
  return damaged_at(damage, entry.value().fields.end());
}

result<batch_ptr> rocks_partition_log::decode(const parsed_entry& entry) const {
  auto batch = decode_entry(entry);
  if (!batch) return failure{batch.error().code, place(entry.fields.base) + ": the entry is damaged: " + batch.error().message};
  return batch;
}

result<batch_ptr> rocks_partition_log::read(offset at) const {
  if (auto ok = check_range(at); !ok) return ok.error();
  if (auto fresh = find_fresh(at)) return fresh;
  auto it = make_iterator(0);
  auto entry = find(*it, at);
  if (!entry) return entry.error();
  return decode(entry.value());
}

result<entry_fields> rocks_partition_log::fields_at(offset at) const {
  if (auto ok = check_range(at); !ok) return ok.error();
  if (auto fresh = find_fresh(at)) {
    entry_fields fields;
    fields.base = fresh->base();
    fields.count = fresh->count();
    fields.kind = fresh->kind();
    fields.last_time = fresh->last_time();
    fields.changes_before = fresh->changes_before();
    return fields;
  }
  auto it = make_iterator(0);
  auto entry = find(*it, at);
  if (!entry) return entry.error();
  return entry.value().fields;
}

result<offset> rocks_partition_log::seek_time(timestamp t) const {
  offset low, high;
  {
    std::lock_guard lock(mutex_);
    low = first_;
    high = high_watermark_;
  }
  // Times never fall along the log. Each probe moves a bound to an entry's edge.
  while (low < high) {
    auto probe = fields_at({low.value + (high.value - low.value) / 2});
    if (!probe && probe.error().is(errc::trimmed)) { // retention overtook us
      low = std::max(low, info().first);
      continue;
    }
    if (!probe) return probe.error();
    if (probe.value().last_time >= t)
      high = std::max(probe.value().base, low);
    else
      low = probe.value().end();
  }
  return low;
}

result<std::uint64_t> rocks_partition_log::changes_below(offset at) const {
  {
    std::lock_guard lock(mutex_);
    if (at == next_) return changes_;
    if (at == high_watermark_) return edges_.front().changes; // of a replica
  }
  auto fields = fields_at(at);
  if (!fields) return fields.error();
  const auto& f = fields.value();
  return f.changes_before + (f.kind == batch_kind::changes ? at.value - f.base.value : 0);
}

result<std::vector<state_entry>> rocks_partition_log::source_state() const {
  const auto prefix = meta_key(prefix_, meta_tag::source_state);
  const auto end = after_prefix(prefix);
  rocksdb::ReadOptions options;
  const rocksdb::Slice bound(end);
  options.iterate_upper_bound = &bound;
  const std::unique_ptr<rocksdb::Iterator> it(db_->db().NewIterator(options, db_->meta()));
  std::vector<state_entry> state;
  for (it->Seek(prefix); it->Valid(); it->Next())
    state.push_back({std::string(view(it->key()).substr(prefix.size())), it->value().ToString()});
  if (!it->status().ok()) return read_failure(it->status(), place() + ", the state of its source");
  return state;
}

std::unique_ptr<partition_log::cursor> rocks_partition_log::scan(offset from) const {
  return std::make_unique<log_cursor>(shared_from_this(), from);
}

log_cursor::log_cursor(std::shared_ptr<const rocks_partition_log> log, offset from) : log_(std::move(log)), position_(from) {
  std::lock_guard lock(log_->cursors_mutex_);
  log_->cursors_.insert(this);
}

log_cursor::~log_cursor() {
  std::lock_guard lock(log_->cursors_mutex_);
  log_->cursors_.erase(this);
}

void log_cursor::release() {
  std::lock_guard lock(mutex_);
  iterator_.reset();
}

void log_cursor::seek(offset at) {
  release();
  previous_.reset();
  position_ = at;
}

result<batch_ptr> log_cursor::next() {
  if (auto ok = log_->check_range(position_); !ok) {
    release();
    return ok.error();
  }
  if (auto fresh = log_->find_fresh(position_)) {
    release(); // caught up: the disk is not needed until this reader falls behind again
    previous_.reset();
    position_ = fresh->end();
    return fresh;
  }
  return next_from_disk();
}

result<batch_ptr> log_cursor::next_from_disk() {
  std::lock_guard lock(mutex_);
  bool found = false;
  if (iterator_) {
    iterator_->Next();
    found = iterator_->Valid(); // else: damaged, or entries came after it was made. Seeking anew tells which.
  }
  auto entry = found ? log_->parse_at(*iterator_) : [&] {
    iterator_ = log_->make_iterator(readahead_bytes);
    return log_->find(*iterator_, position_);
  }();
  auto fail = [this](failure f) {
    iterator_.reset();
    return f;
  };
  if (!entry) return fail(entry.error());
  const auto& fields = entry.value().fields;
  if (found && fields.base != position_) {
    if (auto ok = log_->check_range(position_); !ok) return fail(ok.error());
    return fail({errc::corrupt,
                 log_->place(position_) + ": the entry is missing, the next one begins at " + std::to_string(fields.base.value)});
  }
  if (previous_ && fields.base == position_ && fields.prev != *previous_)
    return fail({errc::corrupt, log_->place(position_) + ": the entry does not follow the one before it: the hashes differ"});
  auto batch = log_->decode(entry.value());
  if (!batch) return fail(batch.error());
  previous_ = fields.hash;
  position_ = fields.end();
  return batch;
}

} // namespace millrace::storage::rocks
