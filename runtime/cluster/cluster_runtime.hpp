#pragma once
// Wires a node into its cluster: etcd, links, membership, controller. A single node has none of it.

#include "actors/cluster/services.hpp"
#include "runtime/config/node_config.hpp"

namespace millrace::runtime::cluster {

/// HOST:PORT where clients of other hosts find this node's HTTP server: `http.advertise`; else `http.listen`, if others reach it
/// (every address: at the host of `link.advertise`). Empty: they do not.
std::string http_address(const config::node_config& config);

/// Owner: run_node(), for as long as the node's actors run.
class cluster_runtime {
public:
  virtual ~cluster_runtime() = default;
  /// Listens for other nodes and begins to join; waits for neither etcd nor peers: a node whose etcd is away starts, and says so.
  /// Errors, for the operator: a key or peers file, an address that cannot be listened on, a certificate that is not there.
  static storage::result<std::unique_ptr<cluster_runtime>> start(const config::node_config& config, std::uint64_t data_id,
                                                                 const actors::log_sink& log);
  virtual std::shared_ptr<actors::cluster::services> services() const = 0;
  /// Before the actors end: no frame reaches them any more, the session is given back.
  virtual void stop() = 0;
};

} // namespace millrace::runtime::cluster
