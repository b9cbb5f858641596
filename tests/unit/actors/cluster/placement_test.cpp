// Placement: properties over random clusters, driven as the controller and the leaders would drive it.
#include "actors/cluster/placement.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <random>

using namespace millrace::actors::cluster;
using namespace std::chrono_literals;
using millrace::storage::partition_record;

namespace {

std::uint64_t seed() {
  const char* given = std::getenv("MILLRACE_SEED");
  const std::uint64_t value = given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::cout << "MILLRACE_SEED=" << value << std::endl;
  return value;
}

/// Nodes, partitions, and what leaders do with the in-sync sets between two plans.
struct cluster {
  std::vector<placement_node> nodes;
  std::vector<placement_partition> parts;
  placement_options options;
  std::size_t added = 0; ///< copies begun
  std::vector<std::string> shortages;

  placement_node& add(const std::string& name, const std::string& zone = {}) {
    nodes.push_back({name, zone, true, false, false, {}, 0ms});
    return nodes.back();
  }
  placement_node& node(const std::string& name) {
    return *std::find_if(nodes.begin(), nodes.end(), [&](const auto& n) { return n.node == name; });
  }
  bool alive(const std::string& name) const {
    return std::any_of(nodes.begin(), nodes.end(), [&](const auto& n) { return n.node == name && n.alive; });
  }
  void pipelines(std::size_t count, std::uint32_t wanted, std::uint32_t min) {
    for (std::size_t i = 0; i < count; ++i) {
      placement_partition p;
      p.name = {"p" + std::to_string(parts.size()), 0};
      p.wanted = wanted;
      p.min_in_sync = min;
      parts.push_back(p);
    }
  }

  /// Takes a plan's changes into the records; gives how many there were. Checks what must hold of each single one.
  std::size_t plan() {
    const auto plan = place(nodes, parts, options);
    shortages = plan.shortages;
    for (const auto& change : plan.changes) {
      auto& p = *std::find_if(parts.begin(), parts.end(), [&](const auto& x) { return x.name == change.name; });
      auto& r = p.record;
      std::size_t before = 0, after = 0;
      for (const auto& m : r.isr) {
        before += r.wants(m.node);
        after += std::find(change.replicas.begin(), change.replicas.end(), m.node) != change.replicas.end();
      }
      BOOST_TEST((after >= before || after >= p.min_in_sync), change.name.uid << ": " << change.why);
      BOOST_TEST(change.replicas.size() <= std::max<std::size_t>(p.wanted, r.replicas.size()) + 1, change.why);
      auto sorted = change.replicas;
      std::sort(sorted.begin(), sorted.end());
      BOOST_TEST((std::unique(sorted.begin(), sorted.end()) == sorted.end()), "a node twice");
      for (const auto& n : change.replicas) added += !r.wants(n);
      if (r.replicas.empty()) { // the first in-sync set
        for (const auto& n : change.replicas) r.isr.push_back({n, 1});
        r.epoch = {1};
        r.leader_node = change.replicas.front();
      }
      r.replicas = change.replicas;
    }
    return plan.changes.size();
  }
  /// Leaders fill copies, take them in, let go of what is not wanted or dead; whoever should, resigns.
  void replicate() {
    for (auto& p : parts) {
      auto& r = p.record;
      if (r.isr.empty()) continue;
      const auto fit = [&](const auto& m) { return alive(m.node); };
      if (!alive(r.leader_node) || should_resign(r, nodes)) {
        const millrace::storage::isr_member* best = nullptr;
        for (const auto& m : r.isr)
          if (fit(m) && (!best || election_rank(r, m.node, nodes) < election_rank(r, best->node, nodes))) best = &m;
        if (!best) continue;
        r.leader_node = best->node;
        ++r.epoch.value;
      }
      for (const auto& n : r.replicas)
        if (alive(n) && !r.in_sync(n)) r.isr.push_back({n, 1});
      for (bool again = true; again;) {
        again = false;
        for (const auto& m : r.isr)
          if ((!alive(m.node) || !r.wants(m.node)) && m.node != r.leader_node && r.isr.size() > p.min_in_sync) {
            std::erase(r.isr, millrace::storage::isr_member(m));
            again = true;
            break;
          }
      }
      BOOST_TEST(r.isr.size() >= p.min_in_sync);
    }
  }
  /// Until nothing changes any more; gives the number of plans.
  int settle() {
    for (int i = 0; i < 2000; ++i) {
      const auto changes = plan();
      replicate();
      if (changes == 0 && place(nodes, parts, options).changes.empty()) return i;
    }
    BOOST_FAIL("the placement never comes to rest");
    return 0;
  }

