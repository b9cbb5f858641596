#pragma once

#include "actors/node.hpp"
#include "runtime/link/link_session.hpp"

#include <map>
#include <string>

namespace millrace::runtime::link {

/// Lets one line of a kind through each 10 s and says how many it kept back: a hostile peer must not fill the node's log.
/// Owner: the link's thread.
class log_limiter {
public:
  explicit log_limiter(actors::log_sink sink) : sink_(std::move(sink)) {}
  void line(link_time now, std::string_view level, const std::string& kind, const std::string& text) {
    if (!sink_) return;
    if (kinds_.size() > 256) kinds_.clear(); // kinds hold names from outside: bounded, at the price of a line too many
    auto [at, fresh] = kinds_.try_emplace(kind);
    if (!fresh && now < at->second.next) {
      ++at->second.kept_back;
      return;
    }
    auto more = at->second.kept_back ? " (" + std::to_string(at->second.kept_back) + " more like it since the last line)" : "";
    at->second = {now + std::chrono::seconds(10), 0};
    sink_(level, "link", text + more);
  }

private:
  struct kind_state {
    link_time next;
    std::uint64_t kept_back = 0;
  };
  actors::log_sink sink_;
  std::map<std::string, kind_state> kinds_;
};

} // namespace millrace::runtime::link
