// Connecting, and connecting again, to a source: nothing is lost or repeated over it, or it is refused with a name.
#include "actors/ingest/postgres/postgres_source.hpp"

#include <poll.h>

#include <algorithm>

namespace millrace::actors::ingest::postgres {

using namespace std::chrono_literals;
using actors::postgres::query_result;

failure postgres_source::disconnect(failure why) {
  phase_ = phase::disconnected;
  snapshots_->detach();
  stream_.reset();
  side_.reset();
  // Blocks that were made are on their way into the log; what was gathered for the next one comes again.
  framer_.restart(framer_.cut_position());
  gathering_ = placed_last_ = false;
  source_end_ = {};
  waiting_ = why.message;
  return why;
}

result<void> postgres_source::connect() {
  const bool streams = spec_.snapshot != snapshot_mode::only;
  auto opened = connection::open(spec_.connection, source_options(application_name(), false));
  if (!opened) return disconnect(opened.error());
  side_ = std::move(opened).value();
  if (auto ok = check_server(*side_, streams); !ok) return disconnect(ok.error());
  if (streams && !identity_) {
    // Decoding what was written before a publication existed fails: the server looks it up as of then.
    auto slot = look_up_slot(*side_, spec_.slot);
    if (!slot) return disconnect(slot.error());
    auto there = publication_exists(*side_, spec_.publication);
    if (!there) return disconnect(there.error());
    if (slot.value() && !there.value())
      return disconnect(make_failure(
          errc::refused, "slot_before_publication: replication slot " + spec_.slot + " is there, but not publication " +
                             spec_.publication + ", which must be older than it: drop the slot, and both are made (PostgreSQL " +
                             side_->name() + ')'));
  }
  auto tables = prepare_tables(*side_, spec_, notices_);
  if (!tables) return disconnect(tables.error());
  if (!streams) {
    if (auto ok = snapshots_->attach(*side_, tables.value()); !ok) return disconnect(ok.error());
    phase_ = phase::copying_only;
    waiting_.clear();
    return success();
  }
  if (auto ok = connect_stream(std::move(tables).value()); !ok) return disconnect(ok.error());
  return success();
}

result<void> postgres_source::connect_stream(std::vector<source_table> tables) {
  tables_ = std::move(tables);
  auto opened = replication_stream::open(spec_.connection, application_name());
  if (!opened) {
    auto may = side_->exec("select rolsuper or rolreplication from pg_catalog.pg_roles where rolname = current_user");
    if (may && may.value().rows() == 1 && may.value().at(0, 0) != "t")
      return make_failure(errc::refused, "replication_denied: the role may not replicate: ALTER ROLE ... REPLICATION (" +
                                             opened.error().message + ')');
    return opened.error();
  }
  stream_ = std::move(opened).value();
  auto server = identify(stream_->link());
  if (!server) return server.error();
  server_ = std::move(server).value();
  auto slot = look_up_slot(*side_, spec_.slot);
  if (!slot) return slot.error();
  if (slot.value())
    if (auto ok = check_slot(*side_, spec_.slot, *slot.value()); !ok) return ok.error();
  if (!identity_ && !slot.value()) return begin_slot();
  if (!identity_) {
    // Made by an operator, or by us just before a crash: our log is empty, so whatever it has not given yet is where we begin.
    notices_.push_back("replication slot " + spec_.slot + " was there; reading begins at " +
                       storage::lsn_text(slot.value()->confirmed.value));
    framer_.restart({{}, slot.value()->confirmed, {}});
    return start_stream();
  }
  const auto have = framer_.cut_position().end;
  if (auto ok = check_identity(stream_->link(), server_, *identity_, have); !ok) return ok.error();
  if (!slot.value())
    return make_failure(errc::log_mismatch,
                        "slot_missing: the source has no replication slot " + spec_.slot + "; the log holds everything up to " +
                            storage::lsn_text(have.value) +
                            ", what came later cannot be had without it. If it was renamed, correct source.slot; else delete the "
                            "pipeline and create it anew with a snapshot (PostgreSQL " +
                            side_->name() + ')');
  if (slot.value()->confirmed > have)
    return make_failure(
        errc::log_mismatch,
        "slot_ahead: replication slot " + spec_.slot + " is at " + storage::lsn_text(slot.value()->confirmed.value) +
            ", the log holds only what came before " + storage::lsn_text(have.value) +
            ": somebody else read from it, or the log lost its end. What lies between cannot be had any more: delete "
            "the pipeline and create it anew with a snapshot (PostgreSQL " +
            side_->name() + ')');
  if (slot.value()->wal_status == "unreserved")
    notices_.push_back("slot_endangered: replication slot " + spec_.slot +
                       " is beyond max_slot_wal_keep_size: the source may drop what it still needs at its next checkpoint");
  return start_stream();
}

result<void> postgres_source::begin_slot() {
  // It waits for every transaction that is running now, so it is asked without waiting for the answer.
  const auto command =
      "CREATE_REPLICATION_SLOT " + stream_->link().quote_name(spec_.slot) + " LOGICAL pgoutput NOEXPORT_SNAPSHOT";
  if (PQsendQuery(stream_->link().get(), command.c_str()) == 0) return stream_->link().failed(nullptr, "CREATE_REPLICATION_SLOT");
  phase_ = phase::creating_slot;
  waiting_ = "the source makes replication slot " + spec_.slot + ": it waits for the transactions that are running there";
  return success();
}

result<bool> postgres_source::slot_made(std::chrono::milliseconds wait) {
  auto* c = stream_->link().get();
  const auto until = clock::now() + wait;
  while (true) {
    if (PQconsumeInput(c) == 0) return stream_->link().failed(nullptr, "CREATE_REPLICATION_SLOT");
    if (PQisBusy(c) == 0) break;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - clock::now()).count();
    if (left <= 0) return false;
    pollfd fd{PQsocket(c), POLLIN, 0};
    ::poll(&fd, 1, static_cast<int>(left));
  }
  query_result r(PQgetResult(c));
  while (query_result{PQgetResult(c)}.get()) {
  }
  if (PQresultStatus(r.get()) != PGRES_TUPLES_OK) return stream_->link().failed(r.get(), "CREATE_REPLICATION_SLOT " + spec_.slot);
  const auto start = actors::postgres::parse_lsn(r.at(0, 1));
  if (!start)
    return make_failure(errc::refused, "the source made replication slot " + spec_.slot + " at \"" + std::string(r.at(0, 1)) +
                                           "\", which is no position");
  framer_.restart({{}, {*start}, {}});
  if (auto ok = start_stream(); !ok) return ok.error();
  return true;
}

