#pragma once
// What `millrace node --config FILE` reads. Every key but `node` has a default; interfaces.md lists them.

#include "actors/node.hpp"
#include "runtime/config/mistakes.hpp"
#include "runtime/config/references.hpp"

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>

namespace millrace::runtime::config {

/// `cluster`: how this node finds the others. Absent on a single node.
struct cluster_config {
  std::string id; ///< `id`: nodes of different clusters refuse each other
  std::vector<std::string> etcd_endpoints;
  std::string etcd_ca, etcd_cert, etcd_key; ///< `etcd.tls`, PEM files
  std::string etcd_user, etcd_password;
  std::string listen;    ///< `link.listen`, HOST:PORT
  std::string advertise; ///< `link.advertise`, how others reach it; default: listen
  std::filesystem::path key_file, peers_file;
  std::chrono::milliseconds lease{5000};
  std::map<std::string, std::string> labels;
};

struct node_config {
  std::string name = "local"; ///< `node`, its id
  std::filesystem::path data_dir = "./millrace-data";
  std::filesystem::path admin_socket;         ///< `admin.socket`; default admin.sock inside data_dir
  std::string http_listen = "127.0.0.1:7071"; ///< `http.listen`, HOST:PORT; port 0 takes a free one; `none`: no HTTP
  std::string http_advertise;                 ///< `http.advertise`, HOST:PORT: where a client that came to another node is sent
  actors::node_limits limits;                 ///< memory 1GiB, workers: the host's cores, record 16MiB, body 64MiB
  std::uint64_t disk_reserve_bytes = 0;       ///< `limits.disk_reserve`; 0: the smaller of 512 MiB and 5 % of the file system
  std::string log_level = "info";             ///< trace | debug | info | warn | error
  bool log_json = false;                      ///< `log.format`: text | json

  std::optional<cluster_config> cluster;

  bool has_http() const { return http_listen != "none"; }
};

/// Embedded defaults, for a node without a file.
node_config default_node_config();

struct parsed_node_config {
  node_config config;
  std::vector<mistake> mistakes;
};
/// Relative paths start at the working directory, as on a command line (a spec's start at the spec: it moves with its files,
/// a node's configuration lies in /etc).
parsed_node_config parse_node_config(const std::string& text, const std::string& file,
                                     const environment& env = process_environment());

} // namespace millrace::runtime::config
