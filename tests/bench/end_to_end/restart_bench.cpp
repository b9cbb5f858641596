// How long changes stand still: after an actor was killed, and after kill -9 of a node with a large log.
// MILLRACE_BENCH_LOG_MB (1000; 10000 in `tests/run long`), MILLRACE_BENCH_ACTOR_KILLS (100), MILLRACE_BENCH_STARTS (5).

#include "tests/integration/support/test_node.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <random>

namespace {

using namespace millrace::testing;

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* given = std::getenv(name);
  return given && *given ? std::strtoull(given, nullptr, 10) : otherwise;
}

double milliseconds_since(test_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(test_clock::now() - start).count();
}

void print(const std::string& what, std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto at = [&](double part) {
    return values[std::min(values.size() - 1, static_cast<std::size_t>(part * static_cast<double>(values.size())))];
  };
  std::cout << std::fixed << std::setprecision(1) << what << ": ";
  if (values.empty())
    std::cout << "none measured";
  else
    std::cout << "n " << values.size() << ", p50 " << at(0.5) << " ms, p99 " << at(0.99) << " ms, max " << values.back() << " ms";
  std::cout << std::endl;
}

const std::string spec_head =
    "pipeline: p\nsource: { type: file, path: \"in*.ndjson\", follow: true }\nlog: { compression: none }\nloads:\n"
    "  - name: l\n    destination: { type: sqlite, path: out.db, table: t }\n    mode: append\n    schema: { id: { type: int64, "
    "required: true } }\n";

long long newest(const std::string& database) {
  try {
    return sqlite_file(database).number("select coalesce(max(id), -1) from t");
  } catch (const std::runtime_error&) {
    return -1;
  }
}

std::string line(long long id) { return "{\"id\":" + std::to_string(id) + "}\n"; }

/// The node's own histogram: bucket bounds that hold p50 and p99.
void print_histogram(test_node& node) {
  const auto text = http_get(node.http("/metrics")).body;
  std::map<double, double> buckets;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    const auto row = text.substr(at, end - at);
    at = end + 1;
    if (!row.starts_with("millrace_recovery_seconds_bucket")) continue;
    const auto le = row.find("le=\"");
    const auto bound = row.substr(le + 4, row.find('"', le + 4) - le - 4);
    buckets[bound == "+Inf" ? 1e9 : std::stod(bound)] += std::stod(row.substr(row.rfind(' ') + 1));
  }
  if (buckets.empty()) return;
  const auto total = buckets.rbegin()->second;
  const auto at = [&](double part) {
    for (const auto& [bound, count] : buckets)
      if (count >= part * total) return bound * 1000;
    return 0.0;
  };
  std::cout << "actor restarted and working, as the node measured (millrace_recovery_seconds): n " << total
            << ", p50 <= " << at(0.5) << " ms, p99 <= " << at(0.99) << " ms" << std::endl;
}

void actor_restarts(std::uint64_t kills) {
  temp_dir dir;
  test_node node(dir / "n");
  const auto input = dir / "n/in.ndjson";
  const auto database = (dir / "n/out.db").string();
  write_file(input, line(0));
  node.start();
  node.apply("p", spec_head);
  eventually("the first change is there", [&] { return newest(database) == 0; });
  std::mt19937_64 random(setting("MILLRACE_SEED", 1));
  std::vector<double> times;
  std::map<std::string, std::vector<double>> by_role;
  for (std::uint64_t i = 1; i <= kills; ++i) {
    const auto actors = node.ask({"actors", "p"});
    const auto victim = actors.at(random() % actors.size());
    const auto id = victim.at("id");
    if (node.cli({"actors", "kill", id.is_string() ? id.get<std::string>() : id.dump()}).status != 0) continue;
    const auto start = test_clock::now();
    append_file(input, line(static_cast<long long>(i)));
    if (!becomes([&] { return newest(database) == static_cast<long long>(i); }, seconds{60}, milliseconds{1}))
      throw std::runtime_error("nothing moves after a kill\n" + node.status("p").dump(2));
    times.push_back(milliseconds_since(start));
    by_role[victim.at("role").get<std::string>()].push_back(times.back());
    node.until("p", "it runs", [](const json& s) { return s.at("state") == "running"; });
  }
  print("actor killed -> a change fed after it is in SQLite", times);
  for (const auto& [role, took] : by_role) print("  " + role, took);
  print_histogram(node);
}

void node_starts(std::uint64_t megabytes, std::uint64_t starts) {
  temp_dir dir;
  test_node node(dir / "n");
  const auto database = (dir / "n/out.db").string();
  const std::string pad(1000, 'x');
  std::filesystem::create_directories(dir / "n");
  {
    std::ofstream out(dir / "n/in-0.ndjson", std::ios::binary);
    for (std::uint64_t i = 0; i < megabytes * 1000; ++i) out << "{\"id\":-1,\"pad\":\"" << pad << "\"}\n";
  }
  write_file(dir / "n/in-1.ndjson", line(0));
  node.start();
  node.apply("p", spec_head + "    transform: [ { where: \"id >= 0\" } ]\n");
  node.until(
      "p", "the log is full", [&](const json& s) { return s.at("ingested") == megabytes * 1000 + 1; }, seconds{3600});
  node.caught_up("p", seconds{3600});
  std::vector<double> times;
  for (std::uint64_t i = 1; i <= starts; ++i) {
    const auto id = static_cast<long long>(2 * i);
    // Killed with changes on their way, so that there is a log to recover and a position to find.
    std::string flow;
    for (int k = 0; k < 20000; ++k) flow += "{\"id\":-1,\"pad\":\"" + pad + "\"}\n";
    append_file(dir / "n/in-0.ndjson", flow);
    const auto before = node.status("p").at("ingested").get<std::uint64_t>();
    becomes([&] { return node.status("p").at("ingested").get<std::uint64_t>() > before; }, seconds{5});
    node.kill9();
    append_file(dir / "n/in-1.ndjson", line(id));
    const auto start = test_clock::now();
    node.launch();
    if (!becomes([&] { return newest(database) == id; }, seconds{120}, milliseconds{1}))
      throw std::runtime_error("nothing moves after a start\n" + node.log());
    times.push_back(milliseconds_since(start));
    node.wait_ready();
  }
  std::uintmax_t bytes = 0;
  for (const auto& info : node.ask({"log", "info", "p"})) bytes += info.at("bytes").get<std::uintmax_t>();
  print("node with " + std::to_string(bytes >> 20) + " MiB of log started after kill -9 -> a new change is in SQLite", times);
  std::cout << "max RSS of the node: " << (node.process().peak_memory() >> 20) << " MiB\n";
}

} // namespace

int main() try {
  actor_restarts(setting("MILLRACE_BENCH_ACTOR_KILLS", 100));
  node_starts(setting("MILLRACE_BENCH_LOG_MB", 1000), setting("MILLRACE_BENCH_STARTS", 5));
  return 0;
} catch (const std::exception& error) {
  std::cerr << "restart_bench: " << error.what() << '\n';
  return 1;
}
