// A replica's start: what lies on the disk must fit together, and nothing above the stored watermark is taken for acknowledged.
#include "storage/rocks/rocks_partition_log.hpp"

#include "storage/rocks/keys.hpp"

#include <algorithm>

namespace millrace::storage::rocks {

result<std::shared_ptr<rocks_partition_log>> rocks_partition_log::open_replica(environment env, const std::string& uid,
                                                                               std::uint32_t partition,
                                                                               const partition_options& options) {
  std::shared_ptr<rocks_partition_log> log(new rocks_partition_log(std::move(env), uid, partition, options));
  log->replicated_ = true;
  log->letters_->follow_log();
  log->limit_tail(options.tail_bytes);
  if (auto ok = log->load_replica(); !ok) return ok.error();
  return log;
}

result<void> rocks_partition_log::load_replica() {
  family_ = db_->log_family(log_family_name(uid_, partition_));
  auto store = meta_number(meta_tag::store);
  if (!store) return store.error();
  auto replica = meta_number(meta_tag::replicated);
  if (!replica) return replica.error();
  if (store.value() && !replica.value())
    return failure{errc::invalid, place() +
                                      ": this log was written by a single node and cannot become a replica. Its dead letters "
                                      "are not in its entries; begin a new pipeline, or start the node alone"};
  if (store.value() && family_ == nullptr)
    return failure{errc::corrupt,
                   place() + ": its bookkeeping is there, but its entries are gone from " + db_->directory().string()};
  if (!store.value()) {
    if (family_ == nullptr) {
      auto made = db_->create_log_family(log_family_name(uid_, partition_));
      if (!made) return made.error();
      family_ = made.value();
    }
    if (auto ok = create_meta(); !ok) return ok.error();
  }
  if (auto ok = load_meta(); !ok) return ok.error();
  if (auto ok = load_end(); !ok) return ok.error();
  if (auto ok = load_epochs(); !ok) return ok.error();
  return load_edges();
}

result<void> rocks_partition_log::load_epochs() {
  const auto prefix = meta_key(prefix_, meta_tag::epoch_table);
  const std::unique_ptr<rocksdb::Iterator> it(db_->db().NewIterator({}, db_->meta()));
  for (it->Seek(prefix); it->Valid() && it->key().starts_with(prefix); it->Next()) {
    const auto key = view(it->key()).substr(prefix.size());
    if (key.size() != sizeof(std::uint64_t) || it->value().size() != sizeof(std::uint64_t))
      return failure{errc::corrupt, place() + ": a row of its table of epochs is cut short"};
    const epoch_start row{{read_be64(key.data())}, {read_be64(it->value().data())}};
    if (row.first >= next_ || row.epoch > tail_epoch_ || (!epochs_.empty() && row.first < epochs_.back().first))
      return failure{errc::corrupt, place() + ": its table of epochs has epoch " + std::to_string(row.epoch.value) +
                                        " begin at " + std::to_string(row.first.value) +
                                        ", which does not fit the log, whose newest entry is of epoch " +
                                        std::to_string(tail_epoch_.value) + " and ends at " + std::to_string(next_.value)};
    epochs_.push_back(row);
  }
  if (!it->status().ok()) return read_failure(it->status(), place() + ", its table of epochs");
  return success();
}

rocks_partition_log::edge rocks_partition_log::end_edge() const {
  return {.end = next_,
          .hash = last_hash_,
          .hash_known = hash_known_,
          .epoch = tail_epoch_,
          .last_time = last_time_,
          .bytes = next_bytes_,
          .changes = changes_};
}

/// Reads what is above the watermark, verified and chained: there is at most the unacknowledged window and what the stored
/// watermark lags behind.
result<void> rocks_partition_log::load_edges() {
  auto stored = meta_number(meta_tag::high_watermark);
  if (!stored) return stored.error();
  const offset acknowledged{std::max(stored.value().value_or(0), first_.value)};
  high_watermark_ = acknowledged; // not above the end: check_meta()
  if (acknowledged == next_) {
    edges_.assign(1, end_edge());
    return success();
  }
  edge at{.end = acknowledged, .hash = {}, .hash_known = first_.value == 0, .epoch = {}};
  auto it = make_iterator(std::size_t{1} << 20);
  if (acknowledged > first_) {
    high_watermark_ = next_; // find() tells damage from what is not acknowledged by it
    auto entry = find(*it, {acknowledged.value - 1});
    high_watermark_ = acknowledged;
    if (!entry) return entry.error();
    at = edge_after(entry.value().fields, it->value().size());
    if (at.end != acknowledged)
      return failure{errc::corrupt, place(acknowledged) + ": the high watermark is inside of the entry at " +
                                        std::to_string(entry.value().fields.base.value)};
    it->Next();
  } else {
    it->Seek(offset_key(acknowledged));
  }
  edges_.assign(1, at);
  while (edges_.back().end < next_) {
    const auto& before = edges_.back();
    if (!it->Valid())
      return it->status().ok() ? failure{errc::corrupt, place(before.end) + ": the entry is missing"}
                               : read_failure(it->status(), place(before.end));
    auto entry = parse_at(*it);
    if (!entry) return entry.error();
    const auto& f = entry.value().fields;
    if (f.base != before.end || (before.hash_known && f.prev != before.hash) || f.epoch < before.epoch)
      return failure{errc::corrupt,
                     place(before.end) + ": the entry at " + std::to_string(f.base.value) + " does not follow the one before it"};
    if (edges_.size() == 1) { // also what is not known of the beginning
      edges_.front().bytes = f.bytes_before;
      edges_.front().changes = f.changes_before;
    }
    edges_.push_back(edge_after(f, it->value().size()));
    it->Next();
  }
  return success();
}

} // namespace millrace::storage::rocks
