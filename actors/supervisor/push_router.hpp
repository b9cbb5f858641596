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
  void set(const std::string& pipeline, target t) {
    std::lock_guard lock(mutex_);
    targets_[pipeline] = std::move(t);
  }
  void remove(const std::string& pipeline) {
    std::lock_guard lock(mutex_);
    targets_.erase(pipeline);
  }
  std::optional<target> find(const std::string& pipeline) const {
    std::lock_guard lock(mutex_);
    const auto it = targets_.find(pipeline);
    return it == targets_.end() ? std::nullopt : std::optional{it->second};
  }
  push_credit credit;

private:
  mutable std::mutex mutex_;
  std::map<std::string, target> targets_;
};

} // namespace millrace::actors::supervisor
