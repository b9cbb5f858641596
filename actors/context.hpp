#pragma once
// What every actor of a node may look at. Immutable but for the flag that ends the process.

#include "actors/node.hpp"

#include <atomic>
#include <memory>

namespace millrace::actors {

struct node_context {
  node_options options;
  /// Set by whoever sees storage::errc::io_failed: the process must end and read back what is there.
  mutable std::atomic<bool> storage_failed{false};

  void log(std::string_view level, std::string_view component, std::string_view line) const {
    if (options.log) options.log(level, component, line);
  }
  /// True if the failure means that the process must end; says so in the log.
  bool fatal(const failure& f, std::string_view component) const {
    if (!f.is(storage::errc::io_failed)) return false;
    if (!storage_failed.exchange(true)) log("error", component, "the log's disk failed, the node ends: " + f.message);
    return true;
  }
};
using context_ptr = std::shared_ptr<const node_context>;

/// What the actors of one pipeline share: its identity and, once the stage opened them, its log and quarantine.
struct pipeline_context {
  context_ptr node;
  pipeline_spec_ptr spec;
  std::string uid;
  std::uint64_t revision = 1;
  std::vector<storage::log_id> retired; ///< logs of deleted pipelines of this name
  std::shared_ptr<storage::partition_log> log;
  std::shared_ptr<storage::dead_letter_table> dead_letters;

  std::string component(std::string_view role, std::string_view load = {}) const {
    std::string out = spec->name;
    if (!load.empty()) out.append("/").append(load);
    return out.append("/").append(role);
  }
};
using pipeline_context_ptr = std::shared_ptr<const pipeline_context>;

} // namespace millrace::actors
