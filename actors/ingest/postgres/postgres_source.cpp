#include "actors/ingest/postgres/postgres_source.hpp"

#include <poll.h>

#include <algorithm>

namespace millrace::actors::ingest::postgres {

using namespace std::chrono_literals;

namespace {
constexpr auto gather_time = 3ms; ///< for a block, while earlier ones are on their way into the log
constexpr auto gather_time_behind = 20ms;
constexpr std::uint64_t behind_bytes = 1u << 20; ///< of the source's log that are still to come
constexpr int messages_a_turn = 4096;

/// Sleeps between two reads of a far backlog: for how long, and what they should find.
struct sleeps {
  std::chrono::microseconds min, max;
  std::uint64_t few, many;
};
/// Of 280 messages that a local socket's usual 208 KiB take if they are small: each costs the kernel 768 bytes.
constexpr sleeps by_messages{100us, 1000us, 35, 140};
/// Of the 2.5 MiB that the server's side of a TCP connection takes by default.
constexpr sleeps by_bytes{1000us, 10000us, 256u << 10, 768u << 10};
constexpr std::uint64_t note_bytes =
    16u << 20; ///< of the source's log that may pass without a change before the position is noted
} // namespace

postgres_source::postgres_source(postgres_source_spec spec)
    : spec_(std::move(spec)),
      framer_(spec_.slot, transaction_framer::limits{}, [this](std::vector<storage::state_entry>& to) { add_state(to); }) {
  for (auto& name : spec_.tables)
    if (name.find('.') == std::string::npos) name = "public." + name;
}
postgres_source::~postgres_source() = default;

void postgres_source::add_state(std::vector<storage::state_entry>& to) {
  std::move(pending_state_.begin(), pending_state_.end(), std::back_inserter(to));
  pending_state_.clear();
  snapshots_->collect(to);
}

result<void> postgres_source::open(std::span<const storage::state_entry> state) {
  std::unordered_set<std::string> known;
  stream_position position;
  for (const auto& e : state) {
    const auto unreadable = [&] {
      return make_failure(errc::log_mismatch, "state_unreadable: the log's state \"" + e.key + "\" is \"" + e.value +
                                                  "\", which this version does not know");
    };
    if (e.key == source_key) {
      identity_ = decode_identity(e.value);
      if (!identity_) return unreadable();
    } else if (e.key == position_key) {
      const auto p = decode_position(e.value);
      if (!p) return unreadable();
      position = *p;
    } else if (e.key.starts_with(table_prefix)) {
      known.insert(e.key.substr(table_prefix.size()));
    }
  }
  snapshot_coordinator::options o;
  o.pool.conninfo = spec_.connection;
  o.pool.application_name = application_name();
  o.pool.workers = spec_.snapshot_workers;
  o.pool.rate = spec_.snapshot_rate;
  o.publication = spec_.publication;
  o.mode = spec_.snapshot;
  o.chunk_rows = spec_.snapshot_chunk_rows;
  snapshots_ = std::make_unique<snapshot_coordinator>(std::move(o));
  const bool only = spec_.snapshot == snapshot_mode::only;
  if (only && identity_)
    notices_.push_back("source.snapshot is only: the source's slot " + identity_->slot +
                       " is not read any more, but keeps its WAL until it is dropped");
  if (auto ok = snapshots_->load(state, spec_.tables, !only && !identity_); !ok) return ok.error();
  routes_ = std::make_unique<relation_routes>(std::move(known));
  framer_.restart(position);
  confirmed_ = told_ = position.end;
  opened_ = true;
  return connect();
}

result<std::optional<storage::change_block>> postgres_source::poll(std::chrono::milliseconds wait) {
  if (!opened_) return make_failure(errc::refused, "the source was not opened");
  if (auto block = hand_out()) return block;
  const auto until = clock::now() + wait;
  if (phase_ == phase::disconnected)
    if (auto ok = connect(); !ok) return ok.error();
  if (phase_ == phase::creating_slot) {
    auto made = slot_made(wait);
    if (!made) return disconnect(made.error());
    if (!made.value()) return std::optional<storage::change_block>{};
  }
  while (true) {
    bool waiting = false;
    if (auto ok = turn(waiting); !ok) return disconnect(ok.error());
    if (auto block = hand_out()) return block;
    if (clock::now() >= until) return std::optional<storage::change_block>{};
    if (waiting) wait_for_more(until);
  }
}

std::optional<storage::change_block> postgres_source::hand_out() {
  auto block = framer_.take();
  if (block) ++handed_out_;
  return block;
}

result<void> postgres_source::turn(bool& waiting) {
  if (auto ok = tend(); !ok) return ok.error();
  snapshots_->clear_wake();
  if (auto ok = snapshots_->step(*side_, framer_); !ok) return ok.error();
  if (framer_.has_ready()) return success();
  const auto place = [&]() -> result<bool> {
    if (!framer_.between() || !snapshots_->placeable(reached_)) return false;
    framer_.cut(); // the rows come behind it
    gathering_ = false;
    return snapshots_->place(reached_, framer_);
  };
  // Rows and changes take turns, so that neither waits for the end of the other.
  if (!std::exchange(placed_last_, false)) {
    auto placed = place();
    if (!placed) return placed.error();
    placed_last_ = placed.value();
    if (placed.value()) return success();
  }
  bool dry = true;
  if (stream_ && !snapshots_->holds_stream())
    if (auto ok = drain(dry); !ok) return ok.error();
  if (!dry && !framer_.has_ready()) note_position();
  if (framer_.has_ready() || !dry) return success();
  if (framer_.has_changes()) {
    if (!std::exchange(gathering_, true)) gathering_since_ = clock::now();
    if (may_cut()) {
      framer_.cut();
      gathering_ = false;
      return success();
    }
  } else {
    gathering_ = false;
  }
  auto placed = place();
  if (!placed) return placed.error();
  if (placed.value()) return success();
  note_position();
  if (framer_.has_ready()) return success();
  if (auto ok = nudge(); !ok) return ok.error();
  waiting = true;
  return success();
}

/// A lone commit goes at once; while the log is busy with earlier ones it is worth waiting for company.
bool postgres_source::may_cut() const {
  if (framer_.in_transaction()) return false;
  const auto gathered = clock::now() - gathering_since_;
  return behind() ? gathered >= gather_time_behind : handed_out_ == acknowledged_ || gathered >= gather_time;
}

/// There is more at the source than a glance away: then throughput counts, not the latency of each commit.
bool postgres_source::behind() const { return source_end_.value > reached_.value + behind_bytes; }

void postgres_source::wait_for_more(clock::time_point until) {
  const auto now = clock::now();
  if ((behind() || framer_.in_transaction()) && phase_ == phase::streaming && !snapshots_->holds_stream()) {
    doze();
    return;
  }
  if (gathering_ && !framer_.in_transaction()) until = std::min(until, std::max(now, gathering_since_ + gather_time));
  until = std::min(until, now + 20ms);
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(std::max(until - now, clock::duration{0})).count();
  pollfd fds[2];
  nfds_t n = 0;
  if (stream_ && !snapshots_->holds_stream())
    fds[n++] = {stream_->socket(), static_cast<short>(POLLIN | (stream_->sending() ? POLLOUT : 0)), 0};
  if (snapshots_->wake_fd() >= 0) fds[n++] = {snapshots_->wake_fd(), POLLIN, 0};
  ::poll(fds, n, static_cast<int>(ms));
}

/// The server sends each change by itself, and being woken for each would cost both sides more than the change does. But a socket
/// holds only so many of them, and while it is full the server stands still: sleep until it is about half full.
void postgres_source::doze() {
  const bool long_ones = behind() && !stream_->local(); // else the rest of a transaction is about to come
  const auto& s = long_ones ? by_bytes : by_messages;
  const auto taken = stream_->taken();
  const auto found = long_ones ? taken.bytes : taken.messages;
  if (found > s.many)
    doze_ /= 2;
  else if (found < s.few)
    doze_ *= 2;
  doze_ = std::clamp(doze_, s.min, s.max);
  const timespec time{0, std::chrono::nanoseconds(doze_).count()};
  ::ppoll(nullptr, 0, &time, nullptr);
}

result<void> postgres_source::drain(bool& dry) {
  dry = false;
  // In bounded turns: changes of tables that are not ours make no blocks, and feedback is due meanwhile.
  for (int left = messages_a_turn; left != 0 && !framer_.has_ready(); --left) {
    if (framer_.full() && !framer_.in_transaction()) {
      framer_.cut();
      gathering_ = false;
      break;
    }
    auto m = stream_->next();
    if (!m) return m.error();
    if (!m.value()) {
      dry = true;
      break;
    }
    const auto& message = *m.value();
    if (message.keepalive) {
      if (!framer_.in_transaction()) {
        reached_ = std::max(reached_, message.wal_end);
        framer_.reached(message.wal_end);
      }
      if (message.reply_requested)
        if (auto ok = feed_back(false); !ok) return ok.error();
      continue;
    }
    const bool begins = message.body.starts_with('B');
    if (auto ok = received(message.body); !ok) return ok.error();
    if (begins && snapshots_->placeable(reached_)) break; // rows that belong before this transaction
  }
  return success();
}

result<void> postgres_source::received(std::string_view message) {
  const auto malformed = [&] {
    return make_failure(errc::refused, "protocol: a message of pgoutput of kind '" + std::string(message.substr(0, 1)) +
                                           "' and " + std::to_string(message.size()) + " bytes is malformed (PostgreSQL " +
                                           side_->name() + ")");
  };
  switch (message.empty() ? 0 : message[0]) {
  case 'I':
  case 'U':
  case 'D':
    return row(message);
  case 'T':
    return truncated(message);
  case 'B': {
    const auto m = read_begin(message);
    if (!m) return malformed();
    reached_ = std::max(reached_, m->commit); // transactions come in the order of their commits
    return framer_.begin(*m);
  }
  case 'C': {
    const auto m = read_commit(message);
    if (!m) return malformed();
    reached_ = std::max(reached_, m->end);
    return framer_.commit(*m);
  }
  case 'R': {
    auto m = read_relation(message);
    if (!m) return malformed();
    return routes_->told(*side_, spec_.publication, std::move(*m), *snapshots_, notices_);
  }
  case 'Y': // a type's name: the catalog has it
  case 'O': // where the transaction came from first
    return success();
  case 'M': // somebody's logical message; a verification's asks for the position it stands at
    note_soon_ = note_soon_ || message.ends_with("verify");
    return success();
  default:
    return malformed();
  }
}

result<void> postgres_source::row(std::string_view message) {
  const auto relation = relation_of(message);
  auto* route = relation ? routes_->find(*relation) : nullptr;
  if (!route)
    return make_failure(errc::refused, "protocol: a change of " + std::to_string(message.size()) +
                                           " bytes names a relation that the source never described (PostgreSQL " +
                                           side_->name() + ")");
  if (framer_.resumed() ? !route->before : !route->table) return success();
  auto* table = route->table;
  const bool parsed = !route->enum_columns.empty() && read_change(message, change_);
  if (parsed)
    if (auto ok = routes_->check_labels(*side_, spec_.publication, *route, change_, *snapshots_, notices_); !ok)
      return ok.error();
  if (!table) return framer_.change(message, route->schema); // no longer in the spec: the end of a transaction that was cut
  const bool has_key = routes_->refresh(*route);
  const bool reading = table->at != snapshot_table::phase::done;
  const auto by = framer_.transaction().id;
  if (!snapshots_->admits(*table, framer_.transaction())) {
    if (reading) table->window.changed_anything(by);
    return success();
  }
  if (auto ok = framer_.change(message, route->schema); !ok) return ok.error();
  if (!reading) return success();
  if (!has_key || (!parsed && !read_change(message, change_)))
    table->window.changed_anything(by); // a malformed one is the load's to refuse
  else
    table->note(by, change_, route->key_columns);
  return success();
}

result<void> postgres_source::truncated(std::string_view message) {
  const auto m = read_truncate(message);
  if (!m)
    return make_failure(errc::refused, "protocol: a truncate message of " + std::to_string(message.size()) +
                                           " bytes is malformed (PostgreSQL " + side_->name() + ")");
  for (const auto relation : m->relations) {
    auto* route = routes_->find(relation);
    if (!route || (framer_.resumed() ? !route->before : !route->table)) continue;
    auto* table = route->table;
    if (table) routes_->refresh(*route);
    const bool admitted = !table || snapshots_->admits(*table, framer_.transaction());
    if (table && table->at != snapshot_table::phase::done) table->window.truncated(framer_.transaction().id);
    if (!admitted) continue;
    if (auto ok = framer_.change(truncate_of(relation, m->options), route->schema); !ok) return ok.error();
  }
  return success();
}

result<void> postgres_source::feed_back(bool ask) {
  if (!stream_) return success();
  feedback_at_ = clock::now() + feedback_every_;
  told_ = confirmed_;
  return stream_->feedback(std::max(reached_, confirmed_), confirmed_, ask);
}

result<void> postgres_source::tend() {
  const auto now = clock::now();
  if (!stream_) return success();
  const auto last = feedback_at_ - feedback_every_;
  if (now >= feedback_at_ || stream_->sending() || (confirmed_ > told_ && now - last >= 100ms))
    if (auto ok = feed_back(false); !ok) return ok.error();
  if (spec_.heartbeat.count() != 0 && heartbeat_works_ && now >= heartbeat_at_) {
    heartbeat_at_ = now + spec_.heartbeat;
    if (auto ok = side_->exec("select pg_catalog.pg_logical_emit_message(false, 'millrace', 'heartbeat')"); !ok) {
      if (!is(ok.error(), errc::refused)) return ok.error();
      heartbeat_works_ = false;
      notices_.push_back("no heartbeats: while nothing else is written to the source its slot may keep WAL: " +
                         ok.error().message);
    }
  }
  if (now >= look_at_) {
    look_at_ = now + 250ms;
    auto r = side_->exec("select case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() else "
                         "pg_catalog.pg_current_wal_flush_lsn() end");
    if (!r) return r.error();
    source_end_ = {actors::postgres::parse_lsn(r.value().at(0, 0)).value_or(0)};
  }
  return success();
}

void postgres_source::note_position() {
  if (!framer_.between() || framer_.has_changes()) return;
  const auto now = clock::now();
  const auto passed = framer_.position().end.value - framer_.cut_position().end.value;
  const auto every = spec_.heartbeat.count() != 0 ? spec_.heartbeat : 10000ms;
  if (pending_state_.empty() && !snapshots_->has_state() && passed < note_bytes &&
      (passed == 0 || (!note_soon_ && now - noted_at_ < every)))
    return;
  note_soon_ = false;
  noted_at_ = now;
  framer_.note();
}

/// The stream is quiet. Whoever waits for it to pass a place has the server say where it is.
result<void> postgres_source::nudge() {
  if (!stream_ || framer_.in_transaction()) return success();
  const auto now = clock::now();
  const auto wanted = snapshots_->waits_for();
  if (wanted > reached_) {
    if (wanted != nudged_for_) {
      nudged_for_ = wanted;
      // The server sends only what is flushed; this commit flushes what lies before it. A standby cannot and need not.
      if (auto ok = side_->exec("select pg_catalog.pg_logical_emit_message(true, 'millrace', 'snapshot')");
          !ok && !is(ok.error(), errc::refused) && !side_->alive())
        return ok.error();
    }
    if (now < ask_at_) return success();
    ask_at_ = now + 10ms;
    return feed_back(true);
  }
  if (source_end_ <= reached_ || now < ask_at_) return success();
  ask_at_ = now + 100ms;
  return feed_back(true);
}

void postgres_source::idle() {
  if (!stream_ || phase_ != phase::streaming) return;
  if (clock::now() < feedback_at_ && !stream_->sending() && confirmed_ == told_) return;
  static_cast<void>(feed_back(false)); // what failed here fails again in poll(), which can say so
}

void postgres_source::acknowledged(std::span<const storage::state_entry> state) {
  ++acknowledged_;
  for (const auto& e : state) {
    if (e.key != position_key) continue;
    if (const auto p = decode_position(e.value)) confirmed_ = std::max(confirmed_, p->end);
  }
}

source_status postgres_source::status() const {
  source_status s;
  s.waiting = waiting_;
  if (!snapshots_) return s;
  if (s.waiting.empty()) s.waiting = snapshots_->waiting();
  snapshots_->report(s);
  if (phase_ == phase::copying_only) {
    s.caught_up = !s.snapshotting && !framer_.has_ready();
    return s;
  }
  s.position = storage::lsn_text(framer_.position().end.value);
  s.lag_bytes = source_end_ > reached_ ? source_end_.value - reached_.value : 0;
  s.caught_up = phase_ == phase::streaming && !s.snapshotting && source_end_.value != 0 && s.lag_bytes == 0 &&
                !framer_.in_transaction() && !framer_.has_changes() && !framer_.has_ready() && !framer_.position().open;
  return s;
}

result<void> postgres_source::snapshot(std::string_view table) {
  if (!snapshots_) return make_failure(errc::invalid, "the source is not open");
  return snapshots_->again(table);
}

result<void> postgres_source::reread(std::string_view table, std::span<const std::string> columns,
                                     std::span<const std::vector<std::string>> keys) {
  if (!snapshots_ || !side_ || phase_ != phase::streaming)
    return make_failure(errc::unavailable, "the source is not being read now: " + waiting_);
  return snapshots_->reread(*side_, table, columns, keys);
}

std::vector<std::string> postgres_source::take_notices() {
  if (const auto repeats = framer_.take_repeats(); repeats != 0)
    notices_.push_back(std::to_string(repeats) + " transactions that the log has came again and were dropped");
  if (snapshots_)
    for (auto& n : snapshots_->take_notices()) notices_.push_back(std::move(n));
  return std::exchange(notices_, {});
}

} // namespace millrace::actors::ingest::postgres
