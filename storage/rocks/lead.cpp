// The leader's side of a replica: an epoch begins with its marker, and only inside of one are appends taken.
#include "storage/rocks/rocks_partition_log.hpp"

#include "storage/rocks/keys.hpp"

namespace millrace::storage::rocks {

result<std::unique_lock<std::mutex>> rocks_partition_log::enter_leader() {
  auto writing = enter_writer();
  if (writing && replicated_ && !leading_)
    return failure{errc::fenced, place() + ": this replica does not lead; it has seen epoch " + std::to_string(seen_epoch_)};
  return writing;
}

/// State without changes travels with the changes after it, so that an append's changes keep the offsets that its caller counts;
/// what is left at the end becomes an entry of its own.
result<void> rocks_partition_log::fold_state(std::vector<const staged_entry*>& entries,
                                             std::vector<std::shared_ptr<const staged_entry>>& made) {
  std::vector<const staged_entry*> folded;
  std::vector<state_entry> waiting;
  for (const auto* entry : entries) {
    if (entry->entry_count == 0) {
      waiting.insert(waiting.end(), entry->state.begin(), entry->state.end());
      continue;
    }
    if (!waiting.empty()) {
      auto carrier = std::make_shared<staged_entry>(*entry);
      waiting.insert(waiting.end(), entry->state.begin(), entry->state.end());
      carrier->state = std::exchange(waiting, {});
      entry = carrier.get();
      made.push_back(std::move(carrier));
    }
    folded.push_back(entry);
  }
  if (!waiting.empty()) {
    auto position = encode_control(batch_kind::position, {});
    if (!position) return position.error();
    position.value()->state = std::move(waiting);
    folded.push_back(position.value().get());
    made.push_back(std::move(position).value());
  }
  entries = std::move(folded);
  return success();
}

result<void> rocks_partition_log::begin_epoch(storage::epoch e) {
  auto writing = enter_writer();
  if (!writing) return writing.error();
  const auto refuse = [&](errc code, const std::string& why) {
    return failure{code, place() + ": cannot lead epoch " + std::to_string(e.value) + ": " + why};
  };
  if (id_.value == 0 || !hash_known_)
    return refuse(errc::invalid, "this replica is empty; a copy from the leader must come first");
  if (e.value < seen_epoch_) return refuse(errc::fenced, "epoch " + std::to_string(seen_epoch_) + " was seen");
  if (e <= tail_epoch_)
    return refuse(errc::invalid, "the newest entry is of epoch " + std::to_string(tail_epoch_.value) + ", expected a later one");
  {
    std::lock_guard lock(mutex_);
    epoch_ = e;
  }
  const auto first = next_;
  auto marker = append_control(batch_kind::epoch_marker, {}, [&](rocksdb::WriteBatch& rows) {
    std::string seen, begins;
    append_be64(seen, e.value);
    append_be64(begins, first.value);
    rows.Put(db_->meta(), meta_key(prefix_, meta_tag::seen_epoch), seen);
    rows.Put(db_->meta(), meta_key(prefix_, meta_tag::epoch_table) + seen, begins);
  });
  if (!marker) return marker.error();
  leading_ = true;
  carried_below_ = {};
  std::lock_guard lock(mutex_);
  seen_epoch_ = e.value;
  epochs_.push_back({e, first});
  return success();
}

void rocks_partition_log::end_epoch() {
  std::lock_guard writing(writing_);
  leading_ = false;
}

void rocks_partition_log::before_write(std::function<void(std::span<const raw_entry>)> hook) {
  std::lock_guard writing(writing_);
  before_write_ = std::move(hook);
}

} // namespace millrace::storage::rocks
