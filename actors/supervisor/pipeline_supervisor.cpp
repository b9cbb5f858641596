#include "actors/supervisor/pipeline_supervisor.hpp"

#include "actors/cluster/hub.hpp"
#include "actors/cluster/services.hpp"
#include "actors/dead_letter/alerts.hpp"
#include "actors/ingest/http/push_ingest.hpp"
#include "actors/ingest/ingest.hpp"
#include "actors/load/dispatcher.hpp"
#include "actors/load/worker.hpp"
#include "actors/load/writer.hpp"
#include "actors/stage/replicated_stage.hpp"
#include "actors/stage/stage.hpp"

#include <algorithm>

namespace millrace::actors::supervisor {

using namespace std::chrono_literals;

namespace {
constexpr auto tick_time = 100ms;
constexpr std::uint64_t ticks_between_trims = 50;
constexpr auto drain_time = 4s;
} // namespace

pipeline_state::~pipeline_state() {
  for (auto& [id, c] : children)
    if (c.handle) caf::anon_send_exit(caf::actor_cast<caf::actor>(c.handle), caf::exit_reason::user_shutdown);
}

// ---- starting and stopping

void pipeline_state::start() {
  spawn(add(role::alerts, -1));
  spawn(add(role::stage, -1));
}

void pipeline_state::start_workload() {
  // Until a load's writer has claimed anew, its last word stands: an offset of 0 would be a lie to whoever looks meanwhile.
  std::map<std::string, writer_report> last_words;
  for (auto& l : loads)
    if (l.writer.next.value > 0) last_words[l.spec->name] = l.writer;
  loads.clear();
  ingest_failed.clear();
  source = {};
  for (const auto& spec : ctx->spec->loads) {
    load_runtime l;
    l.spec = std::make_shared<const load_spec>(spec);
    const auto node_max = std::max(1u, ctx->node->options.limits.workers);
    autoscale_bounds bounds;
    bounds.min = std::clamp(spec.workers.min, 1u, node_max);
    bounds.max = spec.workers.max == 0 ? node_max : std::clamp(spec.workers.max, bounds.min, node_max);
    bounds.target_depth = spec.workers.target_depth;
    l.scale = autoscale_policy(bounds);
    l.moved_at = clock::now();
    l.writer = last_words[spec.name];
    l.writer.waiting.clear();
    l.writer.queued = 0;
    loads.push_back(std::move(l));
  }
  for (int i = 0; i < static_cast<int>(loads.size()); ++i) start_load(i);
  spawn(add(role::ingest, -1));
}

void pipeline_state::start_load(int load) {
  auto& l = loads[static_cast<std::size_t>(load)];
  l.failed.clear();
  l.writer_ready = false;
  spawn(add(role::writer, load));
  for (std::uint32_t i = 0; i < l.scale.current().workers; ++i) spawn(add(role::worker, load));
  spawn(add(role::dispatcher, load)); // last: wiring it to the writer starts the flow
}

/// Ingest and writers finish what they hold, then everything but stage and alerts ends; after_stop() goes on.
void pipeline_state::stop_workload(bool at_once) {
  if (stopping) return;
  stopping = true;
  draining = 1;
  auto done = [this] {
    if (--draining > 0) return;
    for (auto it = children.begin(); it != children.end();) {
      auto& c = it->second;
      if (c.what == role::stage || c.what == role::alerts) {
        ++it;
        continue;
      }
      const bool alive = c.handle && c.state != child_state::restarting && c.state != child_state::failed;
      if (!alive) {
        it = children.erase(it);
        continue;
      }
      c.state = child_state::stopping;
      self->send_exit(caf::actor_cast<caf::actor>(c.handle), caf::exit_reason::user_shutdown);
      ++it;
    }
    stopped_one();
  };
  for (auto& [id, c] : children) {
    if (at_once || !c.handle || c.state == child_state::restarting || c.state == child_state::failed) continue;
    if (c.what == role::ingest) {
      ++draining;
      self->request(caf::actor_cast<ingest_actor>(c.handle), drain_time, drain_atom::value)
          .then([done](const simple_reply&) { done(); }, [done](const caf::error&) { done(); });
    } else if (c.what == role::writer) {
      ++draining;
      self->request(caf::actor_cast<writer_actor>(c.handle), drain_time, drain_atom::value)
          .then([done](const simple_reply&) { done(); }, [done](const caf::error&) { done(); });
    }
  }
  done();
}

void pipeline_state::stopped_one() {
  if (!stopping || draining > 0) return;
  for (const auto& [id, c] : children)
    if (c.state == child_state::stopping) return;
  after_stop();
}

void pipeline_state::after_stop() {
  stopping = false;
  if (next_ctx) {
    next_ctx->log = ctx->log;
    next_ctx->dead_letters = ctx->dead_letters;
    ctx = std::move(next_ctx);
    next_ctx.reset();
  }
  if (quitting) {
    for (auto& [id, c] : children)
      if (c.handle) self->send_exit(caf::actor_cast<caf::actor>(c.handle), caf::exit_reason::user_shutdown);
    children.clear();
    ctx->log.reset();
    ctx->dead_letters.reset();
    router->remove(ctx->spec->name);
    for (auto& p : on_quit) p.deliver(simple_reply{});
    self->quit();
    return;
  }
  if (!paused && opened) start_workload();
  update_route();
  for (auto& p : on_stopped) p.deliver(document({{"pipeline", ctx->spec->name}, {"state", state().first}}));
  on_stopped.clear();
}

// ---- children

pipeline_state::child& pipeline_state::add(role what, int load) {
  const auto id = next_child++;
  auto& c = children[id];
  c.id = id;
  c.what = what;
  c.load = load;
  return c;
}

void pipeline_state::spawn(child& c) {
  c.state = child_state::starting;
  c.waiting.clear();
  const pipeline_actor me{self};
  const pipeline_context_ptr shared = std::make_shared<const pipeline_context>(*ctx);
  constexpr auto how = caf::detached + caf::monitored; // every one of them may wait for a disk, a client library or a script
  auto load_spec_of = [&] { return loads[static_cast<std::size_t>(c.load)].spec; };
  auto keep = [&](const auto& h) { c.handle = caf::actor_cast<caf::strong_actor_ptr>(h); };
  switch (c.what) {
  case role::stage:
    if (const auto& cluster = ctx->node->options.cluster)
      keep(self->spawn<how>(stage::replicated_stage, shared, me, cluster->hub->registrar()));
    else
      keep(self->spawn<how>(stage::stage, shared, me));
    break;
  case role::ingest: {
    auto s = handle<stage_actor>(role::stage);
    if (ctx->spec->source.type == "http")
      keep(self->spawn<how>(ingest::push_ingest, shared, me, s));
    else
      keep(self->spawn<how>(ingest::ingest, shared, me, s));
    break;
  }
  case role::writer:
    keep(self->spawn<how>(load::writer, shared, load_spec_of(), me, handle<stage_actor>(role::stage)));
    break;
  case role::dispatcher:
    keep(self->spawn<how>(load::dispatcher, shared, load_spec_of()->name, me));
    break;
  case role::worker:
    keep(self->spawn<how>(load::worker, shared, load_spec_of(), me));
    break;
  case role::alerts:
    keep(self->spawn<how>(dead_letter::alerts, shared));
    ready(c);
    break;
  }
  wire(c);
}

/// Tells a new child to those that need it, and those that it needs.
void pipeline_state::wire(child& c) {
  switch (c.what) {
  case role::stage:
    for (auto& [id, other] : children) {
      if (!other.handle || other.state == child_state::failed || other.state == child_state::restarting) continue;
      if (other.what == role::ingest)
        self->send(caf::actor_cast<ingest_actor>(other.handle), wire_atom::value, caf::actor_cast<stage_actor>(c.handle));
      if (other.what == role::writer) self->send(caf::actor_cast<writer_actor>(other.handle), wire_atom::value, c.handle);
      if (other.what == role::dispatcher)
        self->send(caf::actor_cast<stage_actor>(c.handle), subscribe_atom::value,
                   caf::actor_cast<dispatcher_actor>(other.handle));
    }
    break;
  case role::writer:
    if (auto d = handle<dispatcher_actor>(role::dispatcher, c.load))
      self->send(caf::actor_cast<writer_actor>(c.handle), wire_atom::value, d);
    break;
  case role::dispatcher: {
    auto d = caf::actor_cast<dispatcher_actor>(c.handle);
    for (auto& [id, other] : children)
      if (other.what == role::worker && other.load == c.load && other.handle) {
        if (other.state == child_state::stopping) // was retiring with the old one
          self->send_exit(caf::actor_cast<caf::actor>(other.handle), caf::exit_reason::user_shutdown);
        else
          self->send(d, wire_atom::value, other.handle);
      }
    if (auto s = handle<stage_actor>(role::stage)) self->send(s, subscribe_atom::value, d);
    if (auto w = handle<writer_actor>(role::writer, c.load)) self->send(w, wire_atom::value, d);
    break;
  }
  case role::worker:
    if (auto d = handle<dispatcher_actor>(role::dispatcher, c.load)) self->send(d, wire_atom::value, c.handle);
    break;
  case role::ingest:
    update_route();
    break;
  case role::alerts:
    break;
  }
}

pipeline_state::child* pipeline_state::find(const caf::actor_addr& source) {
  for (auto& [id, c] : children)
    if (c.handle && c.handle->address() == source) return &c;
  return nullptr;
}

pipeline_state::child* pipeline_state::first(role what, int load) {
  for (auto& [id, c] : children)
    if (c.what == what && c.load == load && c.handle && c.state != child_state::restarting && c.state != child_state::failed)
      return &c;
  return nullptr;
}

std::uint64_t pipeline_state::progress_of(const child& c) const {
  switch (c.what) {
  case role::stage:
  case role::ingest:
    return ctx->log ? ctx->log->info().next.value : 0;
  case role::alerts:
    return ticks;
  default:
    return c.load >= 0 ? loads[static_cast<std::size_t>(c.load)].writer.next.value : 0;
  }
}

void pipeline_state::down(const caf::down_msg& message) {
  auto* c = find(message.source);
  if (!c) return;
  if (c->what == role::worker && c->load >= 0)
    if (auto d = handle<dispatcher_actor>(role::dispatcher, c->load)) self->send(d, lost_atom::value, message.source);
  if (c->state == child_state::stopping || (c->what == role::worker && message.reason == caf::exit_reason::user_shutdown)) {
    children.erase(c->id);
    return stopped_one();
  }
  if (c->state == child_state::failed) return;
  const auto why = describe(message.reason, self->system());
  c->handle = nullptr;
  c->last_error = why;
  c->down_at = clock::now();
  if (c->what == role::ingest) update_route();
  if (stopping) {
    children.erase(c->id);
    return stopped_one();
  }
  if (needs_operator(message.reason)) return give_up(*c, why);
  const double jitter = std::uniform_real_distribution<double>(0, 1)(random);
  const auto delay = c->policy.failed(*c->down_at, progress_of(*c), jitter);
  if (!delay) return give_up(*c, "failed too often, the last time with: " + why);
  c->state = child_state::restarting;
  ++c->restarts;
  ++restarts_by_role[c->what];
  ctx->node->log("warn", id_of(*c),
                 "ended (" + why + "), starts again" +
                     (delay->count() == 0 ? "" : " in " + std::to_string(delay->count()) + " ms"));
  if (delay->count() == 0)
    restart(c->id);
  else
    self->delayed_send(self, *delay, restart_atom::value, c->id);
}

void pipeline_state::restart(std::uint64_t id) {
  const auto it = children.find(id);
  if (it == children.end() || it->second.state != child_state::restarting) return;
  spawn(it->second);
}

/// Siblings go on; what cannot work without this one ends with it, and an operator's `resume` starts it all again.
void pipeline_state::give_up(child& c, const std::string& why) {
  c.state = child_state::failed;
  ctx->node->log("error", id_of(c), "failed, `millrace pipeline resume " + ctx->spec->name + "` tries again: " + why);
  switch (c.what) {
  case role::stage:
    stage_failed = why;
    break;
  case role::ingest:
    ingest_failed = why;
    break;
  case role::dispatcher:
  case role::worker:
  case role::writer: {
    loads[static_cast<std::size_t>(c.load)].failed = why;
    for (auto& [id, other] : children) {
      if (other.load != c.load || id == c.id || other.state == child_state::failed) continue;
      if (other.handle) self->send_exit(caf::actor_cast<caf::actor>(other.handle), caf::exit_reason::user_shutdown);
      other.state = child_state::failed;
    }
    break;
  }
  case role::alerts:
    break;
  }
  if (auto a = handle<alerts_actor>(role::alerts)) {
    failure_report report;
    report.load = c.load >= 0 ? loads[static_cast<std::size_t>(c.load)].spec->name : "";
    report.reason = "failed";
    report.count = 1;
    report.first = report.last = storage::now();
    report.text = id_of(c) + ": " + why;
    self->send(a, report);
  }
}

void pipeline_state::ready(child& c) {
  if (c.state != child_state::starting) return;
  c.state = child_state::running;
  if (c.down_at) {
    c.recovery_seconds = std::chrono::duration<double>(clock::now() - *c.down_at).count();
    recovery.add(c.recovery_seconds);
    c.down_at.reset();
  }
}

void pipeline_state::update_route() {
  push_router::target t;
  t.pushed = ctx->spec->source.type == "http";
  t.token = ctx->spec->source.token;
  t.ingest = handle<ingest_actor>(role::ingest);
  if (following) t.waiting = "another node leads the pipeline, or none yet";
  if (paused) t.waiting = "the pipeline is paused";
  if (!stage_waiting.empty()) t.waiting = stage_waiting;
  if (!stage_failed.empty()) t.waiting = stage_failed;
  if (t.waiting.empty() && !t.ingest) t.waiting = "the pipeline is starting";
  router->set(ctx->spec->name, std::move(t));
}

// ---- watching

void pipeline_state::tick() {
  ++ticks;
  if (opened && !paused && !stopping) {
    for (int i = 0; i < static_cast<int>(loads.size()); ++i) scale(i);
    const auto& keep = ctx->spec->log.retention;
    if (ticks % ticks_between_trims == 0 && (keep.time.count() > 0 || keep.bytes > 0)) {
      storage::offset floor{~0ull};
      bool known = !loads.empty();
      for (const auto& l : loads) {
        known = known && l.writer_ready; // a load that never reported may need everything
        floor = std::min(floor, l.writer.next);
      }
      if (known || ctx->spec->log.retention_force)
        if (auto s = handle<stage_actor>(role::stage)) self->send(s, trim_request{known ? floor : storage::offset{0}});
    }
  }
  check_redrives();
  check_early();
  self->delayed_send(self, tick_time, tick_atom::value);
}

void pipeline_state::scale(int load) {
  auto& l = loads[static_cast<std::size_t>(load)];
  if (!l.failed.empty()) return;
  const auto before = l.scale.current().workers;
  const auto& wanted = l.scale.look(clock::now(), l.depth);
  if (wanted.workers == before) return;
  ctx->node->log("info", ctx->component("autoscaler", l.spec->name), wanted.why);
  if (wanted.workers > before) {
    for (auto n = before; n < wanted.workers; ++n) spawn(add(role::worker, load));
    return;
  }
  for (auto it = children.rbegin(); it != children.rend(); ++it) {
    auto& c = it->second;
    if (c.what != role::worker || c.load != load || c.state != child_state::running || !c.handle) continue;
    c.state = child_state::stopping;
    if (auto d = handle<dispatcher_actor>(role::dispatcher, load)) self->send(d, retire_atom::value, c.handle);
    return;
  }
}

void pipeline_state::on_stage(const stage_report& r) {
  if (r.why.code) stage_failed = r.why.message;
  following = r.following;
  stage_role = r.role;
  if (r.following) {
    if (auto* c = first(role::stage)) ready(*c);
    if (std::exchange(opened, false)) stop_workload(true); // who leads now fences what may still be under way
  }
  stage_waiting = r.waiting;
  if (r.opened) {
    ctx->log = r.log;
    ctx->dead_letters = r.dead_letters;
    stage_failed.clear();
    if (auto* c = first(role::stage)) ready(*c);
    if (!opened) {
      opened = true;
      if (!paused && !stopping) start_workload();
    }
  }
  check_early();
  update_route();
}

void pipeline_state::on_ingest(const ingest_report& r) {
  source = r;
  if (auto* c = find(caf::actor_cast<caf::actor_addr>(self->current_sender()))) {
    if (r.ready) ready(*c);
    c->waiting = !r.waiting.empty() ? r.waiting : r.source.waiting;
  }
}

void pipeline_state::on_writer(const writer_report& r) {
  auto* c = find(caf::actor_cast<caf::actor_addr>(self->current_sender()));
  if (!c || c->load < 0) return;
  auto& l = loads[static_cast<std::size_t>(c->load)];
  if (r.ready) ready(*c);
  c->waiting = r.waiting;
  if (r.ready || l.writer_ready) {
    if (r.next != l.writer.next) l.moved_at = clock::now();
    l.writer = r;
    l.writer_ready = true;
  } else {
    l.writer.waiting = r.waiting;
  }
  if (r.commit_seconds > 0) batch_seconds["load"].add(r.commit_seconds);
  if (!redrives.empty()) check_redrives();
}

pipeline_actor::behavior_type pipeline(pipeline_actor::stateful_pointer<pipeline_state> self,
                                       std::shared_ptr<pipeline_context> ctx, std::shared_ptr<push_router> router, bool paused) {
  set_crash_handler(self, std::make_shared<const pipeline_context>(*ctx), ctx->component("supervisor"));
  auto& st = self->state;
  st.ctx = std::move(ctx);
  st.router = std::move(router);
  st.paused = paused;
  self->set_down_handler([self](caf::down_msg& m) { self->state.down(m); });
  st.start();
  self->delayed_send(self, tick_time, tick_atom::value);
  return {
      [self](const stage_report& r) { self->state.on_stage(r); },
      [self](const ingest_report& r) { self->state.on_ingest(r); },
      [self](const dispatcher_report& r) {
        auto& st = self->state;
        if (auto* c = st.find(caf::actor_cast<caf::actor_addr>(self->current_sender())); c && c->load >= 0) {
          st.loads[static_cast<std::size_t>(c->load)].depth = r.depth;
          if (r.ready) st.ready(*c);
        }
      },
      [self](const worker_report&) {
        if (auto* c = self->state.find(caf::actor_cast<caf::actor_addr>(self->current_sender()))) self->state.ready(*c);
      },
      [self](const writer_report& r) { self->state.on_writer(r); },
      [self](const failure_report& r) {
        if (auto a = self->state.handle<alerts_actor>(role::alerts)) self->send(a, r);
      },
      [self](tick_atom) { self->state.tick(); },
      [self](restart_atom, std::uint64_t id) { self->state.restart(id); },
      [self](const admin_call& c) { return self->state.call(c); },
      [self](drain_atom) -> caf::result<simple_reply> {
        auto& st = self->state;
        st.quitting = true;
        st.on_quit.push_back(self->make_response_promise<simple_reply>());
        auto promise = st.on_quit.back();
        st.stop_workload();
        return promise;
      },
      [self](update_atom, const admin_call& c, std::uint64_t revision) {
        auto& st = self->state;
        st.next_ctx = std::make_shared<pipeline_context>(*st.ctx);
        st.next_ctx->spec = c.specs.front();
        st.next_ctx->revision = revision;
        st.stop_workload();
      },
      [self](changed_atom, bool paused) {
        auto& st = self->state;
        if (st.paused == paused) return;
        st.paused = paused;
        if (paused)
          st.stop_workload();
        else if (st.opened && !st.stopping)
          st.start_workload();
        st.update_route();
      },
  };
}

} // namespace millrace::actors::supervisor
