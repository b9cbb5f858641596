#pragma once
// The registry (etcd): linearizable, with requests and answers that are late or lost, leases that end when they like, and watches
// that tell of the past.

#include "scheduler.hpp"
#include "storage/replication/replica.hpp"

#include <map>

namespace millrace::simulation {

namespace st = storage;
namespace rp = storage::replication;

class registry {
public:
  /// What a watch tells: everything as it was at one revision.
  struct view {
    std::uint64_t revision = 0;
    st::partition_record record;
    std::map<std::string, std::uint64_t> members;
    std::map<std::string, st::store_record> stores;
  };

  explicit registry(st::partition_record first) {
    now_.revision = first.mod_revision = 1;
    now_.record = std::move(first);
  }
  const view& state() const { return now_; }
  std::vector<view>& history() { return history_; } ///< the newest last; bounded

  /// Throws broken if the change breaks a rule of section 7 or 8 (I10).
  rp::replica::outcome apply(const rp::actions::propose& p, std::uint64_t& mod_revision);
  std::uint64_t open_session(const std::string& node);
  void end_session(const std::string& node);
  void put_store(const std::string& node, st::store_record r);
  void set_replicas(std::vector<std::string> replicas);

  std::function<void()> changed; ///< after every change

private:
  template <class Change>
  void commit(Change change) {
    if (history_.size() > 8) history_.erase(history_.begin());
    history_.push_back(now_);
    ++now_.revision;
    change();
    if (changed) changed();
  }
  view now_;
  std::vector<view> history_;
};

} // namespace millrace::simulation
