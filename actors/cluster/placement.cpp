#include "actors/cluster/placement.hpp"

#include <algorithm>
#include <limits>

namespace millrace::actors::cluster {
namespace {

using storage::partition_name;
using replicas = std::vector<std::string>;

std::string show(const partition_name& p) { return p.uid + '/' + std::to_string(p.partition); }
bool contains(const replicas& list, std::string_view node) { return std::find(list.begin(), list.end(), node) != list.end(); }
replicas without(replicas list, std::string_view node) {
  std::erase(list, node);
  return list;
}

/// Ties are broken the same way on every node and every time, and differently for every partition.
std::uint64_t mix(const partition_name& p, std::string_view node) {
  std::uint64_t h = 0xcbf29ce484222325; // FNV-1a: std::hash may differ between builds
  const auto add = [&](std::string_view s) {
    for (const unsigned char c : s) h = (h ^ c) * 0x100000001b3;
    h = (h ^ 0xff) * 0x100000001b3;
  };
  add(p.uid);
  add(std::to_string(p.partition));
  add(node);
  return h;
}

class planner {
public:
  planner(const std::vector<placement_node>& nodes, const std::vector<placement_partition>& partitions,
          const placement_options& options)
      : options_(options) {
    for (const auto& n : nodes) nodes_.emplace(n.node, &n);
    for (const auto& p : partitions) {
      auto list = p.record.replicas;
      replicas unique;
      for (auto& node : list)
        if (!contains(unique, node)) unique.push_back(node);
      work_.push_back({&p, unique, {}});
    }
    count();
  }

  placement_plan run() {
    for (auto& w : work_) mend(w);
    balance_copies();
    balance_leaders();
    placement_plan plan;
    plan.shortages = std::move(shortages_);
    for (auto& w : work_)
      if (w.list != w.of->record.replicas && !w.list.empty()) plan.changes.push_back({w.of->name, w.list, w.why});
    return plan;
  }

private:
  struct work {
    const placement_partition* of;
    replicas list;
    std::string why;
    bool moving = false; ///< a copy is being added or taken away: not for balance
  };

  const placement_node* find(std::string_view node) const {
    const auto at = nodes_.find(node);
    return at == nodes_.end() ? nullptr : at->second;
  }
  std::string zone(std::string_view node) const {
    const auto* n = find(node);
    return n && !n->zone.empty() ? 'z' + n->zone : 'n' + std::string(node);
  }
  /// May keep what it has.
  bool keeps(std::string_view node) const {
    const auto* n = find(node);
    if (!n || n->leaving) return false;
    return n->alive || options_.dead_after.count() == 0 || n->down < options_.dead_after;
  }
  /// May get a new copy.
  static bool takes(const placement_node& n) { return n.alive && !n.draining && !n.leaving; }

  std::size_t in_sync(const work& w, const replicas& list) const {
    return static_cast<std::size_t>(
        std::count_if(list.begin(), list.end(), [&](const auto& n) { return w.of->record.in_sync(n); }));
  }
  bool all_in_sync(const work& w) const { return in_sync(w, w.list) == w.list.size(); }

  void count() {
    for (const auto& [name, n] : nodes_) copies_[name] = leads_[name] = 0;
    for (const auto& w : work_) {
      for (const auto& node : w.list) ++copies_[node];
      if (!w.list.empty()) ++leads_[w.list.front()];
    }
  }

  /// How many of the list, but for `except`, share the node's zone.
  std::size_t neighbours(const replicas& list, std::string_view node, std::string_view except = {}) const {
    const auto z = zone(node);
    return static_cast<std::size_t>(
        std::count_if(list.begin(), list.end(), [&](const auto& r) { return r != node && r != except && zone(r) == z; }));
  }
  /// Pairs of copies in one zone: what zone separation keeps small.
  std::size_t crowding(const replicas& list) const {
    std::size_t pairs = 0;
    for (std::size_t i = 0; i < list.size(); ++i)
      for (std::size_t k = i + 1; k < list.size(); ++k) pairs += zone(list[i]) == zone(list[k]);
    return pairs;
  }