result<void> postgres_source::start_stream() {
  if (auto ok = free_slot(*side_, spec_.slot, application_name()); !ok) return ok.error();
  auto limit = side_->exec("select setting from pg_catalog.pg_settings where name = 'wal_sender_timeout'");
  if (!limit) return limit.error();
  const auto timeout = limit.value().rows() == 1 ? to_number(limit.value().at(0, 0)).value_or(0) : 0;
  feedback_every_ = timeout == 0 ? 10000ms : std::clamp(std::chrono::milliseconds(timeout / 3), 100ms, 10000ms);
  if (auto ok = stream_->start(spec_.slot, spec_.publication, framer_.cut_position().end); !ok) return ok.error();
  const source_identity now{server_.system, server_.timeline, spec_.slot};
  if (identity_ != now) {
    if (identity_ && identity_->timeline != now.timeline)
      notices_.push_back("the source went from timeline " + std::to_string(identity_->timeline) + " to " +
                         std::to_string(now.timeline) + " behind what the log holds; reading goes on");
    identity_ = now;
    pending_state_.push_back({std::string(source_key), encode(now)});
  }
  routes_->new_connection();
  if (auto ok = snapshots_->attach(*side_, tables_); !ok) return ok.error();
  reached_ = framer_.cut_position().end;
  confirmed_ = std::max(confirmed_, told_);
  look_at_ = heartbeat_at_ = ask_at_ = clock::now();
  phase_ = phase::streaming;
  waiting_.clear();
  return feed_back(false);
}

result<void> postgres_source::retire() {
  stream_.reset();
  auto opened = connection::open(spec_.connection, source_options(application_name(), false));
  auto done = opened ? remove_from_source(*opened.value(), spec_, application_name()) : result<void>(opened.error());
  if (done || spec_.snapshot == snapshot_mode::only) return done;
  // Left alone it would keep the source's WAL for ever.
  return failure{done.error().code, "replication slot " + spec_.slot + " (SELECT pg_drop_replication_slot('" + spec_.slot +
                                        "')) and publication " + spec_.publication + ": " + done.error().message};
}

} // namespace millrace::actors::ingest::postgres
