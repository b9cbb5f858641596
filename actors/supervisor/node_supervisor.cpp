#include "actors/supervisor/node_supervisor.hpp"

#include "actors/supervisor/pipeline_record.hpp"
#include "actors/supervisor/pipeline_supervisor.hpp"

#include <charconv>
#include <set>

namespace millrace::actors::supervisor {

using namespace std::chrono_literals;

void node_state::start() {
  if (clustered()) return start_cluster();
  auto listed = ctx->options.catalog().list(std::string(pipeline_prefix));
  if (!listed) {
    ctx->fatal(listed.error(), "node");
    return self->quit(quit_reason(listed.error()));
  }
  for (const auto& stored : listed.value()) {
    auto record = decode_record(stored.value);
    const auto name = stored.key.substr(pipeline_prefix.size());
    auto& e = pipelines[name];
    e.mod_revision = stored.mod_revision;
    if (!record) {
      e.broken = "the catalog's record of " + name + " is damaged";
      ctx->log("error", "node", e.broken);
      continue;
    }
    e.uid = record->uid;
    e.text = record->text;
    e.file = record->file;
    e.base_dir = record->base_dir;
    e.revision = record->revision;
    e.paused = record->paused;
    auto parsed = ctx->options.parse(e.text, e.file, e.base_dir);
    if (!parsed) {
      e.broken = parsed.error().message;
      ctx->log("error", "node", "pipeline " + name + " cannot start: " + e.broken);
      push_router::target route;
      route.pushed = true;
      route.waiting = "the pipeline cannot start: " + e.broken;
      router->set(name, std::move(route));
      continue;
    }
    e.spec = parsed.value();
    spawn(e);
  }
  sweep();
}

/// An actor that has ended lives on until the last handle to it is gone, and its log with it: asked again until it works, and
/// by the sweep of the next start if the node ends before.
void node_state::drop_deleted() {
  const auto dropped =
      std::erase_if(deleted, [&](const std::string& uid) { return static_cast<bool>(ctx->options.store->drop_pipeline(uid)); });
  // A copy may have been wanted here again while the old one went: nothing else would look.
  if (dropped > 0 && clustered()) self->send(self, changed_atom::value);
  if (!deleted.empty()) self->delayed_send(self, 200ms, tick_atom::value);
}

/// A node that died between the two steps of a delete left a log that nobody owns.
void node_state::sweep() {
  auto parts = ctx->options.catalog().list("part/");
  if (!parts) return;
  std::set<std::string> orphans;
  for (const auto& p : parts.value()) {
    const auto rest = p.key.substr(5);
    const auto uid = rest.substr(0, rest.rfind('/'));
    if (std::none_of(pipelines.begin(), pipelines.end(),
                     [&](const auto& kv) { return kv.second.uid == uid || kv.second.uid.empty(); }))
      orphans.insert(uid);
  }
  for (const auto& uid : orphans) {
    ctx->log("info", "node", "dropping the log of deleted pipeline " + uid);
    if (auto dropped = ctx->options.store->drop_pipeline(uid); !dropped) ctx->log("warn", "node", dropped.error().message);
  }
}

std::vector<storage::log_id> node_state::retired(const std::string& name) const {
  std::vector<storage::log_id> out;
  auto listed = ctx->options.catalog().list(retired_prefix(name));
  if (!listed) return out;
  for (const auto& e : listed.value()) {
    const auto text = e.key.substr(retired_prefix(name).size());
    std::uint64_t id = 0;
    std::from_chars(text.data(), text.data() + text.size(), id);
    out.push_back({id});
  }
  return out;
}

void node_state::spawn(entry& e) {
  // Known from now on: a client that pushes while it starts is told to come back, not that there is no such pipeline.
  push_router::target route;
  route.pushed = e.spec->source.type == "http";
  route.token = e.spec->source.token;
  route.waiting = "the pipeline is starting";
  router->set(e.spec->name, std::move(route));
  auto pipeline_ctx = std::make_shared<pipeline_context>();
  pipeline_ctx->node = ctx;
  pipeline_ctx->spec = e.spec;
  pipeline_ctx->uid = e.uid;
  pipeline_ctx->revision = e.revision;
  pipeline_ctx->retired = retired(e.spec->name);
  e.actor = self->spawn<caf::monitored>(pipeline, pipeline_ctx, router, e.paused);
}

admin_reply node_state::store(const std::string& name, entry& e) {
  auto& catalog = ctx->options.catalog();
  const auto key = pipeline_key(name);
  auto done = catalog.commit(
      {{key, e.mod_revision}},
      {{key, encode_record({name, e.uid, e.text, e.file, e.base_dir, e.revision, e.paused, e.pin, e.replicas, e.min_in_sync}),
        0}});
  if (!done) {
    ctx->fatal(done.error(), "node");
    return refused("unavailable", done.error().message);
  }
  e.mod_revision = done.value();
  return document({{"pipeline", name}});
}

node_actor::behavior_type node_supervisor(node_actor::stateful_pointer<node_state> self, context_ptr ctx,
                                          std::shared_ptr<push_router> router) {
  auto& st = self->state;
  st.ctx = std::move(ctx);
  st.router = std::move(router);
  self->set_down_handler([self](caf::down_msg& down) {
    auto& st = self->state;
    for (auto& [name, e] : st.pipelines) {
      if (!e.actor || e.actor.address() != down.source) continue;
      // A pipeline supervisor holds no state that is not in the log, the catalog or a destination: start it anew. Its children
      // end with it, and a newer claim fences what may still run.
      if (st.draining > 0) return;
      const bool wanted = !e.removing && !e.ending && e.spec;
      st.ctx->log("error", "node",
                  "the supervisor of " + name + " ended (" + describe(down.reason, self->system()) + ")" +
                      (wanted ? ", starts again" : ""));
      e.actor = nullptr;
      if (wanted) st.spawn(e);
    }
  });
  st.start();
  return {
      [self](const admin_call& c) { return self->state.call(c); },
      [](const push_message&) {
        return push_reply{503, 0, "pushes go to the pipeline's ingest", 1};
      },
      [self](drain_atom) -> caf::result<simple_reply> {
        auto& st = self->state;
        st.drained = self->make_response_promise<simple_reply>();
        auto promise = st.drained;
        st.draining = 1;
        auto one = [self] {
          if (--self->state.draining > 0) return;
          self->state.draining = 1; // stays: no calls any more
          if (self->state.drained.pending()) self->state.drained.deliver(simple_reply{});
          self->quit();
        };
        for (auto& [name, e] : st.pipelines) {
          if (!e.actor) continue;
          ++st.draining;
          self->request(e.actor, caf::infinite, drain_atom::value)
              .then([one](const simple_reply&) { one(); }, [one](const caf::error&) { one(); });
        }
        one();
        return promise;
      },
      [self](tick_atom) {
        self->state.drop_deleted();
        if (self->state.clustered()) self->state.expire_questions();
      },
      [self](changed_atom) { self->state.on_catalog(); },
      [self](const routed_call& r) { self->state.routed(r); },
      [self](const unsent_answer& a) { self->state.send_answer(a); },
  };
}

} // namespace millrace::actors::supervisor
