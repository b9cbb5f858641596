#pragma once
// What the catalog keeps of nodes, and what operators ask of them: schemas/catalog.capnp.

#include "storage/result.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace millrace::actors::cluster {

struct node_record {
  std::uint64_t process = 0; ///< random per process start
  std::uint64_t data_id = 0; ///< of the data directory, whose lock one process holds; 0: unknown
  std::uint64_t lease = 0;   ///< under which node/ID was written
  std::string link_address, admin_address, http_address;
  std::string public_key;                    ///< of the links
  std::map<std::string, std::string> labels; ///< `zone` is what placement keeps apart
  std::string version, host;
  std::int64_t started_at_us = 0; ///< by the node's clock: for people
  friend bool operator==(const node_record&, const node_record&) = default;
};
std::string encode_node_record(const node_record& r);
storage::result<node_record> decode_node_record(std::string_view key, std::string_view value);

struct controller_record {
  std::string node;
  std::uint64_t session = 0;
};
std::string encode_controller_record(const controller_record& r);
storage::result<controller_record> decode_controller_record(std::string_view value);

struct leave_record {
  std::string successor; ///< empty: whoever placement picks
};
std::string encode_leave_record(const leave_record& r);
storage::result<leave_record> decode_leave_record(std::string_view key, std::string_view value);

inline constexpr std::string_view node_prefix = "node/";   ///< alive: under the node's lease
inline constexpr std::string_view host_prefix = "host/";   ///< known: the last record of each node, dead or alive
inline constexpr std::string_view drain_prefix = "drain/"; ///< leads nothing, gets nothing new
inline constexpr std::string_view leave_prefix = "leave/"; ///< is to hold nothing: decommissioned or replaced
inline constexpr std::string_view controller_key = "controller";

} // namespace millrace::actors::cluster
