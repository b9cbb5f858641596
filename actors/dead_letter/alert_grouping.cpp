#include "actors/dead_letter/alert_grouping.hpp"

#include <algorithm>

namespace millrace::actors::dead_letter {

void alert_grouping::merge(std::optional<alert>& into, alert more) {
  if (!into) {
    into = std::move(more);
    return;
  }
  into->count += more.count;
  if (more.first_time < into->first_time) {
    into->first_time = more.first_time;
    if (!more.sample.empty()) into->sample = std::move(more.sample);
  } else if (into->sample.empty()) {
    into->sample = std::move(more.sample);
  }
  into->last_time = std::max(into->last_time, more.last_time);
}

void alert_grouping::forget_idle(time_point now) {
  std::erase_if(groups_, [&](const auto& g) { return !g.second.pending && g.second.quiet_until <= now; });
}

alert_grouping::group& alert_grouping::group_of(alert& happened, time_point now) {
  const key own{happened.pipeline, happened.load, happened.reason};
  if (const auto found = groups_.find(own); found != groups_.end()) return found->second;
  if (groups_.size() >= policy_.groups_max) forget_idle(now);
  if (groups_.size() < policy_.groups_max) return groups_[own];
  happened.load.clear();
  happened.reason = "other";
  return groups_[{happened.pipeline, happened.load, happened.reason}]; // one more for each pipeline: a bound still
}

void alert_grouping::add(alert happened, time_point now) {
  if (happened.count == 0) return;
  if (happened.sample.size() > policy_.sample_bytes_max) happened.sample.clear();
  auto& g = group_of(happened, now);
  if (!g.pending) g.due = std::max(now + policy_.group_wait, g.quiet_until);
  merge(g.pending, std::move(happened));
}

std::vector<alert> alert_grouping::due(time_point now) {
  std::vector<alert> out;
  for (auto& [name, g] : groups_) {
    if (!g.pending || g.due > now) continue;
    out.push_back(std::move(*g.pending));
    g.pending.reset();
    g.quiet_until = now + policy_.repeat;
  }
  forget_idle(now);
  return out;
}

void alert_grouping::give_back(alert undelivered, time_point retry_at) {
  if (undelivered.count == 0) return;
  auto& g = group_of(undelivered, retry_at);
  g.quiet_until = retry_at; // nobody heard it, so there is nothing to be quiet after
  g.due = retry_at;
  merge(g.pending, std::move(undelivered));
}

std::optional<alert_grouping::time_point> alert_grouping::next_due() const {
  std::optional<time_point> out;
  for (const auto& [name, g] : groups_)
    if (g.pending && (!out || g.due < *out)) out = g.due;
  return out;
}

} // namespace millrace::actors::dead_letter
