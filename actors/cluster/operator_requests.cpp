// drain, decommission, replace: what an operator wants is a key.
#include "actors/cluster/controller.hpp"

namespace millrace::actors::cluster {
namespace {

using storage::catalog;
using storage::errc;
using storage::failure;
using storage::result;

std::string key_of(std::string_view prefix, std::string_view node) { return std::string(prefix) + std::string(node); }

result<void> must_be_known(catalog& c, const std::string& node) {
  auto hosts = c.list(host_prefix);
  if (!hosts) return hosts.error();
  std::string known;
  for (const auto& e : hosts.value()) {
    const auto name = e.key.substr(host_prefix.size());
    if (name == node) return storage::success();
    known += (known.empty() ? "" : ", ") + name;
  }
  return failure{errc::not_found, "no node '" + node + "' is known; the cluster has: " + (known.empty() ? "none" : known)};
}

/// As storage::catalog::commit, with the key's presence as the outcome.
result<void> put(catalog& c, std::vector<storage::catalog_guard> guards, const std::string& key, const std::string& value) {
  auto done = c.commit(guards, {{key, value, 0}});
  if (!done) return done.error();
  return storage::success();
}
result<void> drop(catalog& c, const std::string& key) {
  auto done = c.commit({}, {{key, std::nullopt, 0}});
  if (!done) return done.error();
  return storage::success();
}

} // namespace

result<void> drain_node(catalog& c, const std::string& node) {
  if (auto ok = must_be_known(c, node); !ok) return ok;
  return put(c, {}, key_of(drain_prefix, node), "1");
}

result<void> undrain_node(catalog& c, const std::string& node) {
  if (auto ok = must_be_known(c, node); !ok) return ok;
  return drop(c, key_of(drain_prefix, node));
}

result<void> decommission_node(catalog& c, const std::string& node) {
  if (auto ok = must_be_known(c, node); !ok) return ok;
  return put(c, {}, key_of(leave_prefix, node), encode_leave_record({}));
}

result<void> replace_node(catalog& c, const std::string& gone, const std::string& successor) {
  if (gone == successor) return failure{errc::invalid, "node " + gone + " cannot replace itself"};
  if (auto ok = must_be_known(c, gone); !ok) return ok;
  auto old = c.get(key_of(node_prefix, gone));
  if (!old) return old.error();
  if (old.value())
    return failure{errc::conflict, "node " + gone +
                                       " is running: stop it first, or wait for the end of its lease; to empty a "
                                       "running node, decommission it"};
  auto by = c.get(key_of(node_prefix, successor));
  if (!by) return by.error();
  if (!by.value())
    return failure{errc::not_found, "node " + successor + ", which is to take the places of " + gone + ", is not running"};
  auto leaves = c.get(key_of(leave_prefix, successor));
  if (!leaves) return leaves.error();
  if (leaves.value()) return failure{errc::conflict, "node " + successor + " is leaving the cluster itself"};
  return put(c, {{key_of(node_prefix, gone), 0}}, key_of(leave_prefix, gone), encode_leave_record({successor}));
}

result<void> keep_node(catalog& c, const std::string& node) {
  if (auto ok = must_be_known(c, node); !ok) return ok;
  return drop(c, key_of(leave_prefix, node));
}

} // namespace millrace::actors::cluster
