#pragma once
// Where a pushed body goes: the HTTP server asks on its own thread, pipelines register and leave on theirs.

#include "actors/messages.hpp"

#include <atomic>
#include <map>
#include <mutex>
#include <optional>

namespace millrace::actors::supervisor {

/// Bodies accepted and not answered yet, over all pipelines of the node: what bounds their memory.
struct push_credit {
  std::atomic<std::uint64_t> bytes{0};
  std::uint64_t bytes_max = 64u << 20;
};

class push_router {
public:
  struct target {
    ingest_actor ingest;
    std::string token;
    std::string waiting; ///< why nothing can be staged now; empty: it can
    bool pushed = false; ///< false: the pipeline's source is not `http`
  };
  /// In a cluster: who leads the pipeline, if not this node.
  struct leader {
    std::string node;
    std::string address; ///< HOST:PORT of its HTTP server as others reach it; empty: they do not
  };
  void set(const std::string& pipeline, target t) {
    std::lock_guard lock(mutex_);
    if (!closed_) targets_[pipeline] = std::move(t);
  }
  void remove(const std::string& pipeline) {
    std::lock_guard lock(mutex_);
    targets_.erase(pipeline);
    leaders_.erase(pipeline);
  }
  void set_leader(const std::string& pipeline, leader l) {
    std::lock_guard lock(mutex_);
    if (l.node.empty())
      leaders_.erase(pipeline);
    else
      leaders_[pipeline] = std::move(l);
  }
  std::optional<leader> leader_of(const std::string& pipeline) const {
    std::lock_guard lock(mutex_);
    const auto it = leaders_.find(pipeline);
    return it == leaders_.end() ? std::nullopt : std::optional{it->second};
  }
  std::optional<target> find(const std::string& pipeline) const {
    std::lock_guard lock(mutex_);
    const auto it = targets_.find(pipeline);
    return it == targets_.end() ? std::nullopt : std::optional{it->second};
  }
  /// Lets go of every ingest, and takes no further one: a handle kept here would keep its actor, and with it a node that ends.
  void close() {
    std::map<std::string, target> let_go; // after the lock: the last handle of an actor runs its destructor
    std::lock_guard lock(mutex_);
    closed_ = true;
    let_go.swap(targets_);
    leaders_.clear();
  }
  push_credit credit;

private:
  mutable std::mutex mutex_;
  bool closed_ = false;
  std::map<std::string, target> targets_;
  std::map<std::string, leader> leaders_;
};

} // namespace millrace::actors::supervisor
