// What a cluster costs and how fast it fails over, on hosts of their own (namespaces) of one machine.
//   failover: kill -9 of the leader -> the first change written after it is at the destination. MILLRACE_BENCH_RUNS (50), lease 5
//   s. append:   pushed changes into a log with three replicas against one with one, no load in the way. catch-up: a follower
//   that was down while as much was appended again, against the append rate of three replicas.
// MILLRACE_BENCH_LOG_MB (300), MILLRACE_BENCH_ONLY (failover | append).

#include "tests/integration/support/test_cluster.hpp"

#include <algorithm>
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <thread>

namespace {

using namespace millrace::testing;

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* given = std::getenv(name);
  return given && *given ? std::strtoull(given, nullptr, 10) : otherwise;
}

double seconds_since(test_clock::time_point start) { return std::chrono::duration<double>(test_clock::now() - start).count(); }

std::string http_spec(test_cluster& c, const std::string& name, int replicas) {
  // The destination is not there: only the log works.
  return "pipeline: " + name + "\nsource: { type: http }\nlog: { replicas: " + std::to_string(replicas) +
         ", compression: none }\nloads:\n  - { name: l, mode: append, destination: { type: postgres, connection: \"host=" +
         c.network().outside() + " port=1 dbname=none user=none\", table: t }, schema: { id: { type: int64 } } }\n";
}

void failover(std::uint64_t runs) {
  cluster_options o;
  o.lease = seconds{5};
  test_cluster c(o);
  c.start();
  auto& pg = c.postgres();
  pg.create_database("src");
  pg.create_database("dst");
  pg.query("CREATE TABLE t(id bigint PRIMARY KEY)", "src");
  c.node(0).apply("p",
                  "pipeline: p\nsource: { type: postgres, connection: \"" + pg.conninfo("src") +
                      "\", tables: [public.t] }\nlog: { replicas: 3 }\nloads:\n  - { name: l, destination: { type: postgres, "
                      "connection: \"" +
                      pg.conninfo("dst") + "\" } }\n");
  c.await_in_sync("p");
  std::uint64_t id = 0;
  auto newest = [&]() -> std::uint64_t {
    try {
      return std::stoull(pg.query("SELECT coalesce(max(id), 0) FROM t", "dst"));
    } catch (const std::exception&) {
      return 0;
    }
  };
  auto moves = [&] {
    pg.query("INSERT INTO t VALUES (" + std::to_string(++id) + ")", "src");
    if (!becomes([&] { return newest() >= id; }, seconds{60}, milliseconds{5}))
      throw std::runtime_error("nothing moves\n" + c.status().dump(2) + c.logs());
  };
  moves();
  std::vector<double> took;
  for (std::uint64_t run = 0; run < runs; ++run) {
    const auto leader = c.await_leader("p");
    const auto start = test_clock::now();
    c.kill9(leader);
    moves();
    took.push_back(seconds_since(start));
    c.launch(leader);
    c.await_in_sync("p");
  }
  std::sort(took.begin(), took.end());
  const auto at = [&](double part) {
    return took[std::min(took.size() - 1, static_cast<std::size_t>(part * static_cast<double>(took.size())))];
  };
  const auto late = std::count_if(took.begin(), took.end(), [](double s) { return s > 7; });
  std::cout << std::fixed << std::setprecision(2) << "kill -9 of the leader -> changes move, lease 5 s: n " << took.size()
            << ", min " << took.front() << ", p50 " << at(0.5) << ", p90 " << at(0.9) << ", p99 " << at(0.99) << ", max "
            << took.back() << " s; later than lease + 2 s: " << late << std::endl;
}

