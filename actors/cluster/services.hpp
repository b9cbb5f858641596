#pragma once
// What a node of a cluster has that a single one lacks. Made by runtime before the actors, outlives them.

#include "actors/cluster/membership.hpp"
#include "actors/cluster/transport.hpp"
#include "storage/catalog_mirror.hpp"

#include <nlohmann/json.hpp>

namespace millrace::actors {
struct members_news;
}

namespace millrace::actors::cluster {

class hub;

struct services {
  std::string id; ///< of the cluster
  std::chrono::milliseconds lease{5000};
  std::shared_ptr<storage::catalog> catalog;
  std::shared_ptr<storage::catalog_mirror> mirror; ///< of all of it
  std::shared_ptr<cluster::transport> transport;
  std::shared_ptr<cluster::membership> membership;
  std::shared_ptr<cluster::hub> hub;
  /// What only runtime knows of this node, for `cluster status`: an object with catalog, reason, etcd, controller, shortages.
  std::function<nlohmann::ordered_json()> facts;
  /// Samples of links, etcd, membership and controller, as the end of node.hpp says.
  std::function<nlohmann::ordered_json()> samples;

  members_news members() const;
};

} // namespace millrace::actors::cluster
