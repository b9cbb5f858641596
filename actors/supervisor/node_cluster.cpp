// The node supervisor's part in a cluster: what the catalog says runs here, what another node leads is asked there.
#include "actors/cluster/controller_view.hpp"
#include "actors/cluster/hub.hpp"
#include "actors/cluster/registrar.hpp"
#include "actors/cluster/routed_calls.hpp"
#include "actors/supervisor/node_supervisor.hpp"
#include "actors/supervisor/pipeline_record.hpp"
#include "actors/supervisor/pipeline_supervisor.hpp"

#include <algorithm>
#include <set>

namespace millrace::actors::supervisor {

using json = nlohmann::ordered_json;
using namespace std::chrono_literals;

namespace {
constexpr auto answer_time = 60s, gather_time = 4s;
constexpr auto answer_again_time = 200ms;
constexpr auto look_time = 500ms;                  ///< how often unanswered questions are looked through
constexpr auto resign_time = 15s;                  ///< how long somebody better must have been there
constexpr std::size_t routed_bytes_max = 7u << 20; ///< below a link's largest frame, whatever its configuration
} // namespace

void node_state::start_cluster() {
  auto& cluster = *ctx->options.cluster;
  registrar = self->spawn<caf::detached>(cluster::registrar, ctx);
  cluster.hub->set_registrar(registrar);
  const auto me = node_actor{self};
  cluster.hub->set_node(me);
  listener = cluster.mirror->listen("", [me = caf::actor_cast<caf::actor_addr>(me), asked = asked_to_look] {
    if (asked->exchange(true)) return;
    if (auto node = caf::actor_cast<caf::actor>(me)) caf::anon_send(node, changed_atom::value);
  });
  self->send(me, changed_atom::value);
  self->delayed_send(self, look_time, tick_atom::value);
}

// ---- what the catalog says

void node_state::on_members(const members_news& n) {
  members = n;
  for (auto& [name, e] : pipelines)
    if (auto stage = ctx->options.cluster->hub->find({e.uid, 0})) self->send(stage, n);
  // An answer of a node that is gone never comes.
  for (auto it = questions.begin(); it != questions.end();) {
    if (n.sessions.contains(it->second.node)) {
      ++it;
      continue;
    }
    auto lost = std::move(it->second);
    it = questions.erase(it);
    lost.done(refused("unavailable", "node " + lost.node + " was lost before it answered"));
  }
}

void node_state::on_catalog() {
  *asked_to_look = false; // before reading: what changes from now on asks again
  const auto& cluster = *ctx->options.cluster;
  const auto& mirror = *cluster.mirror;
  const auto revision = mirror.revision(); // what is newer is not in the lists for sure
  if (draining > 0 || revision == 0) return;
  if (auto now = cluster.members(); now.sessions != members.sessions || now.own != members.own) on_members(now);
  std::set<std::string> listed;
  for (auto& stored : mirror.list(pipeline_prefix)) {
    const auto name = stored.key.substr(pipeline_prefix.size());
    listed.insert(name);
    take_pipeline(name, stored);
  }
  for (auto it = pipelines.begin(); it != pipelines.end();) {
    const auto& [name, e] = *it++;
    if (listed.contains(name) || e.removing || e.mod_revision > revision) continue;
    ctx->log("info", "node", "pipeline " + name + " was deleted");
    drop_replica(std::string(name), pipelines.at(name));
  }
  for (auto& [name, e] : pipelines) {
    const auto key = storage::part_key({e.uid, 0});
    const auto stored = mirror.get(key);
    if (!stored) continue;
    auto record = storage::decode_partition_record(key, stored->value, stored->mod_revision);
    if (!record)
      ctx->log("error", "node", record.error().message);
    else
      take_record(name, e, record.value());
  }
  update_leaders();
  retry_held();
  const auto nodes = cluster::placement_nodes(cluster.membership->members());
  const auto now = std::chrono::steady_clock::now();
  for (auto& [name, e] : pipelines) {
    if (!e.record || e.record->leader_node != ctx->options.name || !cluster::should_resign(*e.record, nodes)) {
      e.resign_since.reset();
      continue;
    }
    // A preferred leader that comes and goes must not take the flow along each time.
    if (!e.resign_since) e.resign_since = now;
    const bool asked = std::any_of(nodes.begin(), nodes.end(),
                                   [&](const auto& n) { return n.node == ctx->options.name && (n.draining || n.leaving); });
    if (!asked && now - *e.resign_since < resign_time) continue;
    if (auto stage = cluster.hub->find({e.uid, 0})) self->send(stage, resign_atom::value);
  }
}

void node_state::update_leaders() {
  const auto known = ctx->options.cluster->membership->members();
  for (const auto& [name, e] : pipelines) {
    const auto leader = leader_of(e);
    push_router::leader at;
    if (leader != ctx->options.name) at.node = leader;
    for (const auto& m : known)
      if (m.node == at.node) at.address = m.record.http_address;
    router->set_leader(name, std::move(at));
    if (e.actor || !e.spec) continue;
    push_router::target route; // no copy of it is here
    route.pushed = e.spec->source.type == "http";
    route.token = e.spec->source.token;
    route.waiting = "no node leads the pipeline now";
    router->set(name, std::move(route));
  }
}

void node_state::take_pipeline(const std::string& name, const storage::catalog_entry& stored) {
  if (const auto gone = removed.find(name); gone != removed.end() && stored.mod_revision < gone->second) return;
  auto& e = pipelines[name];
  if (e.removing || stored.mod_revision <= e.mod_revision) return;
  auto record = decode_record(stored.value);
  const auto before = e.revision;
  const bool known = e.mod_revision != 0;
  e.mod_revision = stored.mod_revision;
  if (!record) {
    e.broken = "the catalog's record of " + name + " is damaged";
    ctx->log("error", "node", e.broken);
    return;
  }
  const bool same_text = known && e.text == record->text && e.base_dir == record->base_dir;
  e.uid = record->uid;
  e.text = record->text;
  e.file = record->file;
  e.base_dir = record->base_dir;
  e.revision = record->revision;
  e.paused = record->paused;
  e.pin = record->pin;
  e.replicas = record->replicas;
  e.min_in_sync = record->min_in_sync;
  if (!same_text || !e.spec) {
    auto parsed = ctx->options.parse(e.text, e.file, e.base_dir);
    if (!parsed) {
      e.broken = parsed.error().message;
      ctx->log("error", "node", "pipeline " + name + " cannot run here: " + e.broken);
      return;
    }
    e.spec = parsed.value();
    e.broken.clear();
  }
  if (!e.actor) return;
  if (known && e.revision != before && !same_text) {
    admin_call update;
    update.specs.push_back(e.spec);
    self->send(e.actor, update_atom::value, update, e.revision);
  }
  self->send(e.actor, changed_atom::value, e.paused);
}

void node_state::take_record(const std::string& name, entry& e, const storage::partition_record& r) {
  const bool fresh = !e.record || r.mod_revision > e.record->mod_revision;
  if (fresh) e.record = r;
  const auto& me = ctx->options.name;
  const bool here = e.record->wants(me) || e.record->in_sync(me) != nullptr;
  if (!here) {
    if (e.actor && !e.ending) {
      ctx->log("info", "node", "pipeline " + name + ": this node's copy of the log is no longer wanted and goes");
      e.ending = true;
      auto gone = [this, name, uid = e.uid] {
        const auto it = pipelines.find(name);
        if (it == pipelines.end() || it->second.uid != uid) return;
        it->second.actor = nullptr;
        it->second.ending = false;
        deleted.push_back(uid);
        drop_deleted();
        update_leaders();
      };
      self->request(e.actor, caf::infinite, drain_atom::value)
          .then([gone](const simple_reply&) { gone(); }, [gone](const caf::error&) { gone(); }); // it died: gone as well
    }
    return;
  }
  if (!e.actor && !e.removing && e.spec && std::find(deleted.begin(), deleted.end(), e.uid) == deleted.end()) spawn(e);
  if (!fresh) return;
  if (auto stage = ctx->options.cluster->hub->find({e.uid, 0}))
    self->send(stage, record_news{std::make_shared<const storage::partition_record>(*e.record), false, false});
}

/// The pipeline is gone from the catalog: what this node had of it goes too.
void node_state::drop_replica(const std::string& name, entry& e) {
  router->remove(name);
  const auto uid = e.uid;
  auto actor = std::exchange(e.actor, nullptr);
  pipelines.erase(name);
  auto gone = [this, uid] {
    deleted.push_back(uid);
    drop_deleted();
  };
  if (!actor) return gone();
  self->request(actor, caf::infinite, drain_atom::value)
      .then([gone](const simple_reply&) { gone(); }, [gone](const caf::error&) { gone(); });
}

std::string node_state::leader_of(const entry& e) const {
  if (!e.record || e.record->leader_node.empty()) return {};
  const auto alive = members.sessions.find(e.record->leader_node);
  return alive != members.sessions.end() && alive->second == e.record->leader_session ? e.record->leader_node : std::string{};
}

result<void> node_state::place(const pipeline_spec& spec, entry& e) const {
  if (!clustered()) {
    if (spec.log.replicas > 1)
      return make_failure(errc::invalid,
                          "log.replicas is " + std::to_string(spec.log.replicas) +
                              ", but this node is not part of a cluster; expected 1, or a node with a `cluster` section");
    return storage::success();
  }
  std::string why;
  if (spec.source.type == "file") why = "its source reads files of one node's disk";
  for (const auto& load : spec.loads)
    if (load.destination.type == "sqlite") why = "load " + load.name + " writes a SQLite file on one node's disk";
  if (why.empty()) {
    e.pin.clear();
    e.replicas = spec.log.replicas == 0 ? 3 : spec.log.replicas;
  } else {
    if (spec.log.replicas > 1)
      return make_failure(errc::invalid, "pipeline " + spec.name + ": log.replicas is " + std::to_string(spec.log.replicas) +
                                             ", but " + why + ", so no other node could go on with it; expected 1");
    if (e.pin.empty()) e.pin = ctx->options.name;
    e.replicas = 1;
  }
  e.min_in_sync = spec.log.min_in_sync != 0 ? spec.log.min_in_sync : std::min(2u, e.replicas);
  if (e.min_in_sync > e.replicas)
    return make_failure(errc::invalid, "pipeline " + spec.name + ": log.min_in_sync is " + std::to_string(e.min_in_sync) +
                                           ", but there is one copy, because " + why + "; expected 1");
  // The parser cannot tell where replicas are left out: how many there are by default is the cluster's.
  if (e.min_in_sync == 1 && e.replicas > 1)
    return make_failure(errc::invalid, "pipeline " + spec.name + ": log.min_in_sync is 1, log.replicas " +
                                           std::to_string(e.replicas) +
                                           "; expected at least 2: with 1, what was acknowledged by one copy alone is lost "
                                           "with its host");
  if (!e.record || e.record->min_in_sync == 0) return storage::success();
  // Elections rely on the record's: it stays for as long as the log does.
  const auto stored = e.record->min_in_sync;
  if (spec.log.min_in_sync != 0 && spec.log.min_in_sync != stored)
    return make_failure(errc::invalid, "pipeline " + spec.name + ": log.min_in_sync is " + std::to_string(spec.log.min_in_sync) +
                                           ", its log was made with " + std::to_string(stored) +
                                           "; expected that: it cannot change");
  if (e.replicas < stored)
    return make_failure(errc::invalid, "pipeline " + spec.name + ": log.replicas is " + std::to_string(e.replicas) +
                                           ", but its log was made with min_in_sync " + std::to_string(stored) +
                                           ", which cannot change; expected at least as many");
  e.min_in_sync = stored;
  return storage::success();
}

// ---- questions to other nodes

void node_state::ask(const std::string& node, const admin_call& c, std::function<void(const admin_reply&)> done) {
  const auto id = next_question++;
  auto& q = questions[id];
  q.node = node;
  q.done = std::move(done);
  q.deadline = std::chrono::steady_clock::now() + (c.local ? gather_time : answer_time) + std::chrono::milliseconds(c.wait_ms);
  const auto me = node_actor{self};
  ctx->options.cluster->transport->send(node, cluster::encode_call(id, c), [me, id, node](cluster::transport::outcome o) {
    if (o == cluster::transport::outcome::delivered) return;
    admin_reply lost;
    lost.code = "unavailable";
    lost.message = "node " + node + " cannot be reached from this one; if the link broke just now, it may have heard and done it";
    caf::anon_send(me, routed_call{node, id, {}, lost});
  });
}

void node_state::expire_questions() {
  self->delayed_send(self, look_time, tick_atom::value);
  if (std::any_of(pipelines.begin(), pipelines.end(), [](const auto& kv) { return kv.second.resign_since.has_value(); }))
    on_catalog();
  const auto now = std::chrono::steady_clock::now();
  for (auto it = questions.begin(); it != questions.end();) {
    if (now < it->second.deadline) {
      ++it;
      continue;
    }
    auto late = std::move(it->second);
    it = questions.erase(it);
    late.done(refused("unavailable", "node " + late.node + " did not answer in time"));
  }
  retry_held();
}

void node_state::routed(const routed_call& r) {
  if (r.reply) {
    const auto it = questions.find(r.id);
    if (it == questions.end() || it->second.node != r.from) return;
    auto q = std::move(it->second);
    questions.erase(it);
    q.done(*r.reply);
    return;
  }
  auto local = r.call;
  local.local = true;
  auto answer = [this, from = r.from, id = r.id](const admin_reply& reply) {
    const bool fits = reply.document.size() <= routed_bytes_max;
    auto f = fits ? cluster::encode_reply(id, reply)
                  : cluster::encode_reply(id, refused("refused", "the answer has " + std::to_string(reply.document.size()) +
                                                                     " bytes, more than nodes hand on to each other; expected "
                                                                     "--limit, or the question at node " +
                                                                     ctx->options.name + ", which has the answer"));
    send_answer({from, std::make_shared<const cluster::frame>(std::move(f)), std::chrono::steady_clock::now() + answer_time});
  };
  self->request(node_actor{self}, caf::infinite, local).then(answer, [this, answer](const caf::error& e) {
    answer(refused("internal", describe(e, self->system())));
  });
}

/// What was asked for may be done: an answer that a broken link lost is sent again. The asker takes the first that comes.
void node_state::send_answer(const unsent_answer& a) {
  ctx->options.cluster->transport->send(a.to, *a.frame, [me = node_actor{self}, a](cluster::transport::outcome o) {
    if (o != cluster::transport::outcome::delivered && std::chrono::steady_clock::now() < a.until)
      caf::delayed_anon_send(me, answer_again_time, a);
  });
}

/// An answer if the call is not for this node's actors.
std::optional<caf::result<admin_reply>> node_state::elsewhere(const admin_call& c, const std::string& name, entry& e) {
  using method = admin_call::method;
  if (c.what == method::show) return std::nullopt;
  const auto leader = leader_of(e);
  if (leader == ctx->options.name) return std::nullopt;
  const bool of_catalog =
      c.what == method::status || c.what == method::pause || c.what == method::resume || c.what == method::remove;
  if (!of_catalog && c.local) return refused(moved, "node " + ctx->options.name + " does not lead pipeline " + name + " now");
  if (!c.local && (!leader.empty() || !of_catalog)) {
    held_call h{name, c, self->make_response_promise<admin_reply>()};
    auto promise = h.promise;
    to_leader(std::move(h));
    return promise;
  }
  if (c.what == method::pause || c.what == method::resume) {
    const bool before = std::exchange(e.paused, c.what == method::pause);
    auto stored = store(name, e);
    if (!stored.ok) {
      e.paused = before;
      return stored;
    }
    if (e.actor) self->send(e.actor, changed_atom::value, e.paused);
    return document(
        {{"pipeline", name}, {"state", e.paused ? "paused" : "waiting"}, {"reason", e.paused ? "" : "no node leads it now"}});
  }
  if (c.what == method::remove) return std::nullopt; // its actors here end first, if there are any
  return document({{"pipeline", name},
                   {"state", e.paused ? "paused" : "waiting"},
                   {"reason", e.broken.empty() ? leaderless(name, e) : e.broken},
                   {"revision", e.revision},
                   {"ingested", 0},
                   {"source", {{"position", ""}, {"lag_bytes", 0}, {"caught_up", false}}},
                   {"log", json::array()},
                   {"loads", json::array()}});
}

std::string node_state::leaderless(const std::string& name, const entry& e) const {
  std::string why = "no node leads pipeline " + name + " now";
  if (!e.record) return why + ": its copies are being placed";
  why += "; copies are on";
  for (const auto& r : e.record->replicas) why += " " + r + (members.sessions.contains(r) ? "" : " (not alive)");
  return why + ", at least " + std::to_string(e.record->min_in_sync) + " must be in sync";
}

void node_state::to_leader(held_call h) {
  const auto it = pipelines.find(h.pipeline);
  if (it == pipelines.end()) {
    h.promise.deliver(refused("not_found", "no pipeline '" + h.pipeline + "'"));
    return;
  }
  const auto leader = leader_of(it->second);
  if (leader.empty()) {
    held.push_back(std::move(h));
    return;
  }
  const auto answer = [this, h](const admin_reply& r) mutable {
    if (r.code == moved)
      held.push_back(std::move(h)); // the news of who leads now is on its way
    else
      h.promise.deliver(r);
  };
  if (leader != ctx->options.name) return ask(leader, h.call, answer);
  // Since it was asked. An actor may be killed by its node only.
  const bool kill = h.call.what == admin_call::method::kill_actor;
  const auto failed = [h](const caf::error&) mutable { h.promise.deliver(refused("unavailable", "the pipeline is stopping")); };
  if (kill)
    self->request(node_actor{self}, caf::infinite, h.call).then(answer, failed);
  else if (const auto actor = it->second.actor)
    self->request(actor, caf::infinite, h.call).then(answer, failed);
  else
    held.push_back(std::move(h));
}

void node_state::retry_held() {
  const auto now = std::chrono::steady_clock::now();
  for (auto& h : std::exchange(held, {})) {
    const auto it = pipelines.find(h.pipeline);
    if (now >= h.until && it != pipelines.end())
      h.promise.deliver(refused("unavailable", leaderless(h.pipeline, it->second)));
    else
      to_leader(std::move(h));
  }
}

/// The same question to every node that is alive; answers that are arrays are joined.
caf::result<admin_reply> node_state::everywhere(const admin_call& c) {
  struct gathered {
    std::size_t waiting = 1;
    json list = json::array();
    std::map<std::string, json> of; ///< by node
  };
  auto all = std::make_shared<gathered>();
  auto promise = self->make_response_promise<admin_reply>();
  auto arrived = [this, all, promise, what = c.what](const std::string& node, const admin_reply& r) mutable {
    if (!node.empty()) {
      auto doc = json::parse(r.ok ? r.document : "", nullptr, false);
      if (doc.is_array()) {
        for (const auto& x : doc) all->list.push_back(x);
        all->of[node] = std::move(doc);
      }
    }
    if (--all->waiting > 0) return;
    if (what == admin_call::method::cluster) {
      promise.deliver(document(cluster_document(all->list)));
      return;
    }
    if (what == admin_call::method::status) {
      // The one that leads speaks for a pipeline; one without a leader is spoken for here.
      json out = json::array();
      for (auto& [name, e] : pipelines) {
        // Paused or failed, followers say so too, but only the leader knows the numbers.
        const json* best = nullptr;
        if (const auto at = all->of.find(leader_of(e)); at != all->of.end())
          for (const auto& x : at->second)
            if (x.value("pipeline", "") == name && x.value("state", "") != "following") best = &x;
        if (best) {
          out.push_back(*best);
          continue;
        }
        out.push_back({{"pipeline", name},
                       {"state", e.paused ? "paused" : "waiting"},
                       {"reason", e.broken.empty() ? "no node leads it now" : e.broken},
                       {"revision", e.revision},
                       {"ingested", 0},
                       {"loads", json::array()}});
      }
      promise.deliver(document(out));
      return;
    }
    json sorted = json::array(); // by node, whoever answered first
    for (auto& [name, doc] : all->of)
      for (auto& x : doc) sorted.push_back(std::move(x));
    promise.deliver(document(sorted));
  };
  auto local = c;
  local.local = true;
  for (const auto& [node, session] : members.sessions) {
    if (node == ctx->options.name) continue;
    ++all->waiting;
    ask(node, local, [arrived, node = node](const admin_reply& r) mutable { arrived(node, r); });
  }
  ++all->waiting;
  self->request(node_actor{self}, caf::infinite, local)
      .then([arrived, me = ctx->options.name](const admin_reply& r) mutable { arrived(me, r); },
            [arrived, me = ctx->options.name](const caf::error&) mutable { arrived(me, {}); });
  arrived({}, {});
  return promise;
}

} // namespace millrace::actors::supervisor