  std::string best_new(const work& w, const replicas& keepers, const replicas& leaving) const {
    for (const auto& node : leaving) { // an operator named who comes in its place
      const auto* n = find(node);
      const auto* s = n && !n->successor.empty() ? find(n->successor) : nullptr;
      if (s && takes(*s) && !contains(w.list, s->node)) return s->node;
    }
    const placement_node* best = nullptr;
    const auto rank = [&](const placement_node& n) {
      return std::tuple(neighbours(keepers, n.node), copies_.at(n.node), leads_.at(n.node), mix(w.of->name, n.node));
    };
    for (const auto& [name, n] : nodes_)
      if (takes(*n) && !contains(w.list, name) && (!best || rank(*n) < rank(*best))) best = n;
    return best ? best->node : std::string{};
  }

  void add(work& w, const std::string& node) {
    w.list.push_back(node);
    ++copies_[node];
    if (w.list.size() == 1) ++leads_[node];
  }
  void remove(work& w, const std::string& node) {
    --copies_[node];
    if (w.list.front() == node) {
      --leads_[node];
      if (w.list.size() > 1) ++leads_[w.list[1]];
    }
    w.list = without(std::move(w.list), node);
  }
  static void note(work& w, const std::string& what) { w.why += (w.why.empty() ? "" : ", ") + what; }

  void mend(work& w) {
    const auto& p = *w.of;
    const auto where = show(p.name);
    if (!p.pinned.empty()) {
      if (w.list == replicas{p.pinned}) return;
      if (w.list.empty()) {
        if (find(p.pinned)) return add(w, p.pinned), note(w, "pinned to " + p.pinned);
        shortages_.push_back(where + " is pinned to node " + p.pinned + ", which is not known");
      } else {
        shortages_.push_back(where + " is pinned to node " + p.pinned + " and lies elsewhere: a pinned partition does not move");
      }
      w.moving = true;
      return;
    }
    if (w.list.empty()) return begin(w);

    replicas keepers, leaving;
    for (const auto& node : w.list) (keeps(node) ? keepers : leaving).push_back(node);
    // One more than wanted at a time: a copy costs the leader's disk and links.
    while (keepers.size() < p.wanted && w.list.size() <= p.wanted) {
      const auto node = best_new(w, keepers, leaving);
      if (node.empty()) {
        shortages_.push_back(where + " has " + std::to_string(keepers.size()) + " of " + std::to_string(p.wanted) +
                             " replicas: no other node is alive, not draining and without a copy of it");
        break;
      }
      add(w, node);
      keepers.push_back(node);
      note(w, "add " + node + (leaving.empty() ? "" : " in place of " + leaving.front()));
      w.moving = true;
    }
    w.moving |= !leaving.empty() || w.list.size() != p.wanted || !all_in_sync(w);
    if (!leaving.empty()) return let_go(w, leaving);
    if (w.list.size() > p.wanted) shrink(w);
  }

  /// A new partition.
  void begin(work& w) {
    const auto& p = *w.of;
    replicas list;
    for (std::uint32_t i = 0; i < p.wanted; ++i) {
      w.list = list;
      const auto node = best_new(w, list, {});
      if (node.empty()) break;
      list.push_back(node);
      ++copies_[node];
    }
    w.list.clear();
    w.moving = true;
    if (list.size() < p.min_in_sync) {
      for (const auto& node : list) --copies_[node];
      shortages_.push_back(show(p.name) + " is not begun: it needs " + std::to_string(p.min_in_sync) +
                           " nodes that are alive and not draining, there are " + std::to_string(list.size()));
      return;
    }
    // Whoever leads least leads it.
    std::stable_sort(list.begin(), list.end(), [&](const auto& a, const auto& b) { return leads_[a] < leads_[b]; });
    w.list = list;
    ++leads_[list.front()];
    note(w, "new");
  }

