#pragma once
// What /metrics says of a node's place in its cluster and of its links: samples as the end of actors/node.hpp describes them.

#include "actors/cluster/controller.hpp"
#include "runtime/link/node_link.hpp"
#include "storage/etcd/etcd_catalog.hpp"

#include <nlohmann/json.hpp>

namespace millrace::runtime::cluster {

nlohmann::ordered_json cluster_samples(const actors::cluster::membership_status& member, const storage::etcd_status& etcd,
                                       const actors::cluster::controller_status& controller);
nlohmann::ordered_json link_samples(const std::vector<actors::cluster::peer_status>& peers, const link::link_counters& counters);

} // namespace millrace::runtime::cluster
