#include "tests/chaos/cluster_world.hpp"

#include <boost/test/results_collector.hpp>

#include <iostream>

namespace millrace::testing {
namespace {

struct world {
  world(std::uint64_t seed, bool clocks) : random(seed), cluster(options(seed, clocks)), load(cluster, seed + 1) {
    cluster.start();
    load.begin();
    cluster.await_in_sync(cluster_load::pipeline);
  }
  static cluster_options options(std::uint64_t seed, bool clocks) {
    cluster_options o;
    o.etcd_members = 3;
    o.lease = seconds{setting("MILLRACE_CHAOS_LEASE", 3)};
    o.proxies = true;
    o.small_disk_mb = 512;
    o.seed = seed;
    o.clocks = clocks;
    return o;
  }
  std::mt19937_64 random;
  test_cluster cluster;
  cluster_load load;
  bool clean = true;
};

struct shared {
  std::unique_ptr<world> now;
  std::vector<double> resumed;
  std::uint64_t late = 0;
} all;

/// Ends the cluster before main() does, and says what was measured.
struct at_the_end {
  ~at_the_end() {
    all.now.reset();
    if (all.resumed.empty()) return;
    std::cerr << "cluster: from a fault to the next change at the destination: " << percentiles(all.resumed, "ms") << "; "
              << all.late << " later than lease + 2 s\n";
  }
};

} // namespace

BOOST_TEST_GLOBAL_FIXTURE(at_the_end);

std::uint64_t cluster_rounds(std::uint64_t otherwise) { return setting("MILLRACE_CHAOS_ROUNDS", otherwise); }

cluster_case::cluster_case(std::string name, needs what) : name_(std::move(name)) {
  // Clocks of their own cost the nodes something: only where they are needed.
  if (all.now && (!all.now->clean || (what == needs::clocks && !cluster().has_clocks()))) all.now.reset();
  if (!all.now) all.now = std::make_unique<world>(test_seed(), what == needs::clocks);
  std::string missing;
  if (what == needs::cuts && !cluster().network().available())
    missing = "nothing can be cut here: " + cluster().network().why_not();
  if (what == needs::clocks && !cluster().has_clocks()) missing = "no clock can be set in a build with sanitizers";
  if (!missing.empty()) {
    std::cerr << "NOT RUN: " << name_ << ": " << missing << "\n";
    runs_ = false;
    return;
  }
  all.now->clean = false;
}

cluster_case::~cluster_case() = default;
test_cluster& cluster_case::cluster() { return all.now->cluster; }
cluster_load& cluster_case::load() { return all.now->load; }
std::mt19937_64& cluster_case::random() { return all.now->random; }

int cluster_case::follower() { return (leader() + 1 + static_cast<int>(random()() % 2)) % cluster().size(); }

milliseconds cluster_case::fault(const std::string& what, const std::function<void()>& act) {
  const auto since = test_clock::now();
  act();
  // What was written until here may still have been on its way without us.
  const auto written = load().written();
  const milliseconds strict = cluster().lease() + seconds{2};
  const auto took = load().shows_more_than(written, since, std::max<milliseconds>(4 * strict, seconds{40}));
  all.resumed.push_back(static_cast<double>(took.count()));
  all.late += took > strict;
  std::cerr << name_ << ": " << what << ": flows again after " << took.count() << " ms"
            << (took > strict ? " (LATER than lease + 2 s)" : "") << "\n";
  BOOST_TEST(took.count() <= 3 * strict.count(), what << ": flows again only after " << took.count() << " ms\n"
                                                      << cluster().logs());
  return took;
}

void cluster_case::finish() {
  const auto errors = boost::unit_test::results_collector.results(boost::unit_test::framework::current_test_case().p_id)
                          .p_assertions_failed.get();
  const auto since = test_clock::now();
  cluster().heal();
  cluster().await_in_sync(cluster_load::pipeline);
  const auto healed = test_clock::now();
  load().check();
  std::cerr << name_ << ": in sync after " << std::chrono::duration_cast<milliseconds>(healed - since).count()
            << " ms, checked in " << std::chrono::duration_cast<milliseconds>(test_clock::now() - healed).count() << " ms\n";
  const auto after = boost::unit_test::results_collector.results(boost::unit_test::framework::current_test_case().p_id)
                         .p_assertions_failed.get();
  all.now->clean = errors == after;
}

} // namespace millrace::testing
