#pragma once
// What the controller decides from: the catalog, decoded, and what it decides: pure.

#include "actors/cluster/membership.hpp"
#include "actors/cluster/placement.hpp"
#include "actors/supervisor/pipeline_record.hpp"

namespace millrace::actors::cluster {

/// What a pipeline's spec wants of its log.
struct pipeline_shape {
  std::uint32_t partitions = 1, replicas = 1, min_in_sync = 1;
  std::string pinned; ///< a source or destination that exists on one node only: that node
};
/// From a stored record; none if its spec no longer parses (its partitions then stay as they are).
using shape_reader = std::function<std::optional<pipeline_shape>(const supervisor::pipeline_record&)>;

struct cluster_view {
  struct pipeline {
    std::string name, uid;
    std::uint64_t create_revision = 0;
    std::optional<pipeline_shape> shape;
  };
  struct store {
    storage::store_record record;
    std::uint64_t mod_revision = 0;
  };
  std::vector<pipeline> pipelines;
  std::map<storage::partition_name, storage::partition_record> parts;
  std::map<storage::partition_name, std::map<std::string, store>> stores;
  std::vector<member> members;
  std::map<std::string, leave_record> leaves;
  std::vector<std::string> damaged; ///< records that cannot be read, with what is wrong; nothing is decided about them
};
cluster_view read_view(const storage::catalog_mirror& mirror, const shape_reader& shape);

/// For how long things have been so, by the controller's own steady clock: delays things, protects nothing.
struct view_times {
  std::map<std::string, std::chrono::milliseconds> down;               ///< nodes that are not alive
  std::map<storage::partition_name, std::chrono::milliseconds> waited; ///< partitions at epoch 0
};

struct controller_options {
  placement_options placement;
  /// A new partition waits this long for all of its replicas' stores before it begins with those that are there (`min_in_sync` of
  /// them at least).
  std::chrono::milliseconds bootstrap_wait{2000};
};

/// One transaction; the driver adds the guard that it is still the controller. One that fails is decided anew.
struct controller_decision {
  std::vector<storage::catalog_guard> guards;
  std::vector<storage::catalog_write> writes;
  std::string what; ///< for the log
};
struct controller_plan {
  std::vector<controller_decision> decisions;
  std::vector<std::string> shortages; ///< what cannot be done now, for status
};

/// `draw` gives random numbers above 0 (log ids).
controller_plan decide(const cluster_view& view, const view_times& times, const controller_options& options,
                       const std::function<std::uint64_t()>& draw);

/// What placement's functions ask about the nodes (should_resign, election_rank need no `down`).
std::vector<placement_node> placement_nodes(const cluster_view& view, const view_times& times);
std::vector<placement_node> placement_nodes(const std::vector<member>& members);

} // namespace millrace::actors::cluster
