#pragma once
// Where what comes from other nodes finds its actor, and where each replica of this node leaves its state for whoever asks.

#include "actors/messages.hpp"

#include <mutex>

namespace millrace::actors::cluster {

/// A replica of this node as its stage last saw it.
struct replica_view {
  storage::partition_name partition;
  std::string role; ///< leader, follower, candidate, starting, halted
  storage::epoch epoch;
  storage::offset start, end, high_watermark;
  std::vector<storage::replication::follower_status> followers; ///< on the leader
  std::vector<std::string> alarms;
};

/// Thread safe. Owner: the cluster's services; outlives all actors.
class hub {
public:
  void enroll(const storage::partition_name& p, const stage_actor& s) {
    std::lock_guard lock(mutex_);
    stages_[p] = s;
  }
  /// Ends only the enrolment of this very stage: a successor may have enrolled.
  void leave(const storage::partition_name& p, const caf::actor_addr& s) {
    std::lock_guard lock(mutex_);
    const auto it = stages_.find(p);
    if (it == stages_.end() || it->second.address() != s) return;
    stages_.erase(it);
    views_.erase(p);
  }
  stage_actor find(const storage::partition_name& p) const {
    std::lock_guard lock(mutex_);
    const auto it = stages_.find(p);
    return it == stages_.end() ? stage_actor{} : it->second;
  }
  void publish(replica_view v) {
    std::lock_guard lock(mutex_);
    if (stages_.contains(v.partition)) views_[v.partition] = std::move(v);
  }
  /// Before the transport starts: its frames go to the stages and to the node supervisor.
  void connect(transport& t, const log_sink& log);
  void set_node(node_actor n) {
    std::lock_guard lock(mutex_);
    node_ = std::move(n);
  }
  node_actor node() const {
    std::lock_guard lock(mutex_);
    return node_;
  }
  void set_registrar(registrar_actor r) {
    std::lock_guard lock(mutex_);
    registrar_ = std::move(r);
  }
  registrar_actor registrar() const {
    std::lock_guard lock(mutex_);
    return registrar_;
  }
  /// Handles keep actors alive: called before the actor system ends.
  void clear() {
    std::lock_guard lock(mutex_);
    stages_.clear();
    registrar_ = nullptr;
    node_ = nullptr;
  }
  std::vector<replica_view> views() const {
    std::lock_guard lock(mutex_);
    std::vector<replica_view> out;
    for (const auto& [p, v] : views_) out.push_back(v);
    return out;
  }

private:
  mutable std::mutex mutex_;
  std::map<storage::partition_name, stage_actor> stages_;
  std::map<storage::partition_name, replica_view> views_;
  registrar_actor registrar_;
  node_actor node_;
};

} // namespace millrace::actors::cluster
