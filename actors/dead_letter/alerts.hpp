#pragma once
#include "actors/dead_letter/alert_grouping.hpp"
#include "actors/dead_letter/webhook.hpp"
#include "actors/messages.hpp"

namespace millrace::actors::dead_letter {

/// ALERTS of one pipeline: groups what writers report, for each alert of the spec by its own times, then tells the log,
/// webhooks and Alertmanager. What a receiver does not take is given back to its group and sent again with backoff, so a
/// receiver that is down for an hour costs memory for its groups only; the letters themselves are in the quarantine.
struct alerts_state {
  explicit alerts_state(alerts_actor::stateful_pointer<alerts_state> self) : self(self) {}
  static constexpr const char* name = "alerts";
  struct receiver {
    alert_spec spec;
    alert_grouping groups;
    std::chrono::milliseconds backoff{0};
    std::string trouble; ///< said once in the log
  };

  alerts_actor::stateful_pointer<alerts_state> self;
  pipeline_context_ptr ctx;
  std::vector<receiver> receivers;
  webhook poster;

  void add(const failure_report& r);
  void tick();
  void deliver(receiver& to, alert what);
};

alerts_actor::behavior_type alerts(alerts_actor::stateful_pointer<alerts_state> self, pipeline_context_ptr ctx);

} // namespace millrace::actors::dead_letter
