#include "storage/rocks/embedded_catalog.hpp"

#include "schemas/catalog.capnp.h"
#include "storage/broken_guard_internal.hpp"
#include "storage/rocks/keys.hpp"
#include "storage/rocks/rows.hpp"

#include <random>

namespace millrace::storage::rocks {
namespace {

constexpr std::uint64_t history_kept = 10'000;
constexpr std::size_t value_bytes_max = 64u << 20;

std::string row_key(std::string_view key) { return 'k' + std::string(key); }
std::string history_key(std::uint64_t revision) {
  std::string key = "h";
  append_be64(key, revision);
  return key;
}

result<void> check_key(const std::string& key) {
  if (key.empty() || key.find('\0') != key.npos) return failure{errc::invalid, "a catalog key must not be empty nor contain NUL"};
  return success();
}

} // namespace

struct embedded_catalog::row {
  catalog_entry entry;
  std::uint64_t lease = 0;
};

result<std::unique_ptr<embedded_catalog>> embedded_catalog::open(std::shared_ptr<database> db) {
  std::unique_ptr<embedded_catalog> self(new embedded_catalog(std::move(db)));
  if (auto ok = self->load(); !ok) return ok.error();
  self->watch_thread_ = std::jthread([c = self.get()](std::stop_token stop) { c->run_watches(stop); });
  self->lease_thread_ = std::jthread([c = self.get()](std::stop_token stop) { c->run_leases(stop); });
  return self;
}

embedded_catalog::~embedded_catalog() {
  watch_thread_.request_stop(); // both wait on conditions that know about stopping
  lease_thread_.request_stop();
}

result<void> embedded_catalog::load() {
  // Not from 1 at each start: a lease kept by a caller of an earlier process must not be taken for a new one.
  next_lease_ = (std::uint64_t{std::random_device{}()} << 24) + 1;
  const std::unique_ptr<rocksdb::Iterator> it(db_->db().NewIterator({}, db_->catalog()));
  for (it->Seek("h"); it->Valid() && it->key().starts_with("h"); it->Next()) {
    revision_events events;
    events.revision = read_be64(it->key().data() + 1);
    auto ok = read_row<schemas::CatalogEvents>(view(it->value()), "the catalog's history", [&](auto r) {
      for (auto e : r.getList())
        events.events.push_back({std::string(e.getKey().begin(), e.getKey().size()),
                                 e.getDeleted() ? std::nullopt : std::optional<std::string>(view(e.getValue()))});
    });
    if (!ok) return ok;
    recent_.push_back(std::move(events));
  }
  if (!it->status().ok()) return read_failure(it->status(), "the catalog's history");
  std::string stored;
  const auto status = db_->db().Get({}, db_->catalog(), "r", &stored);
  if (!status.ok() && !status.IsNotFound()) return read_failure(status, "the catalog's revision");
  if (status.ok() && stored.size() != sizeof(std::uint64_t)) return failure{errc::corrupt, "the catalog's revision is cut short"};
  if (status.ok()) revision_ = read_be64(stored.data());
  compacted_ = recent_.empty() ? revision_ : recent_.front().revision - 1;

  std::vector<catalog_write> orphans;
  for (it->Seek("k"); it->Valid() && it->key().starts_with("k"); it->Next()) {
    std::uint64_t lease = 0;
    auto ok = read_row<schemas::CatalogRow>(view(it->value()), "catalog key " + it->key().ToString().substr(1),
                                            [&](auto r) { lease = r.getLease(); });
    if (!ok) return ok;
    if (lease != 0) orphans.push_back({it->key().ToString().substr(1), std::nullopt, 0});
  }
  if (!it->status().ok()) return read_failure(it->status(), "the catalog");
  if (orphans.empty()) return success();
  std::lock_guard lock(mutex_);
  auto removed = commit_locked({}, orphans);
  if (!removed) return removed.error();
  return success();
}

result<std::optional<embedded_catalog::row>> embedded_catalog::read(std::string_view key) const {
  std::string stored;
  const auto status = db_->db().Get({}, db_->catalog(), row_key(key), &stored);
  if (status.IsNotFound()) return std::optional<row>{};
  const auto where = "catalog key " + std::string(key);
  if (!status.ok()) return read_failure(status, where);
  row found;
  found.entry.key = key;
  auto ok = read_row<schemas::CatalogRow>(stored, where, [&](auto r) {
    found.entry.value = view(r.getValue());
    found.entry.create_revision = r.getCreateRevision();
    found.entry.mod_revision = r.getModRevision();
    found.lease = r.getLease();
  });
  if (!ok) return ok.error();
  return std::optional<row>(std::move(found));
}

result<std::optional<catalog_entry>> embedded_catalog::get(std::string_view key) {
  auto found = read(key);
  if (!found) return found.error();
  if (!found.value()) return std::optional<catalog_entry>{};
  return std::optional<catalog_entry>(std::move(found.value()->entry));
}

result<catalog_listing> embedded_catalog::snapshot(std::string_view prefix) {
  catalog_listing listing;
  const auto from = row_key(prefix);
  std::unique_ptr<rocksdb::Iterator> it;
  {
    std::lock_guard lock(mutex_);
    listing.revision = revision_;
    it.reset(db_->db().NewIterator({}, db_->catalog())); // sees this revision only
  }
  for (it->Seek(from); it->Valid() && it->key().starts_with(from); it->Next()) {
    catalog_entry entry;
    entry.key = view(it->key()).substr(1);
    auto ok = read_row<schemas::CatalogRow>(view(it->value()), "catalog key " + entry.key, [&](auto r) {
      entry.value = view(r.getValue());
      entry.create_revision = r.getCreateRevision();
      entry.mod_revision = r.getModRevision();
    });
    if (!ok) return ok.error();
    listing.entries.push_back(std::move(entry));
  }
  if (!it->status().ok()) return read_failure(it->status(), "the catalog below " + std::string(prefix));
  return listing;
}

result<std::uint64_t> embedded_catalog::revision() {
  std::lock_guard lock(mutex_);
  return revision_;
}

result<std::uint64_t> embedded_catalog::commit(const std::vector<catalog_guard>& guards,
                                               const std::vector<catalog_write>& writes) {
  std::lock_guard lock(mutex_);
  return commit_locked(guards, writes);
}

result<std::uint64_t> embedded_catalog::commit_locked(const std::vector<catalog_guard>& guards,
                                                      const std::vector<catalog_write>& writes) {
  for (const auto& guard : guards) {
    auto found = read(guard.key);
    if (!found) return found.error();
    if (const auto broken = broken_guard(guard, found.value() ? &found.value()->entry : nullptr))
      return failure{errc::conflict, *broken};
  }
  const auto next = revision_ + 1;
  revision_events events{next, {}};
  std::set<std::string_view> seen;
  rocksdb::WriteBatch batch;
  for (const auto& write : writes) {
    if (auto ok = check_key(write.key); !ok) return ok.error();
    if (!seen.insert(write.key).second) return failure{errc::invalid, "one commit writes catalog key " + write.key + " twice"};
    if (write.value && write.value->size() > value_bytes_max)
      return failure{errc::invalid,
                     "catalog key " + write.key + ": a value of " + std::to_string(write.value->size()) + " bytes is too large"};
    if (write.lease != 0 && (!write.value || !leases_.contains(write.lease)))
      return failure{errc::not_found, "catalog key " + write.key + ": lease " + std::to_string(write.lease) + " has ended"};
    auto old = read(write.key);
    if (!old) return old.error();
    if (!write.value) {
      if (!old.value()) continue;
      batch.Delete(db_->catalog(), row_key(write.key));
    } else {
      batch.Put(db_->catalog(), row_key(write.key), write_row<schemas::CatalogRow>([&](auto r) {
                  r.setValue(blob(*write.value));
                  r.setCreateRevision(old.value() ? old.value()->entry.create_revision : next);
                  r.setModRevision(next);
                  r.setLease(write.lease);
                }));
    }
    events.events.push_back({write.key, write.value});
  }
  if (events.events.empty()) return revision_;

  std::string stored;
  append_be64(stored, next);
  batch.Put(db_->catalog(), "r", stored);
  batch.Put(db_->catalog(), history_key(next), write_row<schemas::CatalogEvents>([&](auto r) {
              auto list = r.initList(static_cast<unsigned>(events.events.size()));
              for (unsigned i = 0; i < events.events.size(); ++i) {
                const auto& e = events.events[i];
                list[i].setKey(text(e.key));
                list[i].setDeleted(!e.value);
                if (e.value) list[i].setValue(blob(*e.value));
              }
            }));
  if (next > history_kept) batch.Delete(db_->catalog(), history_key(next - history_kept));
  if (auto ok = db_->write(batch, database::durability::synced, "the catalog"); !ok) return ok.error();

  revision_ = next;
  for (const auto& write : writes) {
    if (const auto held = lease_of_.find(write.key); held != lease_of_.end()) {
      if (const auto lease = leases_.find(held->second); lease != leases_.end()) lease->second.keys.erase(write.key);
      lease_of_.erase(held);
    }
    if (write.lease != 0 && write.value) {
      leases_[write.lease].keys.insert(write.key);
      lease_of_[write.key] = write.lease;
    }
  }
  recent_.push_back(std::move(events));
  forget_seen();
  changed_.notify_all();
  return next;
}

/// Bounds the history in memory, but never below what a watcher has still to see.
void embedded_catalog::forget_seen() {
  auto keep = revision_ > history_kept ? revision_ - history_kept : 0;
  for (const auto& w : watches_) keep = std::min(keep, w->after);
  while (!recent_.empty() && recent_.front().revision <= keep) {
    compacted_ = recent_.front().revision;
    recent_.pop_front();
  }
}

} // namespace millrace::storage::rocks