/// Pushes `megabytes` to the pipeline's leader over four connections; MB/s.
double append(test_cluster& c, const std::string& pipeline, std::uint64_t megabytes) {
  std::string body;
  for (int i = 0; body.size() < (1u << 20); ++i)
    body += "{\"id\":" + std::to_string(i) + ",\"text\":\"" + std::string(900, static_cast<char>('a' + i % 26)) + "\"}\n";
  const auto to_leader = [&] { return c.node(c.await_leader(pipeline)).http("/v1/pipelines/" + pipeline + "/changes"); };
  const auto first = to_leader();
  std::atomic<std::uint64_t> left{megabytes};
  std::atomic<bool> failed{false};
  const auto start = test_clock::now();
  {
    std::vector<std::jthread> clients;
    for (int i = 0; i < 4; ++i)
      clients.emplace_back([&] {
        auto url = first;
        for (auto now = left.load(); now > 0 && !failed;) {
          if (!left.compare_exchange_weak(now, now - 1)) continue;
          for (;;) {
            const auto answer = http_post(url, body);
            if (answer.status == 200 || answer.status == 202) break;
            if (answer.status != 307 && answer.status != 429 && answer.status != 503) {
              std::cerr << "push: " << answer.status << " " << answer.body << std::endl;
              failed = true;
              return;
            }
            ::poll(nullptr, 0, 50);
            if (answer.status != 429) url = to_leader(); // it was handed over: a host that is gone changes the balance
          }
          now = left.load();
        }
      });
  }
  if (failed) throw std::runtime_error("a push failed");
  return static_cast<double>(megabytes) / seconds_since(start);
}

double median(std::vector<double> of) {
  std::sort(of.begin(), of.end());
  return of[of.size() / 2];
}

void appends(std::uint64_t megabytes) {
  test_cluster c({});
  c.start();
  c.node(0).apply("one", http_spec(c, "one", 1));
  c.node(0).apply("three", http_spec(c, "three", 3));
  c.await_in_sync("three");
  append(c, "one", 10), append(c, "three", 10);
  std::vector<double> ones, threes, ratios; // in turns: the machine's pace changes within a minute
  for (int round = 0; round < 5; ++round) {
    ones.push_back(append(c, "one", megabytes)), threes.push_back(append(c, "three", megabytes));
    ratios.push_back(threes.back() / ones.back());
  }
  const auto three = median(threes), lowest = *std::min_element(ratios.begin(), ratios.end());
  std::cout << std::fixed << std::setprecision(2) << "append by push, medians of 5: one replica " << median(ones)
            << " MB/s, three " << three << " MB/s, ratio " << median(ratios) << ", lowest " << lowest << " (goal 0.25)"
            << std::endl;

  const auto down = (c.await_leader("three") + 1) % c.size();
  c.kill9(down);
  eventually("the set does without it", [&] {
    const auto s = c.status();
    for (const auto& p : s.at("partitions"))
      if (p.at("pipeline") == "three") return p.at("in_sync").size() == 2;
    return false;
  });
  append(c, "three", megabytes);
  const auto end_of = [&](int node) { return c.node(node).metric("millrace_replica_end_offset", "pipeline=\"three\""); };
  const auto whole = end_of(c.await_leader("three"));
  const auto launched = test_clock::now();
  c.launch(down);
  std::optional<double> first;
  eventually("it answers", [&] { return (first = end_of(down)).has_value(); });
  eventually("a leader feeds it", [&] { return end_of(down) > first; });
  const auto fed = test_clock::now();
  // Asked seldom: asking takes its part of the two cores.
  if (!becomes([&] { return end_of(down) >= whole; }, seconds{300}, milliseconds{50})) throw std::runtime_error("it is not fed");
  const auto catch_up = static_cast<double>(megabytes) / seconds_since(fed), with_start = seconds_since(launched);
  c.await_in_sync("three", seconds{60});
  std::cout << "catch-up of " << megabytes << " MB: " << catch_up << " MB/s once it is fed, ratio to the append rate of three "
            << catch_up / three << " (goal 2); " << static_cast<double>(megabytes) / with_start
            << " MB/s with the start of the process" << std::endl;
}

} // namespace

int main() {
  const char* chosen = std::getenv("MILLRACE_BENCH_ONLY");
  const std::string only = chosen ? chosen : "";
  try {
    if (only != "failover") appends(setting("MILLRACE_BENCH_LOG_MB", 300));
    if (only != "append") failover(setting("MILLRACE_BENCH_RUNS", 50));
  } catch (const std::exception& e) {
    std::cerr << e.what() << std::endl;
    return 1;
  }
}
