// The node's storage put together: the database, its catalog, and the partitions that are open.
#include "storage/node_store.hpp"

#include "storage/rocks/embedded_catalog.hpp"
#include "storage/rocks/keys.hpp"
#include "storage/rocks/rocks_partition_log.hpp"

#include <random>

namespace millrace::storage {
namespace rocks {
namespace {

using partition_key = std::pair<std::string, std::uint32_t>;

class rocks_node_store final : public node_store {
public:
  rocks_node_store(std::shared_ptr<database> db, std::unique_ptr<embedded_catalog> catalog)
      : db_(std::move(db)), catalog_(std::move(catalog)),
        session_((std::uint64_t{std::random_device{}()} << 32) | std::random_device{}()) {}

  storage::catalog& catalog() override { return *catalog_; }

  result<std::shared_ptr<partition_log>> open_log(const std::string& uid, std::uint32_t partition,
                                                  const partition_options& options) override {
    if (auto ok = check_name(uid, "a pipeline's uid"); !ok) return ok.error();
    std::lock_guard lock(mutex_);
    auto& slot = logs_[{uid, partition}];
    if (auto open = slot.lock()) {
      if (open->replicated()) return other_face(uid, partition, "a replica of a cluster's log");
      return std::shared_ptr<partition_log>(std::move(open));
    }
    auto letters = letters_of(uid, partition);
    if (!letters) return letters.error();
    auto log = rocks_partition_log::open({db_, catalog_.get(), letters.value(), session_}, uid, partition, options);
    if (!log) return log.error();
    slot = log.value();
    share_tails();
    return std::shared_ptr<partition_log>(std::move(log).value());
  }

  result<replica_partition> open_replica(const std::string& uid, std::uint32_t partition,
                                         const partition_options& options) override {
    if (auto ok = check_name(uid, "a pipeline's uid"); !ok) return ok.error();
    std::lock_guard lock(mutex_);
    auto& slot = logs_[{uid, partition}];
    auto log = slot.lock();
    if (log && !log->replicated()) return other_face(uid, partition, "a single node's log");
    if (!log) {
      auto letters = letters_of(uid, partition);
      if (!letters) return letters.error();
      auto made = rocks_partition_log::open_replica({db_, nullptr, letters.value(), session_}, uid, partition, options);
      if (!made) return made.error();
      slot = log = std::move(made).value();
      share_tails();
    }
    return replica_partition{log, log};
  }
  result<void> reject_replica(const std::string& uid, std::uint32_t partition) override;

  std::shared_ptr<partition_log> opened(const std::string& uid, std::uint32_t partition) const override {
    std::lock_guard lock(mutex_);
    const auto found = logs_.find({uid, partition});
    return found == logs_.end() ? nullptr : found->second.lock();
  }

  result<std::shared_ptr<dead_letter_table>> dead_letters(const std::string& uid, std::uint32_t partition) override {
    if (auto ok = check_name(uid, "a pipeline's uid"); !ok) return ok.error();
    std::lock_guard lock(mutex_);
    auto letters = letters_of(uid, partition);
    if (!letters) return letters.error();
    return std::shared_ptr<dead_letter_table>(std::move(letters).value());
  }

  result<void> drop_pipeline(const std::string& uid) override;
  disk_space space() const override { return db_->space(); }

private:
  /// The caller holds mutex_.
  result<std::shared_ptr<dead_letter_rows>> letters_of(const std::string& uid, std::uint32_t partition) {
    auto& slot = letters_[{uid, partition}];
    if (auto open = slot.lock()) return open;
    auto made = dead_letter_rows::open(db_, uid, partition);
    if (made) slot = made.value();
    return made;
  }

  static failure other_face(const std::string& uid, std::uint32_t partition, const char* what) {
    return {errc::conflict, "pipeline " + uid + ", partition " + std::to_string(partition) + ": it is open here as " + what};
  }

  /// Each open partition may keep its part of the store's memory for tails.
  void share_tails() {
    std::vector<std::shared_ptr<rocks_partition_log>> open;
    for (auto& [key, weak] : logs_)
      if (auto log = weak.lock()) open.push_back(std::move(log));
    for (auto& log : open) log->limit_tail(db_->memory().tails / open.size());
  }

