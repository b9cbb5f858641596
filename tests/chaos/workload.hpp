#pragma once
// One workload for both chaos suites: orders with poison, read by an upsert load and by an audit that appends every change it
// sees.

#include "tests/integration/support/fixture.hpp"

#include <cstdlib>

namespace millrace::testing {

inline std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* given = std::getenv(name);
  return given && *given ? std::strtoull(given, nullptr, 10) : otherwise;
}

/// What must be equal at the end, however the run went. Offsets are not in it: restarts and quarantine put entries of the log's
/// own between the changes. The source position, which is the same file's, takes their place.
struct end_state {
  std::map<std::int64_t, order> rows;
  std::vector<std::string> letters, audit_letters; ///< source position, reason, key, payload; in order
  std::vector<std::string> audit;                  ///< seq and payload-independent columns, in the order of arrival
  json counts;
};

class chaos_run {
public:
  /// `input` may still grow. Nothing of a run is shared with another one but the input.
  chaos_run(const std::filesystem::path& directory, const std::string& input);
  void apply();
  test_node& node() noexcept { return node_; }
  const std::string& database() const noexcept { return database_; }
  /// Committed progress of both loads together, straight from the destination; 0 before there is any.
  std::uint64_t progress();
  void finish(std::uint64_t changes);
  end_state state();

private:
  std::string input_, database_;
  test_node node_;
};

/// Reports the first differences only: a broken run has thousands.
void check_equal(const end_state& disturbed, const end_state& undisturbed);
/// Every change that the audit was given is there exactly once, and in order.
void check_audit(chaos_run& run);
std::string percentiles(std::vector<double> values, const std::string& unit);

} // namespace millrace::testing