  /// Takes one that is leaving away, once its replacement is in sync.
  void let_go(work& w, const replicas& leaving) {
    const auto& p = *w.of;
    for (const auto& node : leaving) {
      const auto rest = without(w.list, node);
      const auto* n = find(node);
      const bool counts = p.record.in_sync(node) != nullptr;
      if (p.record.leader_node == node && n && n->alive) continue; // it resigns first
      // One that is alive and in sync gives nothing up before its place is filled; a dead one only fills a place in the list.
      const auto needed = counts && n && n->alive ? std::max(p.wanted, p.min_in_sync) : p.min_in_sync;
      if (rest.size() < p.wanted || in_sync(w, rest) < needed) continue;
      remove(w, node);
      return note(w, "drop " + node);
    }
  }

  /// More copies than wanted, all of them welcome: a move whose new copy is in sync, or fewer are wanted now.
  void shrink(work& w) {
    const auto& p = *w.of;
    const std::string* worst = nullptr;
    const auto rank = [&](const std::string& node) {
      const auto* n = find(node);
      return std::tuple(neighbours(w.list, node) > 0 ? crowding(w.list) - crowding(without(w.list, node)) : 0,
                        n && !n->alive ? 1 : 0, copies_[node], p.record.leader_node == node ? 0 : 1, mix(p.name, node));
    };
    for (const auto& node : w.list) {
      const auto rest = without(w.list, node);
      if (in_sync(w, rest) < std::max(p.wanted, p.min_in_sync)) continue;
      if (!worst || rank(node) > rank(*worst)) worst = &node;
    }
    if (!worst) return;
    const auto node = *worst;
    remove(w, node);
    note(w, "drop " + node);
  }

  void balance_copies() {
    // One batch after the other: while a copy is being moved, the place it leaves still counts as taken, and a second move for
    // the same reason would have to be undone.
    for (const auto& w : work_)
      if (w.of->pinned.empty() && w.of->record.replicas.size() > w.of->wanted) return;
    for (std::size_t moves = 0; moves < options_.moves_max && move_one();) ++moves;
  }

  /// The move that helps most: zones first, then the widest difference. It only adds; shrink() takes away later, from whoever
  /// then has most.
  bool move_one() {
    struct choice {
      std::size_t relief = 0, difference = 0;
      std::uint64_t tie = 0;
      work* w = nullptr;
      std::string from, to;
    } best;
    for (auto& w : work_) {
      if (w.moving || !w.of->pinned.empty() || w.list.size() != w.of->wanted) continue;
      for (const auto& from : w.list) {
        if (!keeps(from) || !find(from)->alive) continue; // a host that is away for a moment loses nothing for balance
        for (const auto& [to, n] : nodes_) {
          if (!takes(*n) || contains(w.list, to)) continue;
          auto after = without(w.list, from);
          after.push_back(to);
          const auto now = crowding(w.list), then = crowding(after);
          if (then > now) continue;
          const auto have = copies_[from], would = copies_[to];
          const auto difference = have > would ? have - would : 0;
          // For zones' sake it may go to a fuller node.
          if (then == now && difference < 2) continue;
          const auto tie = mix(w.of->name, to);
          if (!best.w || std::tuple(now - then, difference, tie) > std::tuple(best.relief, best.difference, best.tie))
            best = {now - then, difference, tie, &w, from, to};
        }
      }
    }
    if (!best.w) return false;
    add(*best.w, best.to);
    --copies_[best.from]; // as it will be; the plan of the next moves counts on it
    note(*best.w, "add " + best.to + " to relieve " + best.from);
    best.w->moving = true;
    return true;
  }

