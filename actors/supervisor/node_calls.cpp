// What operators ask of a node: pipelines applied, removed, and questions that go to one of them or to all.

#include "actors/ingest/source_reader.hpp"
#include "actors/postgres/conninfo.hpp"
#include "actors/supervisor/node_supervisor.hpp"
#include "actors/supervisor/pipeline_record.hpp"
#include "actors/supervisor/pipeline_supervisor.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <random>

namespace millrace::actors::supervisor {

using json = nlohmann::ordered_json;
using namespace std::chrono_literals;

namespace {
/// The incarnation in the uid keeps a deleted pipeline's log apart from that of its next namesake.
std::string new_uid(const std::string& name) {
  std::random_device random;
  char tail[24];
  std::snprintf(tail, sizeof tail, "-%08x", static_cast<unsigned>(random()));
  return name + tail;
}
} // namespace

admin_reply node_state::apply(const admin_call& c) {
  std::vector<storage::catalog_guard> guards;
  std::vector<storage::catalog_write> writes;
  struct change {
    std::string name, what;
    entry next;
  };
  std::vector<change> changes;
  for (const auto& spec : c.specs) {
    const auto it = pipelines.find(spec->name);
    if (std::any_of(changes.begin(), changes.end(), [&](const change& x) { return x.name == spec->name; }))
      return refused("invalid", "pipeline " + spec->name + " is in this apply twice");
    change x{spec->name, "created", {}};
    if (it != pipelines.end()) {
      if (it->second.removing) return refused("conflict", "pipeline " + spec->name + " is being deleted");
      x.next = it->second;
      x.what = "updated";
      if (x.next.spec) {
        if (x.next.spec->source.type != spec->source.type)
          return refused("refused", "pipeline " + spec->name + ": its log holds changes of a '" + x.next.spec->source.type +
                                        "' source; delete the pipeline to begin anew with '" + spec->source.type + "'");
        if (x.next.spec->log.partitions != spec->log.partitions)
          return refused("refused", "pipeline " + spec->name + ": the number of partitions cannot change");
      }
      if (x.next.text == spec->text && x.next.base_dir == spec->base_dir && x.next.spec) x.what = "unchanged";
      if (x.what == "updated") ++x.next.revision;
    } else {
      x.next.uid = new_uid(spec->name);
    }
    if (auto placed = place(*spec, x.next); !placed) return refused("refused", placed.error().message);
    x.next.spec = spec;
    x.next.text = spec->text;
    x.next.file = spec->file;
    x.next.base_dir = spec->base_dir;
    x.next.broken.clear();
    if (x.what != "unchanged") {
      const auto key = pipeline_key(spec->name);
      guards.push_back({key, x.next.mod_revision});
      writes.push_back({key,
                        encode_record({spec->name, x.next.uid, x.next.text, x.next.file, x.next.base_dir, x.next.revision,
                                       x.next.paused, x.next.pin, x.next.replicas, x.next.min_in_sync}),
                        0});
    }
    changes.push_back(std::move(x));
  }
  if (!writes.empty()) {
    auto done = ctx->options.catalog().commit(guards, writes);
    if (!done) {
      ctx->fatal(done.error(), "node");
      return refused("unavailable", done.error().message);
    }
    for (auto& x : changes)
      if (x.what != "unchanged") x.next.mod_revision = done.value();
  }
  json out = json::array();
  for (auto& x : changes) {
    out.push_back({{"pipeline", x.name}, {"change", x.what}, {"revision", x.next.revision}});
    auto& e = pipelines[x.name];
    if (x.what == "unchanged") continue;
    e = std::move(x.next);
    if (!e.actor) {
      if (!clustered()) spawn(e); // there the controller places it first
    } else {
      admin_call update;
      update.specs.push_back(e.spec);
      self->send(e.actor, update_atom::value, update, e.revision);
    }
    ctx->log("info", "node", "pipeline " + x.name + " " + x.what + ", revision " + std::to_string(e.revision));
  }
  return document(out);
}

caf::result<admin_reply> node_state::remove(const std::string& name) {
  auto& e = pipelines.at(name);
  if (e.removing) return refused("conflict", "pipeline " + name + " is being deleted already");
  e.removing = true;
  router->remove(name);
  auto promise = self->make_response_promise<admin_reply>();
  std::string log;
  if (auto opened = ctx->options.store->opened(e.uid, 0)) log = std::to_string(opened->info().id.value);
  if (e.record) log = std::to_string(e.record->log_id.value);
  auto finish = [this, name, promise, log](const std::string& left) mutable {
    auto& e = pipelines.at(name);
    auto& catalog = ctx->options.catalog();
    std::vector<storage::catalog_write> writes{{pipeline_key(name), std::nullopt, 0}};
    // The destination keeps rows and progress of this log: its id says later that they belong to nobody.
    if (!log.empty()) writes.push_back({retired_prefix(name) + log, "", 0});
    if (auto delivered = catalog.list("delivered/" + e.uid + "/"))
      for (const auto& d : delivered.value()) writes.push_back({d.key, std::nullopt, 0});
    if (clustered()) {
      const storage::partition_name partition{e.uid, 0};
      writes.push_back({storage::part_key(partition), std::nullopt, 0});
      if (auto stores = catalog.list(storage::store_key_prefix(partition)))
        for (const auto& s : stores.value()) writes.push_back({s.key, std::nullopt, 0});
    }
    auto done = catalog.commit({{pipeline_key(name), e.mod_revision}}, writes);
    if (!done) {
      ctx->fatal(done.error(), "node");
      e.removing = false;
      promise.deliver(refused("unavailable", done.error().message));
      return;
    }
    const auto uid = e.uid;
    removed[name] = done.value();
    pipelines.erase(name);
    deleted.push_back(uid);
    drop_deleted();
    ctx->log("info", "node", "pipeline " + name + " deleted");
    json doc{{"pipeline", name}, {"deleted", true}};
    if (!left.empty()) {
      ctx->log("warn", "node", "pipeline " + name + ": " + left);
      doc["warning"] = left;
    }
    promise.deliver(document(doc));
  };
  // What the source keeps for us goes before the pipeline does, or nobody remembers it.
  auto retire = [this, spec = e.spec, finish]() mutable {
    if (!spec)
      return finish("its spec cannot be read now, so what a source keeps for it (a replication slot) was not given back");
    if (spec->source.type == "http") return finish({});
    auto one_time = self->spawn<caf::detached>([spec](caf::event_based_actor* me) -> caf::behavior {
      return {[me, spec](tick_atom) {
        me->quit();
        auto reader = ingest::make_source_reader(spec->source);
        if (!reader) return simple_reply{false, reader.error(), 0};
        auto done = reader.value()->retire();
        return done ? simple_reply{} : simple_reply{false, done.error(), 0};
      }};
    });
    self->request(one_time, 30s, tick_atom::value)
        .then(
            [finish](const simple_reply& r) mutable {
              finish(r.ok ? std::string{} : "what the source keeps for it stays there, drop it by hand: " + r.why.message);
            },
            [finish](const caf::error&) mutable {
              finish("what the source keeps for it stays there, drop it by hand: the source did not answer");
            });
  };
  if (!e.actor) {
    retire();
    return promise;
  }
  auto actor = std::exchange(e.actor, nullptr);
  self->request(actor, caf::infinite, drain_atom::value)
      .then([retire](const simple_reply&) mutable { retire(); }, [retire](const caf::error&) mutable { retire(); });
  return promise;
}

caf::result<admin_reply> node_state::forward(const admin_call& c, entry& e) {
  if (!e.actor) return refused("unavailable", e.broken.empty() ? "the pipeline is stopping" : e.broken);
  auto promise = self->make_response_promise<admin_reply>();
  self->request(e.actor, caf::infinite, c)
      .then(
          [this, promise, c](const admin_reply& r) mutable {
            if (r.code == moved && !c.local)
              held.push_back({c.pipeline, c, promise});
            else
              promise.deliver(r);
          },
          [this, promise](const caf::error& err) mutable {
            promise.deliver(refused("unavailable", "the pipeline's supervisor ended: " + describe(err, self->system())));
          });
  return promise;
}

/// The same question to every pipeline; answers that are arrays are joined, readiness is combined.
caf::result<admin_reply> node_state::collect(const admin_call& c) {
  struct gathered {
    std::uint32_t waiting = 1;
    json list = json::array();
  };
  auto all = std::make_shared<gathered>();
  auto promise = self->make_response_promise<admin_reply>();
  auto arrived = [this, all, promise, what = c.what]() mutable {
    if (--all->waiting > 0) return;
    using method = admin_call::method;
    if (what == method::ready) {
      json reasons = json::array();
      for (const auto& r : all->list)
        for (const auto& why : r["reasons"]) reasons.push_back(why);
      for (const auto& [name, e] : pipelines)
        if (!e.broken.empty()) reasons.push_back(name + ": " + e.broken);
      promise.deliver(document({{"ready", reasons.empty()}, {"reasons", reasons}}));
      return;
    }
    if (what == method::actors) {
      json out = json::array();
      out.push_back({{"id", "node"},
                     {"role", "node"},
                     {"pipeline", ""},
                     {"load", ""},
                     {"state", "running"},
                     {"node", ctx->options.name},
                     {"mailbox_depth", self->mailbox().size()},
                     {"restarts", 0},
                     {"last_error", ""},
                     {"note", ""}});
      for (auto& x : all->list) out.push_back(std::move(x));
      promise.deliver(document(out));
      return;
    }
    if (what == method::metrics) {
      const auto space = ctx->options.store->space();
      auto add = [&](const char* name, const char* help, json value) {
        all->list.push_back(
            {{"name", name}, {"type", "gauge"}, {"help", help}, {"labels", json::object()}, {"value", std::move(value)}});
      };
      add("millrace_disk_free_bytes", "Free bytes on the log's file system.", space.free_bytes);
      add("millrace_disk_reserve_bytes", "Appends wait below this many free bytes.", space.reserve_bytes);
      if (clustered())
        for (auto& sample : cluster_samples()) all->list.push_back(std::move(sample));
    }
    promise.deliver(document(all->list));
  };
  for (auto& [name, e] : pipelines) {
    if (!e.actor) continue;
    ++all->waiting;
    self->request(e.actor, 10s, c)
        .then(
            [all, arrived](const admin_reply& r) mutable {
              auto doc = json::parse(r.document, nullptr, false);
              if (doc.is_array())
                for (auto& x : doc) all->list.push_back(std::move(x));
              else if (doc.is_object())
                all->list.push_back(std::move(doc));
              arrived();
            },
            [all, arrived, name = name, what = c.what](const caf::error&) mutable {
              if (what == admin_call::method::ready)
                all->list.push_back({{"ready", false}, {"reasons", {name + " does not answer"}}});
              arrived();
            });
  }
  arrived();
  return promise;
}

caf::result<admin_reply> node_state::call(const admin_call& c) {
  using method = admin_call::method;
  if (draining > 0) return refused("unavailable", "the node is stopping");
  if (clustered() && c.what == method::actors && !c.pipeline.empty()) { // its copies on other nodes have actors too
    const auto it = pipelines.find(c.pipeline);
    if (it == pipelines.end())
      return c.local ? document(json::array()) : refused("not_found", "no pipeline '" + c.pipeline + "'");
    if (c.local) return it->second.actor ? forward(c, it->second) : document(json::array());
    return everywhere(c);
  }
  if (clustered() && !c.local && c.pipeline.empty() && (c.what == method::status || c.what == method::actors))
    return everywhere(c);
  switch (c.what) {
  case method::apply:
    return apply(c);
  case method::list: {
    auto all = c;
    all.what = method::status;
    auto promise = self->make_response_promise<admin_reply>();
    // Asked through collect(), then cut down to what a list shows.
    self->request(node_actor{self}, caf::infinite,
                  [&] {
                    all.pipeline.clear();
                    return all;
                  }())
        .then(
            [this, promise](const admin_reply& r) mutable {
              json out = json::array();
              auto docs = json::parse(r.document, nullptr, false);
              for (const auto& [name, e] : pipelines) {
                json row{{"pipeline", name},
                         {"state", e.broken.empty() ? "starting" : "failed"},
                         {"reason", e.broken},
                         {"revision", e.revision}};
                if (docs.is_array())
                  for (const auto& d : docs)
                    if (d["pipeline"] == name)
                      row = {{"pipeline", name},          {"state", d["state"]},       {"reason", d["reason"]},
                             {"revision", d["revision"]}, {"ingested", d["ingested"]}, {"loads", d["loads"].size()}};
                out.push_back(std::move(row));
              }
              promise.deliver(document(out));
            },
            [promise](const caf::error&) mutable { promise.deliver(refused("internal", "no answer")); });
    return promise;
  }
  case method::cluster: {
    if (clustered()) return c.local ? document(local_replicas()) : everywhere(c);
    json partitions = json::array();
    for (const auto& [name, e] : pipelines) {
      auto log = e.uid.empty() ? nullptr : ctx->options.store->opened(e.uid, 0);
      if (!log) continue;
      const auto info = log->info();
      partitions.push_back({{"pipeline", name},
                            {"partition", 0},
                            {"leader", ctx->options.name},
                            {"epoch", info.epoch.value},
                            {"replicas", {ctx->options.name}},
                            {"in_sync", {ctx->options.name}},
                            {"high_watermark", info.high_watermark.value},
                            {"lag", json::object()}});
    }
    json node{{"node", ctx->options.name}, {"alive", true}, {"link", ""}, {"labels", json::object()}, {"lease_seconds", nullptr}};
    return document({{"nodes", json::array({node})}, {"controller", ctx->options.name}, {"partitions", partitions}});
  }
  case method::maintain:
    return maintain(c);
  case method::metrics:
  case method::ready:
    return collect(c);
  case method::status:
    if (c.pipeline.empty()) return collect(c);
    break;
  case method::actors:
    if (c.pipeline.empty()) return collect(c);
    break;
  case method::kill_actor: {
    // In a cluster each copy's actors have the same ids: NODE:ID means that node's, ID alone the leader's.
    if (const auto colon = c.name.find(':'); clustered() && colon != std::string::npos) {
      auto there = c;
      const auto node = c.name.substr(0, colon);
      there.name = c.name.substr(colon + 1);
      there.local = true;
      if (node == ctx->options.name) return call(there);
      if (!members.sessions.contains(node)) return refused("not_found", "no node '" + node + "' is alive");
      auto promise = self->make_response_promise<admin_reply>();
      ask(node, there, [promise](const admin_reply& r) mutable { promise.deliver(r); });
      return promise;
    }
    const auto name = c.name.substr(0, c.name.find('/'));
    const auto it = pipelines.find(name);
    if (it == pipelines.end()) return refused("not_found", "no actor '" + c.name + "'; `millrace actors` lists them");
    if (clustered() && c.local && it->second.actor && c.name != name) return forward(c, it->second);
    if (clustered() && !c.local)
      if (auto answer = elsewhere(c, name, it->second)) return std::move(*answer);
    if (c.name == name && it->second.actor) { // the pipeline supervisor itself: its children end with it, and it starts anew
      self->send_exit(it->second.actor, caf::exit_reason::kill);
      return document({{"killed", name}});
    }
    return forward(c, it->second);
  }
  default:
    break;
  }
  const auto it = pipelines.find(c.pipeline);
  if (it == pipelines.end()) return refused("not_found", "no pipeline '" + c.pipeline + "'");
  auto& e = it->second;
  if (clustered())
    if (auto answer = elsewhere(c, c.pipeline, e)) return std::move(*answer);
  switch (c.what) {
  case method::show:
    return document({{"pipeline", c.pipeline},
                     {"revision", e.revision},
                     {"paused", e.paused},
                     {"file", e.file},
                     {"spec", postgres::without_passwords(e.text)}});
  case method::remove:
    return remove(c.pipeline);
  case method::pause:
  case method::resume: {
    const bool pause = c.what == method::pause;
    if (e.paused != pause) {
      e.paused = pause;
      if (auto stored = store(c.pipeline, e); !stored.ok) {
        e.paused = !pause;
        return stored;
      }
    }
    if (!pause && !e.spec) { // the environment it lacked may be there now
      auto parsed = ctx->options.parse(e.text, e.file, e.base_dir);
      if (!parsed) return refused("invalid", parsed.error().message);
      e.spec = parsed.value();
      e.broken.clear();
      spawn(e);
      return document({{"pipeline", c.pipeline}, {"state", "running"}});
    }
    return forward(c, e);
  }
  case method::status:
    if (!e.actor && !e.broken.empty())
      return document({{"pipeline", c.pipeline},
                       {"state", "failed"},
                       {"reason", e.broken},
                       {"revision", e.revision},
                       {"ingested", 0},
                       {"source", {{"position", ""}, {"lag_bytes", 0}, {"caught_up", false}}},
                       {"log", json::array()},
                       {"loads", json::array()}});
    return forward(c, e);
  default:
    return forward(c, e);
  }
}

} // namespace millrace::actors::supervisor
