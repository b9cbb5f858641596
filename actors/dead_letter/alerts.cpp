#include "actors/dead_letter/alerts.hpp"

#include "actors/dead_letter/letter_json.hpp"

#include <algorithm>

namespace millrace::actors::dead_letter {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

namespace {
constexpr auto post_timeout = 5s;
constexpr auto backoff_min = 1000ms, backoff_max = 60000ms;
constexpr auto look_time = 200ms;
} // namespace

void alerts_state::add(const failure_report& r) {
  alert a{ctx->spec->name, r.load, r.reason, r.count, r.first, r.last, {}};
  if (r.text.empty())
    a.sample = letter_json(r.sample, ctx->spec->name, r.load, 0, true).dump();
  else
    a.sample = nlohmann::ordered_json{{"message", r.text}}.dump();
  for (auto& to : receivers) to.groups.add(a, clock::now());
}

void alerts_state::tick() {
  for (auto& to : receivers)
    for (auto& due : to.groups.due(clock::now())) deliver(to, std::move(due));
  self->delayed_send(self, look_time, tick_atom::value);
}

void alerts_state::deliver(receiver& to, alert what) {
  const auto& node = ctx->node->options.name;
  if (to.spec.type == "log") {
    ctx->node->log("warn", ctx->component("alert", what.load),
                   std::to_string(what.count) + " failures, reason " + what.reason + ", sample " + what.sample);
    return;
  }
  const bool manager = to.spec.type == "alertmanager";
  const auto ends = storage::now() + std::chrono::duration_cast<std::chrono::microseconds>(to.spec.repeat) + 60s;
  const auto outcome = poster.post(manager ? alertmanager_url(to.spec.url) : to.spec.url,
                                   manager ? alertmanager_body(what, node, ends) : webhook_body(what, node), post_timeout);
  if (outcome.delivered) {
    if (!to.trouble.empty()) ctx->node->log("info", ctx->component("alerts"), "alerts are delivered again");
    to.trouble.clear();
    to.backoff = 0ms;
    return;
  }
  if (to.trouble != outcome.message)
    ctx->node->log("warn", ctx->component("alerts"),
                   "an alert was not taken: " + outcome.message + (outcome.retry ? "; trying again" : ""));
  to.trouble = outcome.message;
  if (!outcome.retry) {
    // It will never be taken as it is: the operator at least finds it in the node's log.
    ctx->node->log("warn", ctx->component("alert", what.load),
                   std::to_string(what.count) + " failures, reason " + what.reason + ", sample " + what.sample);
    return;
  }
  to.backoff = std::clamp<std::chrono::milliseconds>(to.backoff * 2, backoff_min, backoff_max);
  to.groups.give_back(std::move(what), clock::now() + std::max<std::chrono::milliseconds>(to.backoff, outcome.retry_after));
}

alerts_actor::behavior_type alerts(alerts_actor::stateful_pointer<alerts_state> self, pipeline_context_ptr ctx) {
  set_crash_handler(self, ctx, ctx->component("alerts"));
  for (const auto& spec : ctx->spec->alerts) {
    alert_policy policy;
    policy.group_wait = spec.group_wait;
    policy.repeat = spec.repeat;
    self->state.receivers.push_back({spec, alert_grouping(policy), {}, {}});
  }
  self->state.ctx = std::move(ctx);
  self->send(self, tick_atom::value);
  return {[self](const failure_report& r) { self->state.add(r); }, [self](tick_atom) { self->state.tick(); }};
}

} // namespace millrace::actors::dead_letter