  /// Changes only the order: no data moves.
  void balance_leaders() {
    const auto may_lead = [&](const work& w, const std::string& node) {
      const auto* n = find(node);
      return n && n->alive && !n->draining && !n->leaving && (w.of->record.in_sync(node) || w.of->record.epoch.value == 0);
    };
    const auto prefer = [&](work& w, std::size_t i) {
      --leads_[w.list.front()];
      std::rotate(w.list.begin(), w.list.begin() + static_cast<std::ptrdiff_t>(i),
                  w.list.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      ++leads_[w.list.front()];
      note(w, "prefer " + w.list.front());
    };
    // One that drains or leaves is nobody's first choice. One that is only down stays it: it comes back.
    for (auto& w : work_) {
      if (w.list.empty()) continue;
      const auto* first = find(w.list.front());
      if (first && !first->draining && keeps(first->node)) continue;
      std::size_t best = 0;
      for (std::size_t i = 1; i < w.list.size(); ++i)
        if (may_lead(w, w.list[i]) && (best == 0 || leads_[w.list[i]] < leads_[w.list[best]])) best = i;
      if (best) prefer(w, best);
    }
    while (shift_leadership(may_lead, prefer)) {
    }
  }

  /// From a node that leads too many to one that leads at least two fewer, in a chain where no single exchange helps: each node
  /// between gives one and gets one. Each chain narrows a difference, so this ends; the shortest moves least. False: all is even.
  template <class MayLead, class Prefer>
  bool shift_leadership(const MayLead& may_lead, const Prefer& prefer) {
    struct step {
      work* w;
      std::size_t index; ///< who leads it next, of w->list
      std::string from;
    };
    std::vector<std::string> sources;
    for (const auto& [node, n] : leads_) sources.push_back(node);
    std::stable_sort(sources.begin(), sources.end(), [&](const auto& x, const auto& y) { return leads_[x] > leads_[y]; });
    for (const auto& source : sources) {
      std::map<std::string, step> reached;
      std::vector<std::string> queue{source};
      for (std::size_t at = 0; at < queue.size(); ++at) {
        const auto from = queue[at];
        for (auto& w : work_) {
          if (w.moving || w.list.size() < 2 || w.list.front() != from || !may_lead(w, from)) continue;
          for (std::size_t i = 1; i < w.list.size(); ++i) {
            const auto& to = w.list[i];
            if (to == source || reached.contains(to) || !may_lead(w, to)) continue;
            reached.emplace(to, step{&w, i, from});
            queue.push_back(to);
            if (leads_[to] + 1 >= leads_[source]) continue;
            for (auto node = to; node != source;) {
              const auto taken = reached.at(node);
              prefer(*taken.w, taken.index);
              node = taken.from;
            }
            return true;
          }
        }
      }
    }
    return false;
  }

  const placement_options& options_;
  std::map<std::string, const placement_node*, std::less<>> nodes_;
  std::vector<work> work_;
  std::map<std::string, std::size_t, std::less<>> copies_, leads_;
  std::vector<std::string> shortages_;
};

const placement_node* find(const std::vector<placement_node>& nodes, std::string_view node) {
  const auto at = std::find_if(nodes.begin(), nodes.end(), [&](const auto& n) { return n.node == node; });
  return at == nodes.end() ? nullptr : &*at;
}

/// Smaller is better.
int fitness(const storage::partition_record& r, const std::string& node, const std::vector<placement_node>& nodes) {
  const auto* n = find(nodes, node);
  if (!n || n->leaving || !r.wants(node)) return 3;
  if (n->draining) return 2;
  return r.replicas.front() == node ? 0 : 1;
}

} // namespace

placement_plan place(const std::vector<placement_node>& nodes, const std::vector<placement_partition>& partitions,
                     const placement_options& options) {
  return planner(nodes, partitions, options).run();
}

bool should_resign(const storage::partition_record& record, const std::vector<placement_node>& nodes) {
  if (record.leader_node.empty()) return false;
  const auto mine = fitness(record, record.leader_node, nodes);
  return std::any_of(record.isr.begin(), record.isr.end(), [&](const auto& m) {
    const auto* n = find(nodes, m.node);
    return n && n->alive && m.node != record.leader_node && fitness(record, m.node, nodes) < mine;
  });
}

std::uint32_t election_rank(const storage::partition_record& record, std::string_view node,
                            const std::vector<placement_node>& nodes) {
  const auto mine = fitness(record, std::string(node), nodes);
  std::uint32_t before = 0;
  for (const auto& m : record.isr) {
    const auto* n = find(nodes, m.node);
    before += n && n->alive && m.node != node && fitness(record, m.node, nodes) < mine;
  }
  return before;
}

} // namespace millrace::actors::cluster
