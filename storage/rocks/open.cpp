// A partition's start: what lies on the disk must fit together, then a new epoch begins.
#include "storage/rocks/rocks_partition_log.hpp"

#include "schemas/catalog.capnp.h"
#include "storage/rocks/keys.hpp"
#include "storage/rocks/rows.hpp"

#include <algorithm>
#include <random>

namespace millrace::storage::rocks {
namespace {

std::string record_key(const std::string& uid, std::uint32_t partition) {
  return "part/" + uid + '/' + std::to_string(partition);
}

std::string number(std::uint64_t v) {
  std::string s;
  append_be64(s, v);
  return s;
}

struct partition_record {
  std::uint64_t revision = 0; ///< 0: there is none
  std::uint64_t log_id = 0, epoch = 0;
};

result<partition_record> read_record(storage::catalog& catalog, const std::string& key) {
  auto entry = catalog.get(key);
  if (!entry) return entry.error();
  partition_record record;
  if (!entry.value()) return record;
  record.revision = entry.value()->mod_revision;
  auto ok = read_row<schemas::PartitionRecord>(entry.value()->value, "catalog record " + key, [&](auto r) {
    record.log_id = r.getLogId();
    record.epoch = r.getEpoch();
  });
  if (!ok) return ok.error();
  return record;
}

} // namespace

std::uint64_t random_id() {
  std::random_device device;
  std::uint64_t id = 0;
  while (id == 0) id = (std::uint64_t{device()} << 32) | device();
  return id;
}

rocks_partition_log::rocks_partition_log(environment env, const std::string& uid, std::uint32_t partition,
                                         const partition_options& options)
    : db_(std::move(env.db)), letters_(std::move(env.letters)), uid_(uid), partition_(partition), session_(env.session),
      prefix_(partition_prefix(uid, partition)), tail_wanted_(options.tail_bytes), compression_(options.compression) {
  tail_.limit(tail_wanted_);
}

result<std::shared_ptr<rocks_partition_log>>
rocks_partition_log::open(environment env, const std::string& uid, std::uint32_t partition, const partition_options& options) {
  auto& catalog = *env.catalog;
  std::shared_ptr<rocks_partition_log> log(new rocks_partition_log(std::move(env), uid, partition, options));
  if (auto ok = log->load_or_create(catalog, options); !ok) return ok.error();
  log->high_watermark_ = log->next_;
  if (auto ok = log->take_epoch(catalog, options); !ok) return ok.error();
  return log;
}

result<void> rocks_partition_log::load_or_create(storage::catalog& catalog, const partition_options&) {
  const auto key = record_key(uid_, partition_);
  auto record = read_record(catalog, key);
  if (!record) return record.error();
  family_ = db_->log_family(log_family_name(uid_, partition_));
  auto store = meta_number(meta_tag::store);
  if (!store) return store.error();
  auto replica = meta_number(meta_tag::replicated);
  if (!replica) return replica.error();
  if (replica.value())
    return failure{errc::invalid, place() + ": this is a replica of a cluster's log; a single node does not own it. Start the "
                                            "node as a member of its cluster"};

  // The order of creation is family, meta, record: a record without the others is a lost log, not a new one.
  if (record.value().revision != 0 && (family_ == nullptr || !store.value()))
    return failure{errc::corrupt,
                   place() + ": the catalog knows its log, but " + db_->directory().string() +
                       " does not have it. Acknowledged data was lost: put back a copy of the folder, or delete the pipeline"};
  if (!store.value()) {
    if (family_ == nullptr) {
      auto made = db_->create_log_family(log_family_name(uid_, partition_));
      if (!made) return made.error();
      family_ = made.value();
    }
    if (auto ok = create_meta(); !ok) return ok.error();
  }
  if (auto ok = load_meta(); !ok) return ok.error();
  if (record.value().revision != 0 && record.value().log_id != id_.value)
    return failure{errc::corrupt, place() + ": the catalog names log " + std::to_string(record.value().log_id) +
                                      ", the disk has log " + std::to_string(id_.value) + ": they are not of one copy"};
  return load_end();
}

result<void> rocks_partition_log::create_meta() {
  rocksdb::WriteBatch rows;
  rows.Put(db_->meta(), meta_key(prefix_, meta_tag::store), number(random_id()));
  rows.Put(db_->meta(), meta_key(prefix_, meta_tag::log_id), number(replicated_ ? 0 : random_id()));
  rows.Put(db_->meta(), meta_key(prefix_, meta_tag::seen_epoch), number(0));
  if (replicated_) rows.Put(db_->meta(), meta_key(prefix_, meta_tag::replicated), number(1));
  return db_->write(rows, database::durability::synced, "the beginning of " + place());
}

result<std::optional<std::uint64_t>> rocks_partition_log::meta_number(meta_tag tag, std::size_t at) const {
  std::string value;
  const auto status = db_->db().Get({}, db_->meta(), meta_key(prefix_, tag), &value);
  if (status.IsNotFound()) return std::optional<std::uint64_t>{};
  if (!status.ok()) return read_failure(status, place() + ", its bookkeeping");
  if (value.size() < at + sizeof(std::uint64_t))
    return failure{errc::corrupt, place() + ": its bookkeeping row '" + static_cast<char>(tag) + "' is cut short"};
  return std::optional<std::uint64_t>{read_be64(value.data() + at)};
}

result<void> rocks_partition_log::load_meta() {
  const auto load = [this](meta_tag tag, std::uint64_t& to, std::size_t at = 0) -> result<void> {
    auto v = meta_number(tag, at);
    if (!v) return v.error();
    if (v.value()) to = *v.value();
    return success();
  };
  if (auto ok = load(meta_tag::store, store_); !ok) return ok;
  if (auto ok = load(meta_tag::log_id, id_.value); !ok) return ok;
  if (auto ok = load(meta_tag::seen_epoch, seen_epoch_); !ok) return ok;
  if (auto ok = load(meta_tag::log_start, first_.value); !ok) return ok;
  if (auto ok = load(meta_tag::log_start, first_bytes_, sizeof(std::uint64_t)); !ok) return ok;
  if (store_ == 0 || (id_.value == 0 && !replicated_))
    return failure{errc::corrupt, place() + ": its store or log identity is missing"};
  return success();
}

/// Where the log ends, from its newest entry; the one before it must be its predecessor.
result<void> rocks_partition_log::load_end() {
  auto it = make_iterator(0);
  it->SeekToLast();
  if (!it->Valid()) {
    if (it->status().ok()) {
      if (replicated_) next_ = first_; // it may begin anywhere
      hash_known_ = first_.value == 0;
      return check_meta(true);
    }
    // The key cannot be read, but the newest file's range names it.
    rocksdb::ColumnFamilyMetaData files;
    db_->db().GetColumnFamilyMetaData(family_, &files);
    offset newest;
    for (const auto& level : files.levels)
      for (const auto& file : level.files)
        if (file.largestkey.size() == sizeof(std::uint64_t))
          newest.value = std::max(newest.value, read_be64(file.largestkey.data()));
    return read_failure(it->status(), place(newest) + " (the newest entry)");
  }
  auto last = parse_at(*it);
  if (!last) return last.error();
  const auto fields = last.value().fields;
  next_ = fields.end();
  next_bytes_ = fields.bytes_before + it->value().size();
  changes_ = fields.changes_before + fields.changes();
  last_hash_ = fields.hash;
  last_time_ = fields.last_time;
  tail_epoch_ = fields.epoch;

  if (fields.base > first_) {
    it->Prev();
    if (!it->Valid())
      return it->status().ok()
                 ? failure{errc::corrupt, place({fields.base.value - 1}) + ": the entry before the newest one is missing"}
                 : read_failure(it->status(), place({fields.base.value - 1}));
    auto previous = parse_at(*it);
    if (!previous) return previous.error();
    if (previous.value().fields.end() != fields.base || previous.value().fields.hash != fields.prev)
      return failure{errc::corrupt, place(fields.base) + ": the entry does not follow the one before it, [" +
                                        std::to_string(previous.value().fields.base.value) + ", " +
                                        std::to_string(previous.value().fields.end().value) + ")"};
  }
  return check_meta(false);
}

/// Entries and bookkeeping change in one write, so they disagree only if one of them was lost.
result<void> rocks_partition_log::check_meta(bool empty) {
  auto high_watermark = meta_number(meta_tag::high_watermark);
  if (!high_watermark) return high_watermark.error();
  const auto synced = high_watermark.value().value_or(0);
  if (synced > next_.value || first_ > next_ || (empty && first_.value != 0 && !replicated_))
    return failure{errc::corrupt, place(next_) + ": the log ends here, but entries up to " +
                                      std::to_string(std::max(synced, first_.value)) + " were acknowledged"};
  if (tail_epoch_.value > seen_epoch_)
    return failure{errc::corrupt, place() + ": its newest entry is of epoch " + std::to_string(tail_epoch_.value) +
                                      ", its bookkeeping has only seen " + std::to_string(seen_epoch_)};
  if (empty) return success();
  std::string row;
  const auto key = meta_key(prefix_, meta_tag::epoch_table) + number(tail_epoch_.value);
  const auto status = db_->db().Get({}, db_->meta(), key, &row);
  if (!status.ok() && !status.IsNotFound()) return read_failure(status, place() + ", its table of epochs");
  if (!status.ok() || row.size() != sizeof(std::uint64_t) || read_be64(row.data()) >= next_.value)
    return failure{errc::corrupt, place() + ": its table of epochs does not know epoch " + std::to_string(tail_epoch_.value) +
                                      " of its newest entry"};
  return success();
}

result<void> rocks_partition_log::take_epoch(storage::catalog& catalog, const partition_options& options) {
  if (auto ok = db_->check_space(database::use::control, 4096, place() + ": its epoch marker"); !ok) return ok;
  const auto key = record_key(uid_, partition_);
  for (int attempt = 0;; ++attempt) {
    auto record = read_record(catalog, key);
    if (!record) return record.error();
    const auto claimed = std::max(record.value().epoch + 1, seen_epoch_);
    rocksdb::WriteBatch seen; // synced before the claim: nothing of an older epoch may be taken after it
    seen.Put(db_->meta(), meta_key(prefix_, meta_tag::seen_epoch), number(claimed));
    if (auto ok = db_->write(seen, database::durability::synced, place() + ": its epoch"); !ok) return ok;
    seen_epoch_ = claimed;

    auto value = write_row<schemas::PartitionRecord>([&](auto r) {
      r.setLogId(id_.value);
      r.setEpoch(claimed);
      r.setLeaderNode(text(options.node));
      r.setLeaderSession(session_);
      auto isr = r.initIsr(1);
      isr[0].setNode(text(options.node));
      isr[0].setStore(store_);
      r.initReplicas(1).set(0, text(options.node));
      r.setMinIsr(1);
    });
    auto written = catalog.commit({{key, record.value().revision}}, {{key, std::move(value), 0}});
    if (!written && written.error().is(errc::conflict) && attempt < 8) continue;
    if (!written) return written.error();
    epoch_ = {claimed};
    break;
  }
  auto marker = append_control(batch_kind::epoch_marker, {}, [this](rocksdb::WriteBatch& rows) {
    rows.Put(db_->meta(), meta_key(prefix_, meta_tag::epoch_table) + number(epoch_.value), number(next_.value));
  });
  if (!marker) return marker.error();
  return success();
}

} // namespace millrace::storage::rocks