  std::map<std::string, int> copies() const {
    std::map<std::string, int> out;
    for (const auto& n : nodes) out[n.node] = 0;
    for (const auto& p : parts)
      for (const auto& n : p.record.replicas) ++out[n];
    return out;
  }
  std::map<std::string, int> leaders() const {
    std::map<std::string, int> out;
    for (const auto& n : nodes) out[n.node] = 0;
    for (const auto& p : parts)
      if (!p.record.replicas.empty()) ++out[p.record.replicas.front()];
    return out;
  }
};

int spread(const std::map<std::string, int>& counts) {
  const auto [low, high] =
      std::minmax_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return high->second - low->second;
}

} // namespace

BOOST_AUTO_TEST_SUITE(placement)

BOOST_AUTO_TEST_CASE(copies_and_leaders_are_even_and_every_partition_has_what_it_wants) {
  std::mt19937_64 random(seed());
  for (int round = 0; round < 60; ++round) {
    cluster c;
    const auto nodes = 3 + random() % 6;
    for (std::size_t i = 0; i < nodes; ++i) c.add(std::string(1, static_cast<char>('a' + i)));
    const auto wanted = static_cast<std::uint32_t>(1 + random() % 3);
    c.pipelines(1 + random() % 60, wanted, std::min<std::uint32_t>(wanted, 2));
    c.settle();
    for (const auto& p : c.parts) BOOST_TEST(p.record.replicas.size() == wanted);
    BOOST_TEST(spread(c.copies()) <= 1);
    BOOST_TEST(spread(c.leaders()) <= 1);
    BOOST_TEST(c.added == c.parts.size() * wanted); // nothing was moved to get there
  }
}

BOOST_AUTO_TEST_CASE(a_new_node_gets_its_share_and_little_else_moves) {
  std::mt19937_64 random(seed());
  for (int round = 0; round < 40; ++round) {
    cluster c;
    const auto nodes = 3 + random() % 4;
    for (std::size_t i = 0; i < nodes; ++i) c.add(std::string(1, static_cast<char>('a' + i)));
    c.pipelines(5 + random() % 40, 3, 2);
    c.settle();
    c.added = 0;
    c.add("z");
    c.settle();
    BOOST_TEST(spread(c.copies()) <= 1);
    BOOST_TEST(spread(c.leaders()) <= 1);
    const auto share = c.parts.size() * 3 / (nodes + 1);
    BOOST_TEST(c.added >= share);
    BOOST_TEST(c.added <= share + 2, "moved " << c.added << ", its share is " << share);
    BOOST_TEST(place(c.nodes, c.parts, c.options).changes.empty()); // and then rests
  }
}

BOOST_AUTO_TEST_CASE(zones_are_kept_apart) {
  std::mt19937_64 random(seed());
  for (int round = 0; round < 40; ++round) {
    cluster c;
    const int zones = 3 + static_cast<int>(random() % 2);
    for (int z = 0; z < zones; ++z)
      for (std::size_t i = 0; i < 1 + random() % 3; ++i)
        c.add("n" + std::to_string(z) + std::to_string(i), "rack-" + std::to_string(z));
    c.pipelines(1 + random() % 30, 3, 2);
    c.settle();
    const auto check = [&] {
      for (const auto& p : c.parts) {
        std::set<std::string> seen;
        for (const auto& n : p.record.replicas) seen.insert(c.node(n).zone);
        BOOST_TEST(seen.size() == p.record.replicas.size());
      }
    };
    check();
  }
  // Two zones at first: crowded. A third one comes, and every partition uses it.
  cluster c;
  for (const char* n : {"a0", "a1"}) c.add(n, "a");
  c.add("b0", "b");
  c.pipelines(8, 3, 2);
  c.settle();
  c.add("c0", "c");
  c.settle();
  for (const auto& p : c.parts) BOOST_TEST(p.record.wants("c0"));
}

BOOST_AUTO_TEST_CASE(a_host_that_is_down_keeps_its_places_and_after_the_time_they_go_to_others) {
  cluster c;
  for (const char* n : {"a", "b", "c", "d"}) c.add(n);
  c.pipelines(8, 3, 2);
  c.settle();
  c.node("b").alive = false;
  c.node("b").down = 9min;
  c.settle();
  const auto had = c.copies()["b"];
  BOOST_TEST(had > 0);
  for (const auto& p : c.parts) BOOST_TEST(p.record.leader_node != "b");
  c.node("b").down = 10min;
  c.settle();
  BOOST_TEST(c.copies()["b"] == 0);
  for (const auto& p : c.parts) BOOST_TEST(p.record.isr.size() == 3u);
  c.node("b").alive = true;
  c.node("b").down = 0ms;
  c.settle();
  BOOST_TEST(spread(c.copies()) <= 1);
}

BOOST_AUTO_TEST_CASE(a_dead_host_among_three_stays_listed_and_the_shortage_is_named) {
  cluster c;
  for (const char* n : {"a", "b", "c"}) c.add(n);
  c.pipelines(2, 3, 2);
  c.settle();
  c.node("b").alive = false;
  c.node("b").down = 1h;
  c.settle();
  BOOST_TEST(c.copies()["b"] == 2); // there is nobody else: it may come back
  BOOST_REQUIRE(!c.shortages.empty());
  BOOST_TEST(c.shortages[0].find("2 of 3") != std::string::npos, c.shortages[0]);
}

