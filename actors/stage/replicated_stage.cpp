#include "actors/stage/replicated_stage.hpp"

#include "actors/cluster/hub.hpp"
#include "actors/cluster/services.hpp"

#include <algorithm>
#include <random>

namespace millrace::actors::stage {

using namespace std::chrono_literals;
namespace replication = storage::replication;

namespace {
constexpr auto tick_time = 25ms;
constexpr auto show_time = 200ms;
constexpr auto reopen_time = 1s;
constexpr auto room_time = 500ms;

std::uint64_t random_seed() {
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}
} // namespace

replicated_stage_state::~replicated_stage_state() {
  if (ctx && ctx->node->options.cluster) ctx->node->options.cluster->hub->leave(partition, self->address());
  if (copy) {
    copy->before_write({});
    copy->end_epoch();
  }
}

storage::replication::instant replicated_stage_state::now() const {
  return std::chrono::duration_cast<replication::instant>(clock::now().time_since_epoch());
}

void replicated_stage_state::open() {
  storage::partition_options options;
  options.compression = ctx->spec->log.compression;
  options.node = ctx->node->options.name;
  auto& store = *ctx->node->options.store;
  auto opened = store.open_replica(ctx->uid, partition.partition, options);
  if (!opened && opened.error().is(storage::errc::corrupt)) {
    // replication.md section 10: what is damaged here is intact elsewhere. A new copy, outside of the in-sync set until refilled.
    ctx->node->log("error", ctx->component("stage"),
                   "this node's copy is damaged and is made anew from the leader's: " + opened.error().message);
    if (auto dropped = store.reject_replica(ctx->uid, partition.partition); !dropped)
      return disk_failed(dropped.error(), "dropping a damaged copy");
    opened = store.open_replica(ctx->uid, partition.partition, options);
  }
  if (!opened) {
    if (opened.error().is(storage::errc::no_space)) return reopen(opened.error().message);
    return disk_failed(opened.error(), "opening this node's copy");
  }
  log = opened.value().log;
  copy = opened.value().replica;
  log->take_writer();
  auto letters = store.dead_letters(ctx->uid, partition.partition);
  if (!letters) return disk_failed(letters.error(), "opening the dead letters");
  dead_letters = std::move(letters).value();

  disk = std::make_unique<replication::replica_log_storage>(*copy);
  replication::options made;
  made.node = ctx->node->options.name;
  made.partition = partition;
  made.seed = random_seed();
  replica = std::make_unique<machine>(made, *disk);
  copy->before_write([this](std::span<const storage::raw_entry> entries) {
    replica->appending(entries);
    // Followers write these while this node does. Not from inside of act(): it goes on by itself.
    if (acting) return;
    for (auto& a : replica->take_actions()) std::visit([this](auto& x) { perform(x); }, a);
  });
  replica->start(now());
  if (full) replica->no_room();
  const auto& cluster = *ctx->node->options.cluster;
  cluster.hub->enroll(partition, stage_actor{self});
  on_members(cluster.members());
}

void replicated_stage_state::reopen(const std::string& why) {
  lost_leadership(why);
  full = true;
  set_blocked(why);
  if (copy) copy->before_write({});
  replica.reset();
  disk.reset();
  self->delayed_send(self, reopen_time, flush_atom::value);
}

void replicated_stage_state::disk_failed(const failure& why, const char* what) {
  if (why.is(storage::errc::no_space)) return reopen(why.message);
  stage_report r;
  r.following = true;
  r.why = why;
  self->send(supervisor, r);
  if (!ctx->node->fatal(why, ctx->component("stage")))
    ctx->node->log("error", ctx->component("stage"), std::string(what) + " failed: " + why.message);
  lost_leadership(why.message);
  replica.reset();
  self->quit(quit_reason(why));
}

// ---- inputs

void replicated_stage_state::on_frame(const replica_frame& f) {
  if (!replica) return;
  auto message = replication::decode(f.frame->head, std::move(f.frame->parts), storage::parse_raw);
  if (!message) {
    ctx->node->log("warn", ctx->component("stage"),
                   "a replication message of " + f.from + " is refused: " + message.error().message);
    return;
  }
  replica->on_message(f.from, std::move(message).value());
  act();
}

void replicated_stage_state::on_record(const record_news& n) {
  if (n.fresh) reading = false;
  if (!replica || n.unknown) return;
  replica->on_record(n.record ? std::optional(*n.record) : std::nullopt, n.fresh);
  act();
}

void replicated_stage_state::on_proposal(const proposal_news& n) {
  if (proposing == n.id) proposing.reset();
  if (!replica) return;
  replica->proposed(n.id, n.outcome, n.mod_revision);
  act();
}

void replicated_stage_state::on_members(const members_news& n) {
  if (!replica) return;
  replica->on_members(n.sessions, n.revision, n.own);
  act();
}

void replicated_stage_state::resign() {
  if (!replica) return;
  replica->resign();
  act();
}

void replicated_stage_state::tick() {
  self->delayed_send(self, tick_time, tick_atom::value);
  if (!replica) return;
  look_for_room();
  replica->tick(now());
  act();
  if (!replica || now() - shown_at < show_time) return;
  shown_at = now();
  cluster::replica_view view;
  view.partition = partition;
  view.role = replication::to_string(replica->role());
  view.epoch = replica->epoch();
  view.start = copy->start();
  view.end = replica->end();
  view.high_watermark = replica->high_watermark();
  if (replica->role() == replication::role::leader) view.followers = replica->followers();
  for (const auto& [kind, text] : alarms) view.alarms.push_back(text);
  if (!blocked.empty()) view.alarms.push_back("appends wait: " + blocked);
  ctx->node->options.cluster->hub->publish(std::move(view));
}

// ---- what the replica wants

void replicated_stage_state::act() {
  if (acting) return;
  acting = true;
  while (replica) {
    auto actions = replica->take_actions();
    if (actions.empty()) break;
    for (auto& a : actions) {
      std::visit([this](auto& x) { perform(x); }, a);
      if (!replica) break;
    }
    if (replica) replica->synced(replica->issued()); // every disk action is synced when it returns
  }
  acting = false;
  review();
}

void replicated_stage_state::perform(replication::actions::send& a) {
  auto wire = replication::encode(a.what);
  // A lost one is asked for again; one that can never arrive must be seen.
  ctx->node->options.cluster->transport->send(
      a.to, {cluster::channel::replication, std::move(wire.head), std::move(wire.parts)},
      [ctx = ctx, to = a.to, kind = replication::kind_of(a.what)](cluster::transport::outcome o) {
        if (o == cluster::transport::outcome::failed)
          ctx->node->log("debug", ctx->component("stage"),
                         std::string("a ") + kind + " message to node " + to + " was not delivered");
      });
}

void replicated_stage_state::perform(replication::actions::append_raw& a) {
  auto ok = copy->append_raw(a.entries);
  if (ok) return;
  if (!ok.error().is(storage::errc::no_space)) return disk_failed(ok.error(), "writing entries of the leader");
  out_of_room(ok.error());
}
void replicated_stage_state::perform(replication::actions::truncate& a) {
  ctx->node->log("info", ctx->component("stage"),
                 "drops unacknowledged entries from offset " + std::to_string(a.end.value) + " on");
  if (auto ok = copy->truncate(a.end, a.seen); !ok) disk_failed(ok.error(), "truncating this copy");
}
void replicated_stage_state::perform(replication::actions::see_epoch& a) {
  if (auto ok = copy->see_epoch(a.epoch); !ok) disk_failed(ok.error(), "storing the epoch");
}
void replicated_stage_state::perform(replication::actions::reset& a) {
  ctx->node->log("info", ctx->component("stage"), "begins an empty copy at offset " + std::to_string(a.start.value));
  if (auto ok = copy->reset(a.id, a.start); !ok) disk_failed(ok.error(), "beginning an empty copy");
}
void replicated_stage_state::perform(replication::actions::begin_epoch& a) {
  if (auto ok = copy->begin_epoch(a.epoch); !ok) disk_failed(ok.error(), "writing the epoch's marker");
}
void replicated_stage_state::perform(replication::actions::end_epoch&) { copy->end_epoch(); }

void replicated_stage_state::perform(replication::actions::advance& a) {
  if (auto ok = copy->advance(a.high_watermark); !ok) return disk_failed(ok.error(), "applying acknowledged entries");
  for (const auto& d : dispatchers) self->send(d, advanced_atom::value);
}
void replicated_stage_state::perform(replication::actions::acknowledged& a) {
  while (!sent.empty() && sent.front().end <= a.high_watermark) {
    sent.front().promise.deliver(sent.front().reply);
    sent.pop_front();
  }
}

void replicated_stage_state::perform(replication::actions::trim& a) {
  if (auto ok = copy->trim_to(a.start); !ok) disk_failed(ok.error(), "dropping entries that the leader dropped");
}

void replicated_stage_state::perform(replication::actions::propose& a) {
  if (proposing == a.id) return; // its answer is on the way
  proposing = a.id;
  ctx->node->log("debug", ctx->component("stage"), std::string("proposes to the catalog: ") + a.why);
  self->send(registrar, catalog_request{partition, a});
}
void replicated_stage_state::perform(replication::actions::read_record& a) {
  if (reading) return;
  reading = true;
  self->send(registrar, catalog_request{partition, a});
}
void replicated_stage_state::perform(replication::actions::announce_store& a) {
  self->send(registrar, catalog_request{partition, a});
}

void replicated_stage_state::perform(replication::actions::role_changed& a) {
  ctx->node->log("info", ctx->component("stage"),
                 std::string("is ") + to_string(a.role) + " in epoch " + std::to_string(a.epoch.value));
  if (a.role != replication::role::leader) lost_leadership("another node leads the partition, or none yet");
  report();
}

void replicated_stage_state::perform(replication::actions::alarm& a) {
  if (a.raised) {
    if (alarms[a.kind] != a.text) ctx->node->log("warn", ctx->component("stage"), a.text);
    alarms[a.kind] = a.text;
  } else if (alarms.erase(a.kind) > 0) {
    ctx->node->log("info", ctx->component("stage"), std::string("no longer: ") + to_string(a.kind));
  }
  report();
}

/// What follows from the replica's new state.
void replicated_stage_state::review() {
  if (!replica) return;
  const bool led = leading;
  if (!leading && replica->role() == replication::role::leader && log->info().epoch == replica->epoch() &&
      replica->end().value > 0 && replica->high_watermark() == replica->end()) {
    leading = true;
    set_blocked({});
  }
  if (leading != led) report();
  answer_attaching();
  if (leading && !waiting.empty() && replica->may_append()) flush();
}

void replicated_stage_state::lost_leadership(const std::string& why) {
  auto lost = std::exchange(sent, {});
  auto unsent = waiting.abandon();
  const bool led = std::exchange(leading, false);
  append_reply refused;
  refused.why = make_failure(errc::log_unavailable, why);
  for (auto& a : lost) a.promise.deliver(refused);
  for (auto& r : unsent) r.promise.deliver(refused);
  attach_reply closed;
  closed.why = refused.why;
  for (auto& p : std::exchange(attaching, {})) p.deliver(closed);
  if (led) report();
}

void replicated_stage_state::report() {
  stage_report r;
  r.role = replica ? to_string(replica->role()) : "starting";
  r.opened = leading;
  r.following = !leading;
  r.log = log;
  r.dead_letters = dead_letters;
  r.waiting = blocked;
  for (const auto& [kind, text] : alarms)
    if (r.waiting.empty() && kind != replication::alarm_kind::damaged) r.waiting = text;
  self->send(supervisor, r);
}

/// Nothing was written. The others go on without this copy, and it takes entries again once there is room.
void replicated_stage_state::out_of_room(const failure& why) {
  full = true;
  looked_at = now();
  set_blocked(why.message);
  replica->no_room();
}

void replicated_stage_state::look_for_room() {
  if (!full || now() - looked_at < room_time) return;
  looked_at = now();
  const auto space = ctx->node->options.store->space();
  // Room for a message of the leader, once in the WAL and once in a file: else the next one would be refused again.
  if (space.free_bytes < space.reserve_bytes + 2 * replication::limits{}.message_bytes) return;
  full = false;
  set_blocked({});
  replica->room();
}

void replicated_stage_state::set_blocked(std::string why) {
  if (why == blocked) return;
  blocked = std::move(why);
  ctx->node->log(blocked.empty() ? "info" : "warn", ctx->component("stage"),
                 blocked.empty() ? "appends go on" : "appends wait: " + blocked);
  report();
}

void replicated_stage_state::trim(storage::offset floor) {
  if (!leading) return;
  const auto before = log->info().first;
  auto first = log->trim(ctx->spec->log.retention, floor, storage::now(), ctx->spec->log.retention_force);
  if (!first) {
    if (!ctx->node->fatal(first.error(), ctx->component("stage")))
      ctx->node->log("warn", ctx->component("stage"), "retention could not drop files: " + first.error().message);
    return;
  }
  if (first.value() <= before) return;
  ctx->node->log("info", ctx->component("stage"), "retention dropped offsets below " + std::to_string(first.value().value));
  replica->trimmed(first.value());
  act();
}

stage_actor::behavior_type replicated_stage(stage_actor::stateful_pointer<replicated_stage_state> self, pipeline_context_ptr ctx,
                                            pipeline_actor supervisor, registrar_actor registrar) {
  set_crash_handler(self, ctx, ctx->component("stage"));
  auto& st = self->state;
  st.partition = {ctx->uid, 0};
  st.ctx = std::move(ctx);
  st.supervisor = std::move(supervisor);
  st.registrar = std::move(registrar);
  self->set_down_handler([self](caf::down_msg& down) {
    std::erase_if(self->state.dispatchers, [&](const dispatcher_actor& d) { return d.address() == down.source; });
  });
  st.open();
  st.tick();
  return {
      [self](attach_atom) { return self->state.attach(); },
      [self](append_request& request) { return self->state.append(request); },
      [self](const quarantine_request& request) { return self->state.quarantine(request); },
      [self](const control_request& request) { return self->state.control(request); },
      [self](flush_atom) {
        if (self->state.replica)
          self->state.flush();
        else
          self->state.open();
      },
      [self](subscribe_atom, const dispatcher_actor& d) {
        auto& all = self->state.dispatchers;
        if (std::find(all.begin(), all.end(), d) == all.end()) {
          all.push_back(d);
          self->monitor(d);
        }
        self->send(d, advanced_atom::value);
      },
      [self](const trim_request& request) { self->state.trim(request.floor); },
      [self](const replica_frame& f) { self->state.on_frame(f); },
      [self](const record_news& n) { self->state.on_record(n); },
      [self](const members_news& n) { self->state.on_members(n); },
      [self](const proposal_news& n) { self->state.on_proposal(n); },
      [self](tick_atom) { self->state.tick(); },
      [self](resign_atom) { self->state.resign(); },
  };
}

} // namespace millrace::actors::stage
