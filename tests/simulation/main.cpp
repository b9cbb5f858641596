// Deterministic simulation of replication: many seeds, each a short history of faults, every promise checked after every step.
//
//   simulation                         10,000 seeds from a fixed base
//   MILLRACE_SEEDS=N simulation        N seeds
//   MILLRACE_SEED=S simulation         one seed, with its trace: time, node, event, state
//   simulation --bugs [NAME]           each mistake of the list below must be found within 10,000 seeds; with MILLRACE_SEED: its
//   trace
#include "world.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

namespace {
using namespace millrace::simulation;

constexpr std::uint64_t base_seed = 20240400000;

struct mistake {
  const char* name;
  void (*set)(world_bugs&);
  bool rare = false; ///< needs a message that is late in just the right moment: looked for only by name
};
const mistake mistakes[] = {
    {"ack_early", [](world_bugs& b) { b.replica.ack_early = true; }},
    {"trunc_hw", [](world_bugs& b) { b.replica.trunc_hw = true; }},
    {"sink_ignores_epoch", [](world_bugs& b) { b.sink_ignores_epoch = true; }},
    {"sink_blind", [](world_bugs& b) { b.sink_blind = true; }},
    {"leader_unsynced", [](world_bugs& b) { b.replica.leader_unsynced = true; }},
    {"shrink_early", [](world_bugs& b) { b.replica.shrink_early = true; }},
    {"expand_uncounted", [](world_bugs& b) { b.replica.expand_uncounted = true; }},
    {"expand_no_start", [](world_bugs& b) { b.replica.expand_no_start = true; }},
    {"old_epoch_ack", [](world_bugs& b) { b.replica.old_epoch_ack = true; }, true},
    {"resume", [](world_bugs& b) { b.replica.resume = true; }},
    {"no_registry_read", [](world_bugs& b) { b.replica.no_registry_read = true; }},
    {"verified_durable", [](world_bugs& b) { b.replica.verified_durable = true; }},
    {"verified_old_session", [](world_bugs& b) { b.replica.verified_old_session = true; }, true},
    {"keep_identity", [](world_bugs& b) { b.keep_identity = true; }},
};

std::optional<std::uint64_t> number(const char* name) {
  const char* text = std::getenv(name);
  if (!text || !*text) return std::nullopt;
  char* end = nullptr;
  const auto n = std::strtoull(text, &end, 10);
  if (*end != 0) {
    std::fprintf(stderr, "%s=%s is not a number\n", name, text);
    std::exit(2);
  }
  return n;
}

struct totals {
  std::uint64_t steps = 0, acknowledged = 0, faults = 0, stopped = 0;
};

/// The broken promise, or nothing.
std::optional<std::string> run(std::uint64_t seed, const world_bugs& bugs, bool trace, totals& sum) {
  world w({seed, bugs, trace});
  std::optional<std::string> found;
  try {
    w.run();
  } catch (const broken& b) {
    found = b.text;
  }
  sum.steps += w.steps();
  sum.acknowledged += w.acknowledged();
  sum.faults += w.faults();
  sum.stopped += w.stopped_for_operator();
  return found;
}

int one(std::uint64_t seed, const world_bugs& bugs) {
  totals sum;
  const auto found = run(seed, bugs, true, sum);
  std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed), found ? found->c_str() : "all promises held");
  return found ? 1 : 0;
}

int many(std::uint64_t count) {
  const auto began = std::chrono::steady_clock::now();
  totals sum;
  int failures = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto found = run(base_seed + i, {}, false, sum);
    if (!found) continue;
    std::printf("MILLRACE_SEED=%llu: %s\n", static_cast<unsigned long long>(base_seed + i), found->c_str());
    if (++failures == 10) break;
  }
  const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  std::printf("%llu seeds in %.1f s (%.0f/s): %llu steps, %llu faults, %llu entries acknowledged, %llu runs rightly stopped for "
              "an operator, %d failures\n",
              static_cast<unsigned long long>(count), seconds, static_cast<double>(count) / seconds,
              static_cast<unsigned long long>(sum.steps), static_cast<unsigned long long>(sum.faults),
              static_cast<unsigned long long>(sum.acknowledged), static_cast<unsigned long long>(sum.stopped), failures);
  // A harness in which nothing happens would find nothing.
  if (sum.acknowledged < 10 * count || sum.faults < 3 * count || sum.stopped * 5 > count) {
    std::printf("too little happened: the runs show nothing\n");
    return 1;
  }
  return failures == 0 ? 0 : 1;
}

int find_mistakes(const char* only, std::uint64_t count) {
  int missed = 0;
  for (const auto& m : mistakes) {
    if (only ? std::strcmp(only, m.name) != 0 : m.rare) continue;
    world_bugs bugs;
    m.set(bugs);
    if (const auto seed = number("MILLRACE_SEED")) return one(*seed, bugs);
    totals sum;
    std::optional<std::string> found;
    std::uint64_t i = 0;
    while (i < count && !(found = run(base_seed + i, bugs, false, sum))) ++i;
    std::printf("%-22s %s\n", m.name,
                found ? ("found by seed " + std::to_string(i + 1) + ": " + found->substr(0, found->find('\n'))).c_str()
                      : "NOT FOUND");
    std::fflush(stdout);
    missed += !found;
  }
  return missed == 0 ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
  const auto count = number("MILLRACE_SEEDS").value_or(10000);
  if (argc > 1 && std::strcmp(argv[1], "--bugs") == 0) return find_mistakes(argc > 2 ? argv[2] : nullptr, count);
  if (argc > 1) {
    std::fprintf(stderr, "usage: simulation [--bugs [NAME]], with MILLRACE_SEEDS=N or MILLRACE_SEED=S\n");
    return 2;
  }
  if (const auto seed = number("MILLRACE_SEED")) return one(*seed, {});
  return many(count);
}
