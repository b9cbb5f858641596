#pragma once
// One node of the cluster, elected by a key under its lease, writes what is wanted: which partitions there are and where their
// copies should be. Replicas do the rest. Two nodes that both think they are it do no harm: every commit is guarded by the
// election key.

#include "actors/cluster/controller_view.hpp"

#include <random>

namespace millrace::actors::cluster {

struct controller_status {
  bool active = false;                ///< this node is the controller
  std::string node;                   ///< who is; empty: nobody
  std::vector<std::string> shortages; ///< of the active one
  std::uint64_t decisions = 0, conflicts = 0;
};

/// Owner: runtime. Thread safe; a thread of its own, which looks at every change of the catalog and once a second.
class controller {
public:
  /// All must outlive it; the mirror covers all of the catalog. `log`: one line a decision.
  controller(storage::catalog& catalog, storage::catalog_mirror& mirror, const membership& self, controller_options options,
             shape_reader shape, std::function<void(const std::string& line)> log);
  /// Gives the election up, if the catalog answers.
  ~controller();
  controller(const controller&) = delete;
  controller& operator=(const controller&) = delete;
  controller_status status() const;

private:
  using clock = std::chrono::steady_clock;
  void run(std::stop_token stop);
  /// The create revision of the election key while it is ours; 0: it is not.
  std::uint64_t elect();
  void step(std::uint64_t term);
  view_times times(const cluster_view& view);

  storage::catalog& catalog_;
  storage::catalog_mirror& mirror_;
  const membership& self_;
  const controller_options options_;
  const shape_reader shape_;
  const std::function<void(const std::string&)> log_;

  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  bool news_ = true;
  controller_status status_;

  // The thread's own.
  std::map<std::string, clock::time_point> down_since_;
  std::map<storage::partition_name, clock::time_point> waiting_since_;
  std::mt19937_64 random_;
  std::uint64_t term_ = 0;

  std::unique_ptr<storage::catalog_mirror::listener> listener_;
  std::jthread thread_; ///< last: it uses everything above
};

/// What operators ask for; each is one key, which the controller and the replicas heed. Errors: not_found for an unknown node,
/// with the names of the known ones; conflict with the reason; unavailable.
storage::result<void> drain_node(storage::catalog& c, const std::string& node);
storage::result<void> undrain_node(storage::catalog& c, const std::string& node);
/// The node is to hold nothing any more; it may be running.
storage::result<void> decommission_node(storage::catalog& c, const std::string& node);
/// `gone` is gone for good and must not be running; its places go to `successor`, a node that is alive.
storage::result<void> replace_node(storage::catalog& c, const std::string& gone, const std::string& successor);
/// Takes back decommission_node and replace_node, as far as nothing has moved yet.
storage::result<void> keep_node(storage::catalog& c, const std::string& node);

} // namespace millrace::actors::cluster
