#pragma once
// Which nodes should hold which partition: pure. The controller calls it with what the catalog says and writes what comes out.
//
// A change goes in small steps, each safe by itself, found anew each time from the present state: a copy is added to `replicas`
// (one more than wanted for a while), the leader fills it and takes it into the in-sync set, then the one it replaces leaves
// `replicas`. So nothing has to be remembered, and a new controller goes on where the old one stopped.

#include "storage/replication/record.hpp"

#include <chrono>
#include <map>
#include <set>

namespace millrace::actors::cluster {

struct placement_node {
  std::string node, zone; ///< zone empty: a zone of its own
  bool alive = false;
  bool draining = false;            ///< keeps what it has, leads nothing, gets nothing new
  bool leaving = false;             ///< is to hold nothing
  std::string successor;            ///< of a leaving one: who gets its places, if it can
  std::chrono::milliseconds down{}; ///< for how long it has not been alive
};

struct placement_partition {
  storage::partition_name name;
  std::uint32_t wanted = 1;         ///< replicas
  std::uint32_t min_in_sync = 1;    ///< never fewer in-sync copies among `replicas` by what we do
  std::string pinned;               ///< not empty: on this node only
  storage::partition_record record; ///< replicas empty: it is new
};

struct placement_options {
  /// A host that is down keeps its places this long; then they go to others. 0: for ever, until an operator replaces it.
  std::chrono::milliseconds dead_after = std::chrono::minutes(10);
  /// Partitions that may be moved for balance at the same time. Replacements of lost copies do not wait for each other.
  std::size_t moves_max = 2;
};

struct placement_change {
  storage::partition_name name;
  std::vector<std::string> replicas; ///< the first one is the preferred leader
  std::string why;                   ///< for the log: "add d in place of b"
};
struct placement_plan {
  std::vector<placement_change> changes;
  /// What cannot be done and why, for status: "orders-1/0 has 2 of 3 replicas: no other node is alive".
  std::vector<std::string> shortages;
};

/// Even (counts of replicas and of preferred leaders differ by at most one where zones and pins allow it), stable (what is even
/// and whole stays), zones kept apart before evenness.
placement_plan place(const std::vector<placement_node>& nodes, const std::vector<placement_partition>& partitions,
                     const placement_options& options);

/// Whether the leader should give up its leadership (leader "" by compare-and-swap; the others elect): it drains, is no longer
/// wanted, or the preferred leader is back, and somebody better can take over at once: alive, in sync, wanted, not draining.
bool should_resign(const storage::partition_record& record, const std::vector<placement_node>& nodes);
/// How many should stand for election before this node: its wait is a random time plus rank * a step. Only a courtesy.
std::uint32_t election_rank(const storage::partition_record& record, std::string_view node,
                            const std::vector<placement_node>& nodes);

} // namespace millrace::actors::cluster
