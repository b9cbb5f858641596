#pragma once
// Several nodes on one catalog: membership and controller are real, the replicas are a few lines that do what the protocol's
// would.

#include "actors/cluster/controller.hpp"
#include "tests/unit/storage/storage_fixture.hpp"

#include <algorithm>

namespace millrace::actors::cluster::test {

using namespace std::chrono_literals;
using storage::test::eventually;
using storage::test::must;
using storage::test::must_fail;

inline std::optional<pipeline_shape> shape_from_text(const supervisor::pipeline_record& r) {
  if (r.text == "broken") return std::nullopt;
  pipeline_shape s;
  s.partitions = static_cast<std::uint32_t>(std::stoul(r.text)); // "PARTITIONS"
  s.replicas = 3;
  s.min_in_sync = 2;
  return s;
}

class simulated_node {
public:
  struct settings {
    std::chrono::milliseconds lease = 600ms;
    std::uint64_t data_id = 0;
    std::string zone;
  };
  simulated_node(storage::catalog& c, const std::string& node, settings s)
      : catalog_(c), mirror_(c, ""), member_(c, mirror_, options(node, s)),
        controller_(c, mirror_, member_, {{}, 300ms}, shape_from_text, [](const std::string& l) { BOOST_TEST_MESSAGE(l); }),
        store_(std::hash<std::string>{}(node) | 1), replicas_([this](std::stop_token stop) { replicate(stop); }) {}

  storage::catalog_mirror& mirror() { return mirror_; }
  cluster::membership& membership() { return member_; }
  cluster::controller& controller() { return controller_; }

private:
  static membership_options options(const std::string& node, const settings& s) {
    membership_options o;
    o.node = node;
    o.lease = s.lease;
    o.record.link_address = node + ":7072";
    o.record.host = "host-" + node;
    o.record.data_id = s.data_id;
    if (!s.zone.empty()) o.record.labels["zone"] = s.zone;
    o.log = [](const std::string& line) { BOOST_TEST_MESSAGE(line); };
    return o;
  }

  void replicate(std::stop_token stop) {
    while (!stop.stop_requested()) {
      std::this_thread::sleep_for(5ms); // a simulated replica's own pace
      const auto session = member_.session();
      const auto& self = member_.node();
      if (session == 0) continue;
      const auto nodes = placement_nodes(member_.members());
      for (const auto& e : mirror_.list(storage::part_prefix)) {
        const auto decoded = storage::decode_partition_record(e.key, e.value, e.mod_revision);
        if (!decoded) continue;
        const auto& r = decoded.value();
        const auto name = *storage::parse_part_key(e.key);
        const auto store = storage::store_key(name, self);
        if (r.wants(self) && !mirror_.get(store))
          (void)catalog_.commit({{store, 0}, {e.key, e.mod_revision}},
                                {{store, storage::encode_store_record({store_, r.log_id}), 0}});
        if (r.isr.empty()) continue;
        auto next = r;
        std::vector<storage::catalog_guard> guards{{e.key, e.mod_revision},
                                                   storage::catalog_guard::created_at("node/" + self, session)};
        const auto leader = mirror_.get("node/" + r.leader_node);
        const bool dead = r.leader_node.empty() || !leader || leader->create_revision != r.leader_session;
        if (dead) {
          if (!r.in_sync(self) || election_rank(r, self, nodes) != 0) continue;
          next.epoch.value++, next.leader_node = self, next.leader_session = session;
          if (!r.leader_node.empty())
            guards.push_back(storage::catalog_guard::not_created_at("node/" + r.leader_node, r.leader_session));
        } else if (r.leader_node == self && r.leader_session == session) {
          if (should_resign(r, nodes)) {
            next.leader_node.clear();
            next.leader_session = 0;
          } else {
            for (const auto& n : nodes)
              if (n.alive && r.wants(n.node) && !r.in_sync(n.node) && mirror_.get(storage::store_key(name, n.node)))
                next.isr.push_back({n.node, 1});
            for (const auto& m : r.isr) {
              const auto n = std::find_if(nodes.begin(), nodes.end(), [&](const auto& x) { return x.node == m.node; });
              const bool alive = n != nodes.end() && n->alive;
              if ((!alive || !r.wants(m.node)) && m.node != self && next.isr.size() > r.min_in_sync) std::erase(next.isr, m);
            }
          }
        }
        if (next != r) (void)catalog_.commit(guards, {{e.key, storage::encode_partition_record(next), 0}});
      }
    }
  }

  storage::catalog& catalog_;
  storage::catalog_mirror mirror_;
  cluster::membership member_;
  cluster::controller controller_;
  const std::uint64_t store_;
  std::jthread replicas_;
};

/// What any node could read.
struct cluster_fixture {
  storage::catalog& catalog;
  std::map<std::string, std::unique_ptr<simulated_node>> nodes;
  explicit cluster_fixture(storage::catalog& c) : catalog(c) {}

  simulated_node& start(const std::string& name, simulated_node::settings s = {}) {
    return *(nodes[name] = std::make_unique<simulated_node>(catalog, name, s));
  }
  void pipeline(const std::string& name, const std::string& text) {
    supervisor::pipeline_record r;
    r.name = name;
    r.uid = name + "-1";
    r.text = text;
    must(catalog.commit({}, {{"pipeline/" + name, supervisor::encode_record(r), 0}}));
  }
  std::vector<storage::partition_record> parts() {
    std::vector<storage::partition_record> out;
    for (const auto& e : must(catalog.list(storage::part_prefix)))
      out.push_back(must(storage::decode_partition_record(e.key, e.value, e.mod_revision)));
    return out;
  }
  template <class Holds>
  bool all_parts(std::size_t count, Holds&& holds) {
    return eventually([&] {
      const auto p = parts();
      return p.size() == count && std::all_of(p.begin(), p.end(), holds);
    });
  }
  std::string controller() {
    const auto e = must(catalog.get(controller_key));
    return e ? must(decode_controller_record(e->value)).node : std::string{};
  }
  static bool whole(const storage::partition_record& r) {
    return r.replicas.size() == 3 && r.isr.size() == 3 && !r.leader_node.empty() && r.epoch.value > 0;
  }
};

} // namespace millrace::actors::cluster::test
