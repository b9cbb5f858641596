#pragma once
// Many failures of one cause are one alert. Pure: told the time and the failures, gives the alerts that are due.

#include "storage/types.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

namespace millrace::actors::dead_letter {

/// What one alert says: `count` failures since the group's last alert. Over time the counts of a group add up to its failures.
struct alert {
  std::string pipeline, load, reason;
  std::uint64_t count = 0;
  storage::timestamp first_time, last_time; ///< of these failures
  std::string sample;                       ///< a dead letter as JSON; the first of them
};

struct alert_policy {
  std::chrono::milliseconds group_wait{5000}; ///< from a group's first failure to its first alert
  std::chrono::milliseconds repeat{3600000};  ///< between two alerts of a group, however many failures come
  std::size_t groups_max = 1000;
  std::size_t sample_bytes_max = 64u << 10; ///< a longer sample is left out: it is in the quarantine, under its id
};

/// Owner: the alerts actor, one for each alert of the spec; not thread safe.
class alert_grouping {
public:
  using time_point = std::chrono::steady_clock::time_point;
  explicit alert_grouping(alert_policy policy) : policy_(policy) {}

  /// `happened` holds what came since the caller's last report (count 0 is ignored). Beyond groups_max, failures of causes not
  /// seen yet are counted together, as load "" and reason "other".
  void add(alert happened, time_point now);
  /// The alerts due now. The caller delivers each one or gives it back.
  std::vector<alert> due(time_point now);
  /// Not delivered: its failures are counted again, with those that came since, and are due at `retry_at`.
  void give_back(alert undelivered, time_point retry_at);
  /// When due() will have something; none: nothing waits.
  std::optional<time_point> next_due() const;
  std::size_t groups() const noexcept { return groups_.size(); }

private:
  using key = std::tuple<std::string, std::string, std::string>;
  struct group {
    std::optional<alert> pending;
    time_point due;
    time_point quiet_until; ///< last alert + repeat
  };
  group& group_of(alert& happened, time_point now);
  static void merge(std::optional<alert>& into, alert more);
  void forget_idle(time_point now);

  alert_policy policy_;
  std::map<key, group> groups_;
};

} // namespace millrace::actors::dead_letter
