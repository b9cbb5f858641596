#pragma once
// The cluster that the cases of suite `cluster` share, because to start one takes longer than most faults; a case that failed
// leaves none behind.

#include "tests/chaos/cluster_load.hpp"

namespace millrace::testing {

/// One case: a cluster in order at its beginning; finish() brings it back to that and compares everything.
class cluster_case {
public:
  enum class needs : std::uint8_t { nothing, cuts, clocks };
  explicit cluster_case(std::string name, needs what = needs::nothing);
  ~cluster_case();
  /// False where the case cannot be run; it has said so.
  bool runs() const noexcept { return runs_; }
  test_cluster& cluster();
  cluster_load& load();
  std::mt19937_64& random();
  int leader() { return cluster().await_leader(cluster_load::pipeline); }
  int follower();
  /// Carries the fault out and waits until what was written after it is at the destination: in time.
  milliseconds fault(const std::string& what, const std::function<void()>& act);
  void finish();

private:
  std::string name_;
  bool runs_ = true;
};

/// How often the random cases repeat: MILLRACE_CHAOS_ROUNDS.
std::uint64_t cluster_rounds(std::uint64_t otherwise);

} // namespace millrace::testing
