#pragma once
// What flows through the cluster under test, and what must have come of it.
//
//   writer (groups of rows, a sequence for each key) --> source --> cluster --> items (upsert), audit (append), notes (poison)
//   reader: how far the destination is, and whether it ever shows half of a transaction

#include "tests/chaos/workload.hpp"
#include "tests/integration/support/test_cluster.hpp"

#include <atomic>
#include <mutex>
#include <thread>

namespace millrace::testing {

/// Owner: one test, one thread; it has a thread for the writer and one for the reader.
class cluster_load {
public:
  static constexpr const char* pipeline = "p";
  cluster_load(test_cluster& cluster, std::uint64_t seed);
  ~cluster_load();

  /// Makes both databases and the pipeline; answers once the snapshot has passed.
  void begin();
  void write(bool on) { writing_ = on; }
  /// The source's last committed transaction.
  std::uint64_t written() const { return written_; }
  /// Waits until the destination shows a transaction after `transaction`; how long after `since` it did.
  milliseconds shows_more_than(std::uint64_t transaction, test_clock::time_point since, milliseconds limit);
  /// The longest time without a new transaction at the destination, from `since` to now.
  milliseconds longest_stall(test_clock::time_point since);
  /// Stops the writer, waits until all is through, and compares everything; then writes again.
  void check();

private:
  void run_writer(const std::stop_token& stop);
  void run_reader(const std::stop_token& stop);
  std::string src(const std::string& sql) { return cluster_.postgres().query(sql, "src"); }
  std::string dst(const std::string& sql) { return cluster_.postgres().query(sql, "dst"); }
  void check_audit();
  void check_letters();
  test_cluster& cluster_;
  std::mt19937_64 random_;
  std::atomic<bool> writing_{false}, idle_{true};
  std::atomic<std::uint64_t> written_{0}, poisoned_{0}, looks_{0};
  std::mutex mutex_;
  std::string wrong_;                                                     ///< of either thread
  std::vector<std::pair<test_clock::time_point, std::uint64_t>> arrived_; ///< when the destination showed which transaction
  std::jthread writer_, reader_;
};

} // namespace millrace::testing
