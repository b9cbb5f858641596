#pragma once
// What `millrace node --config FILE` reads. Every key but `node` has a default; interfaces.md lists them.

#include "actors/node.hpp"
#include "runtime/config/mistakes.hpp"
#include "runtime/config/references.hpp"

#include <filesystem>

namespace millrace::runtime::config {

struct node_config {
  std::string name = "local"; ///< `node`, its id
  std::filesystem::path data_dir = "./millrace-data";
  std::filesystem::path admin_socket;         ///< `admin.socket`; default admin.sock inside data_dir
  std::string http_listen = "127.0.0.1:7071"; ///< `http.listen`, HOST:PORT; port 0 takes a free one; `none`: no HTTP
  actors::node_limits limits;                 ///< memory 1GiB, workers: the host's cores, record 16MiB, body 64MiB
  std::uint64_t disk_reserve_bytes = 0;       ///< `limits.disk_reserve`; 0: the smaller of 512 MiB and 5 % of the file system
  std::string log_level = "info";             ///< trace | debug | info | warn | error
  bool log_json = false;                      ///< `log.format`: text | json

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