  const std::shared_ptr<database> db_;
  const std::unique_ptr<embedded_catalog> catalog_;
  const std::uint64_t session_;
  mutable std::mutex mutex_; ///< of what follows; held while a partition opens
  std::map<partition_key, std::weak_ptr<rocks_partition_log>> logs_;
  std::map<partition_key, std::weak_ptr<dead_letter_rows>> letters_;
};

/// Repeatable: after a crash in the middle the same call finishes. The catalog's records go last, so that a half dropped
/// pipeline is still known to whoever looks for its records.
result<void> rocks_node_store::drop_pipeline(const std::string& uid) {
  if (auto ok = check_name(uid, "a pipeline's uid"); !ok) return ok;
  std::lock_guard lock(mutex_);
  const auto in_use = [&](const auto& open) {
    for (auto it = open.lower_bound({uid, 0}); it != open.end() && it->first.first == uid; ++it)
      if (!it->second.expired()) return true;
    return false;
  };
  if (in_use(logs_) || in_use(letters_))
    return failure{errc::conflict, "pipeline " + uid + ": its log or dead letters are still in use; stop its actors first"};

  const auto families = "log/" + uid + '/';
  for (const auto& name : db_->log_families())
    if (name.starts_with(families))
      if (auto ok = db_->drop_log_family(name); !ok) return ok;

  const auto begin = pipeline_prefix(uid), end = after_prefix(begin);
  rocksdb::WriteBatch rows;
  rows.DeleteRange(db_->meta(), begin, end);
  rows.DeleteRange(db_->letters(), begin, end);
  if (auto ok = db_->write(rows, database::durability::synced, "the end of pipeline " + uid); !ok) return ok;

  auto records = catalog_->list("part/" + uid + '/');
  if (!records) return records.error();
  std::vector<catalog_write> deletes;
  for (const auto& record : records.value()) deletes.push_back({record.key, std::nullopt, 0});
  auto done = catalog_->commit({}, deletes);
  if (!done) return done.error();
  std::erase_if(logs_, [&](const auto& l) { return l.first.first == uid; });
  std::erase_if(letters_, [&](const auto& l) { return l.first.first == uid; });
  return success();
}

/// The entries go first: bookkeeping without them is a damaged replica, which the same call then rejects.
result<void> rocks_node_store::reject_replica(const std::string& uid, std::uint32_t partition) {
  if (auto ok = check_name(uid, "a pipeline's uid"); !ok) return ok;
  std::lock_guard lock(mutex_);
  const auto place = "pipeline " + uid + ", partition " + std::to_string(partition);
  const auto in_use = [&](const auto& open) {
    const auto found = open.find({uid, partition});
    return found != open.end() && !found->second.expired();
  };
  if (in_use(logs_) || in_use(letters_))
    return failure{errc::conflict, place + ": its log or dead letters are still in use; stop its actors first"};
  const auto prefix = partition_prefix(uid, partition);
  const auto row = [&](meta_tag tag) {
    std::string value;
    return db_->db().Get({}, db_->meta(), meta_key(prefix, tag), &value);
  };
  // Without its mark, but with a store, it is the only copy of a single node's log.
  if (row(meta_tag::replicated).IsNotFound() && row(meta_tag::store).ok())
    return failure{errc::invalid, place + ": this is a single node's log, the only copy; drop the pipeline to delete it"};
  if (auto ok = db_->drop_log_family(log_family_name(uid, partition)); !ok) return ok;
  const auto end = after_partition(uid, partition);
  rocksdb::WriteBatch rows;
  rows.DeleteRange(db_->meta(), prefix, end);
  rows.DeleteRange(db_->letters(), prefix, end);
  if (auto ok = db_->write(rows, database::durability::synced, "the end of a damaged replica of " + place); !ok) return ok;
  logs_.erase({uid, partition});
  letters_.erase({uid, partition});
  return success();
}

} // namespace
} // namespace rocks

result<std::shared_ptr<node_store>> node_store::open(const store_options& options) {
  auto db = rocks::database::open(options);
  if (!db) return db.error();
  auto catalog = rocks::embedded_catalog::open(db.value());
  if (!catalog) return catalog.error();
  return std::shared_ptr<node_store>(
      std::make_shared<rocks::rocks_node_store>(std::move(db).value(), std::move(catalog).value()));
}

} // namespace millrace::storage
