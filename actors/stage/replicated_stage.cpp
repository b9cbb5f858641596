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
failure not_leading() { return make_failure(errc::log_unavailable, "this node does not lead the partition, or no longer"); }
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
  auto unsent = std::exchange(waiting, {});
  const bool led = std::exchange(leading, false);
  append_reply refused;
  refused.why = make_failure(errc::log_unavailable, why);
  for (auto& a : lost) a.promise.deliver(refused);
  for (auto& a : unsent) a.promise.deliver(refused);
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

// ---- appends

caf::result<attach_reply> replicated_stage_state::attach() {
  auto promise = self->make_response_promise<attach_reply>();
  if (!leading) {
    attach_reply refused;
    refused.why = not_leading();
    promise.deliver(refused);
    return promise;
  }
  flush();
  attaching.push_back(promise);
  answer_attaching();
  return promise;
}

/// The source's state follows the high watermark: whoever asks where to go on waits until it is that of the log's end.
void replicated_stage_state::answer_attaching() {
  if (attaching.empty() || !leading || !waiting.empty() || replica->high_watermark() < replica->end()) return;
  attach_reply reply;
  auto state = log->source_state();
  if (state) {
    session = std::max<std::uint64_t>(session + 1, static_cast<std::uint64_t>(storage::now().time_since_epoch().count()));
    expected_sequence = 0;
    reply.ok = true;
    reply.session = session;
    reply.state = std::move(state).value();
  } else {
    ctx->node->fatal(state.error(), ctx->component("stage"));
    reply.why = state.error();
  }
  for (auto& p : std::exchange(attaching, {})) p.deliver(reply);
}

caf::result<append_reply> replicated_stage_state::append(append_request& request) {
  auto promise = self->make_response_promise<append_reply>();
  if (!leading) {
    promise.deliver(refusal(not_leading()));
    return promise;
  }
  waiting.push_back({std::move(request), promise});
  if (!flush_sent) {
    flush_sent = true;
    self->send(self, flush_atom::value);
  }
  return promise;
}

append_reply replicated_stage_state::refusal(const failure& why) {
  append_reply reply;
  reply.why = make_failure(errc::log_unavailable, why.message);
  return reply;
}

void replicated_stage_state::flush() {
  flush_sent = false;
  if (waiting.empty() || !leading || !replica || !replica->may_append()) return;
  auto group = std::exchange(waiting, {});
  std::vector<storage::staged_batch_ptr> batches;
  std::vector<bool> taken(group.size());
  std::uint64_t advanced_by = 0;
  for (std::size_t i = 0; i < group.size(); ++i) {
    auto& request = group[i].request;
    append_reply refused;
    if (request.session != session)
      refused.why = make_failure(errc::stale_session, "another ingest has attached to the stage");
    else if (request.sequence != expected_sequence && request.sequence != append_unordered)
      refused.why = make_failure(errc::conflict, "an earlier append of this session was refused");
    else {
      taken[i] = true;
      if (request.sequence != append_unordered) ++expected_sequence, ++advanced_by;
      batches.insert(batches.end(), request.batches.begin(), request.batches.end());
      continue;
    }
    group[i].promise.deliver(refused);
  }
  if (batches.empty()) return;
  auto outcome = log->append(batches);
  if (!outcome) {
    expected_sequence -= advanced_by;
    const auto refused = refusal(outcome.error());
    for (std::size_t i = 0; i < group.size(); ++i)
      if (taken[i]) group[i].promise.deliver(refused);
    if (!outcome.error().is(storage::errc::no_space)) return disk_failed(outcome.error(), "an append");
    out_of_room(outcome.error());
    return act();
  }
  if (full) {
    full = false;
    replica->room();
  }
  set_blocked({});
  append_reply reply;
  reply.ok = true;
  reply.first = outcome.value();
  const auto end = log->info().next;
  for (std::size_t i = 0; i < group.size(); ++i) {
    if (!taken[i]) continue;
    sent.push_back({end, reply, group[i].promise});
    for (const auto& batch : group[i].request.batches) reply.first.value += batch->count();
  }
  replica->synced(replica->issued());
  act();
}

caf::result<append_reply> replicated_stage_state::decided(const result<storage::offset>& outcome) {
  auto promise = self->make_response_promise<append_reply>();
  if (!outcome) {
    promise.deliver(refusal(outcome.error()));
    if (outcome.error().is(storage::errc::io_failed)) disk_failed(outcome.error(), "an append");
    if (!outcome.error().is(storage::errc::no_space)) return promise;
    out_of_room(outcome.error());
    act();
    return promise;
  }
  append_reply reply;
  reply.ok = true;
  reply.first = outcome.value();
  sent.push_back({log->info().next, reply, promise});
  replica->synced(replica->issued());
  act();
  // All of it may have been decided, and acknowledged, before: then no new acknowledgement comes.
  replication::actions::acknowledged now_acknowledged{replica ? replica->high_watermark() : storage::offset{}};
  perform(now_acknowledged);
  return promise;
}

caf::result<append_reply> replicated_stage_state::control(const control_request& request) {
  flush();
  if (!leading) return refusal(not_leading());
  switch (request.kind) {
  case storage::batch_kind::redrive:
    return decided(log->append_redrive(request.load, request.offsets, request.flag));
  case storage::batch_kind::discard:
    return decided(log->append_discard(request.load, request.offsets));
  case storage::batch_kind::rewind:
    return decided(log->append_rewind(request.load, request.to, request.flag));
  case storage::batch_kind::outcomes:
    return decided(log->append_outcomes(request.load, request.to, request.outcomes));
  case storage::batch_kind::rewound:
    return decided(log->append_rewound(request.load));
  default: {
    append_reply refused;
    refused.why = make_failure(errc::invalid, "no such control entry");
    return refused;
  }
  }
}

caf::result<append_reply> replicated_stage_state::quarantine(const quarantine_request& request) {
  flush();
  if (!leading) return refusal(not_leading());
  return decided(log->append_quarantine(request.load, request.letters));
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