BOOST_AUTO_TEST_CASE(a_replaced_host_gives_its_places_to_the_one_that_was_named) {
  cluster c;
  for (const char* n : {"a", "b", "c", "d", "e"}) c.add(n);
  c.pipelines(10, 3, 2);
  c.settle();
  const auto had = c.copies()["b"];
  c.node("b").alive = false;
  c.node("b").leaving = true;
  c.add("f"); // would get a share of all
  c.node("b").successor = "f";
  c.settle();
  BOOST_TEST(c.copies()["b"] == 0);
  BOOST_TEST(c.copies()["f"] >= had);
}

BOOST_AUTO_TEST_CASE(decommissioning_an_alive_node_empties_it_and_it_leads_nothing) {
  cluster c;
  for (const char* n : {"a", "b", "c", "d"}) c.add(n);
  c.pipelines(9, 3, 2);
  c.settle();
  c.node("a").leaving = true;
  c.settle();
  BOOST_TEST(c.copies()["a"] == 0);
  for (const auto& p : c.parts) {
    BOOST_TEST(p.record.isr.size() == 3u);
    BOOST_TEST(!p.record.in_sync("a"));
    BOOST_TEST(p.record.leader_node != "a");
  }
}

BOOST_AUTO_TEST_CASE(a_draining_node_leads_nothing_and_keeps_its_copies) {
  cluster c;
  for (const char* n : {"a", "b", "c", "d"}) c.add(n);
  c.pipelines(12, 3, 2);
  c.settle();
  const auto had = c.copies()["a"];
  c.added = 0;
  c.node("a").draining = true;
  c.settle();
  BOOST_TEST(c.copies()["a"] == had);
  BOOST_TEST(c.added == 0u);
  for (const auto& p : c.parts) BOOST_TEST(p.record.leader_node != "a");
  c.node("a").draining = false;
  c.settle();
  BOOST_TEST(spread(c.leaders()) <= 1);
  int leads = 0;
  for (const auto& p : c.parts) leads += p.record.leader_node == "a";
  BOOST_TEST(leads == c.leaders()["a"]); // and took its leaderships back
}

BOOST_AUTO_TEST_CASE(a_pinned_partition_stays_where_it_is) {
  cluster c;
  for (const char* n : {"a", "b", "c"}) c.add(n);
  c.pipelines(1, 1, 1);
  c.parts[0].pinned = "b";
  c.settle();
  BOOST_TEST((c.parts[0].record.replicas == std::vector<std::string>{"b"}));
  c.node("b").leaving = true;
  c.settle();
  BOOST_TEST((c.parts[0].record.replicas == std::vector<std::string>{"b"}));
}

BOOST_AUTO_TEST_CASE(too_few_nodes_begin_nothing_and_say_so) {
  cluster c;
  c.add("a");
  c.pipelines(1, 3, 2);
  c.settle();
  BOOST_TEST(c.parts[0].record.replicas.empty());
  BOOST_REQUIRE_EQUAL(c.shortages.size(), 1u);
  c.add("b"); // enough to begin with, not to rest
  c.settle();
  BOOST_TEST(c.parts[0].record.replicas.size() == 2u);
  c.add("c");
  c.settle();
  BOOST_TEST(c.parts[0].record.replicas.size() == 3u);
}

BOOST_AUTO_TEST_CASE(whatever_happens_in_sync_copies_never_fall_below_the_minimum_and_it_comes_to_rest) {
  std::mt19937_64 random(seed());
  for (int round = 0; round < 40; ++round) {
    cluster c;
    for (std::size_t i = 0; i < 5 + random() % 3; ++i)
      c.add("n" + std::to_string(i), random() % 2 ? "z" + std::to_string(i % 3) : "");
    c.pipelines(1 + random() % 20, 3, 2);
    for (int step = 0; step < 150; ++step) {
      auto& n = c.nodes[random() % c.nodes.size()];
      switch (random() % 12) {
      case 0:
        n.alive = !n.alive;
        n.down = n.alive ? 0ms : 1min;
        break;
      case 1:
        if (!n.alive) n.down = 20min;
        break;
      case 2:
        n.draining = !n.draining;
        break;
      case 3:
        n.leaving = !n.leaving;
        break;
      default:
        break;
      }
      c.plan(); // each change is checked there
      if (random() % 2) c.replicate();
    }
    for (auto& n : c.nodes) n.alive = true, n.draining = n.leaving = false, n.down = 0ms;
    c.settle();
    for (const auto& p : c.parts) BOOST_TEST((p.record.replicas.size() == 3u && p.record.isr.size() == 3u));
  }
}

BOOST_AUTO_TEST_SUITE_END()
