#include "actors/ingest/postgres/setup.hpp"

#include "storage/batch.hpp"

#include <algorithm>
#include <array>
#include <thread>

namespace millrace::actors::ingest::postgres {
namespace {

using actors::postgres::query_result;
using actors::postgres::quoted_name;

failure refused(const connection& c, const std::string& text) {
  return make_failure(errc::refused, text + " (PostgreSQL " + c.name() + ")");
}

result<query_result> ask(connection& c, const std::string& sql, const std::string& value) {
  const std::array<const char*, 1> parameters{value.c_str()};
  return c.exec(sql, parameters);
}

std::string quoted(const source_table& t) { return quoted_name(t.schema) + '.' + quoted_name(t.table); }
std::string mark_of(const postgres_source_spec& spec) { return "made by Millrace for slot " + spec.slot; }

std::string listed(const std::vector<std::string>& names) {
  std::string out;
  for (const auto& n : names) out += (out.empty() ? "" : ", ") + n;
  return out;
}

bool can_be_identified(const source_table& t) {
  switch (t.identity) {
  case 'f':
    return true;
  case 'i':
    return t.has_identity_index;
  case 'n':
    return false;
  default:
    return t.has_primary_key;
  }
}

result<void> check_tables(const connection& c, const std::vector<source_table>& tables, snapshot_mode snapshot) {
  std::vector<std::string> missing, strange, unreadable;
  for (const auto& t : tables) {
    if (t.oid == 0)
      missing.push_back(t.name);
    else if (t.kind != 'r' && t.kind != 'p')
      strange.push_back(t.name);
    else if (!t.may_select && snapshot != snapshot_mode::never)
      unreadable.push_back(t.name);
    else if (t.kind == 'p' && c.server_version() < 130000)
      return refused(c, "partitions_unsupported: " + t.name +
                            " is partitioned; servers before 13 cannot publish it as one table. "
                            "Name its partitions in source.tables");
  }
  if (!missing.empty())
    return refused(c, "table_missing: the source has no table " + listed(missing) +
                          ", or its schema may not be used by this role; correct source.tables or GRANT USAGE ON SCHEMA");
  if (!strange.empty())
    return refused(c, "table_kind: " + listed(strange) +
                          " is no table (a view, a sequence, a foreign table): only tables have changes");
  if (!unreadable.empty())
    return refused(c, "table_unreadable: this role may not read " + listed(unreadable) +
                          " and a snapshot must: GRANT SELECT, or set source.snapshot to never");
  return success();
}

/// A publication with updates on a table without replica identity makes the SOURCE's own updates fail.
result<void> check_identities(const connection& c, const std::vector<const source_table*>& tables) {
  std::vector<std::string> names;
  for (const auto* t : tables)
    if (!can_be_identified(*t)) names.push_back(t->name);
  if (names.empty()) return success();
  return refused(
      c,
      "replica_identity_missing: " + listed(names) +
          " has neither a primary key nor another replica identity; if it were published the source's own UPDATE and DELETE "
          "on it would fail. Add a primary key, or ALTER TABLE ... REPLICA IDENTITY USING INDEX ... (a unique index on NOT NULL "
          "columns), or REPLICA IDENTITY FULL; or publish inserts alone: CREATE PUBLICATION ... WITH (publish = 'insert, "
          "truncate')");
}

result<void> change_publication(connection& c, const std::string& sql, const std::string& what) {
  auto r = c.exec(sql);
  if (r || !is(r.error(), errc::refused)) return r ? result<void>(success()) : result<void>(r.error());
  return make_failure(errc::refused, "publication_refused: " + what + ": " + r.error().message +
                                         "; let an owner of publication and tables do it: " + sql);
}

} // namespace

result<void> check_server(connection& c, bool streaming) {
  if (c.server_version() < 100000)
    return refused(c,
                   "server_too_old: the server's version is " + std::to_string(c.server_version()) + ", pgoutput came with 10");
  if (!streaming) return success();
  auto r = c.exec("show wal_level");
  if (!r) return r.error();
  if (r.value().at(0, 0) != "logical")
    return refused(c, "wal_level: the server's wal_level is " + std::string(r.value().at(0, 0)) +
                          ", changes can be read only with logical: ALTER SYSTEM SET wal_level = logical, then restart it");
  return success();
}

result<bool> publication_exists(connection& c, const std::string& name) {
  auto r = ask(c, "select 1 from pg_catalog.pg_publication where pubname = $1", name);
  if (!r) return r.error();
  return r.value().rows() != 0;
}

result<std::vector<source_table>> prepare_tables(connection& c, const postgres_source_spec& spec,
                                                 std::vector<std::string>& notices) {
  auto found = look_up_tables(c, spec.tables, spec.publication);
  if (!found) return found.error();
  const auto& tables = found.value();
  if (auto ok = check_tables(c, tables, spec.snapshot); !ok) return ok.error();
  if (spec.snapshot == snapshot_mode::only) return found;
  const bool via_root = c.server_version() >= 130000;
  auto r = ask(c,
               "select p.pubinsert, p.pubupdate, p.pubdelete, " +
                   std::string(c.server_version() >= 110000 ? "p.pubtruncate" : "true") + ", " +
                   (via_root ? "p.pubviaroot" : "false") +
                   ", coalesce(pg_catalog.obj_description(p.oid, 'pg_publication'), '') from pg_catalog.pg_publication p where "
                   "p.pubname = $1",
               spec.publication);
  if (!r) return r.error();
  const auto publication = quoted_name(spec.publication);
  if (r.value().rows() == 0) {
    std::vector<const source_table*> all;
    std::string names;
    for (const auto& t : tables) {
      all.push_back(&t);
      names += (names.empty() ? "ONLY " : ", ONLY ") + quoted(t);
    }
    if (auto ok = check_identities(c, all); !ok) return ok.error();
    auto made = change_publication(c,
                                   "CREATE PUBLICATION " + publication + " FOR TABLE " + names +
                                       (via_root ? " WITH (publish_via_partition_root = true)" : "") +
                                       "; COMMENT ON PUBLICATION " + publication + " IS " + c.quote_text(mark_of(spec)),
                                   "publication " + spec.publication + " does not exist and cannot be made");
    if (!made) return made.error();
    return found;
  }
  const auto flag = [&](int i) { return r.value().at(0, i) == "t"; };
  const bool ours = r.value().at(0, 5) == mark_of(spec);
  if (!flag(0) || !flag(1) || !flag(2) || !flag(3))
    notices.push_back("publication " + spec.publication +
                      " does not publish every kind of change: what it leaves out never arrives");
  std::vector<const source_table*> added;
  std::string names;
  for (const auto& t : tables) {
    if (t.kind == 'p' && !flag(4))
      return refused(c, "publication_partitions: publication " + spec.publication + " sends the changes of " + t.name +
                            " as those of its partitions: ALTER PUBLICATION " + publication +
                            " SET (publish_via_partition_root = true)");
    if (t.published) {
      if ((flag(1) || flag(2)) && !can_be_identified(t))
        notices.push_back("table " + t.name +
                          " is published without a replica identity: the source's own UPDATE and DELETE on it fail");
      continue;
    }
    added.push_back(&t);
    names += (names.empty() ? "ONLY " : ", ONLY ") + quoted(t);
  }
  if (!added.empty()) {
    if (flag(1) || flag(2))
      if (auto ok = check_identities(c, added); !ok) return ok.error();
    auto changed = change_publication(c, "ALTER PUBLICATION " + publication + " ADD TABLE " + names,
                                      "publication " + spec.publication + " lacks tables and cannot be changed");
    if (!changed) return changed.error();
  }
  if (!ours) return found;
  auto published = ask(
      c,
      "select n.nspname, c.relname from pg_catalog.pg_publication_rel pr join pg_catalog.pg_publication p on p.oid = pr.prpubid "
      "join pg_catalog.pg_class c on c.oid = pr.prrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
      "where p.pubname = $1",
      spec.publication);
  if (!published) return published.error();
  std::string gone;
  for (int i = 0; i < published.value().rows(); ++i) {
    const std::string schema(published.value().at(i, 0)), table(published.value().at(i, 1));
    if (std::any_of(tables.begin(), tables.end(), [&](const auto& t) { return t.schema == schema && t.table == table; }))
      continue;
    gone += (gone.empty() ? "" : ", ") + quoted_name(schema) + '.' + quoted_name(table);
  }
  if (!gone.empty())
    if (auto ok = c.exec("ALTER PUBLICATION " + publication + " DROP TABLE " + gone); !ok)
      notices.push_back("publication " + spec.publication + " still has " + gone +
                        ", which the pipeline no longer reads: " + ok.error().message);
  return found;
}

result<std::optional<slot_status>> look_up_slot(connection& c, const std::string& slot) {
  auto r = ask(c,
               "select coalesce(plugin, ''), slot_type, coalesce(database, ''), temporary, active, coalesce(active_pid, 0), "
               "coalesce(confirmed_flush_lsn, '0/0'), " +
                   std::string(c.server_version() >= 130000 ? "coalesce(wal_status, '')" : "''") +
                   " from pg_catalog.pg_replication_slots where slot_name = $1",
               slot);
  if (!r) return r.error();
  const auto& q = r.value();
  if (q.rows() == 0) return std::optional<slot_status>{};
  slot_status s;
  s.plugin = q.at(0, 0);
  s.type = q.at(0, 1);
  s.database = q.at(0, 2);
  s.temporary = q.at(0, 3) == "t";
  s.active = q.at(0, 4) == "t";
  s.active_pid = static_cast<std::int64_t>(to_number(q.at(0, 5)).value_or(0));
  s.confirmed = {actors::postgres::parse_lsn(q.at(0, 6)).value_or(0)};
  s.wal_status = q.at(0, 7);
  return std::optional{std::move(s)};
}

result<void> check_slot(const connection& c, const std::string& slot, const slot_status& s) {
  const auto named = "replication slot " + slot;
  if (s.type != "logical" || s.plugin != "pgoutput" || s.temporary)
    return refused(c, "slot_unusable: " + named + " is a " + (s.temporary ? "temporary " : "") + s.type + " slot with plugin \"" +
                          s.plugin + "\", expected a logical one with pgoutput; name another one in source.slot");
  const auto* database = PQdb(c.get());
  if (!database || s.database != database)
    return refused(c, "slot_unusable: " + named + " belongs to database " + s.database + "; name another one in source.slot");
  if (s.wal_status == "lost")
    return make_failure(
        errc::log_mismatch,
        "slot_lost: the source dropped changes that " + named +
            " still needed (max_slot_wal_keep_size; wal_status is lost). They cannot be had any more: drop the slot, delete the "
            "pipeline and create it anew with a snapshot (PostgreSQL " +
            c.name() + ")");
  return success();
}

result<void> free_slot(connection& c, const std::string& slot, const std::string& application_name) {
  using namespace std::chrono_literals;
  for (int look = 0;; ++look) {
    auto s = look_up_slot(c, slot);
    if (!s) return s.error();
    if (!s.value() || !s.value()->active) return success();
    const auto pid = std::to_string(s.value()->active_pid);
    auto who = ask(c,
                   "select coalesce(application_name, ''), pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity "
                   "where pid = $1 and application_name = " +
                       c.quote_text(application_name),
                   pid);
    if (!who && !is(who.error(), errc::refused)) return who.error();
    if (!who || who.value().rows() == 0 || look == 20)
      return make_failure(errc::unavailable,
                          "slot_active: replication slot " + slot + " is in use by process " + pid +
                              " of the source; it takes one reader at a time. If that is not another node of ours: "
                              "select pg_terminate_backend(" +
                              pid + ") (PostgreSQL " + c.name() + ")");
    std::this_thread::sleep_for(50ms);
  }
}

result<void> remove_from_source(connection& c, const postgres_source_spec& spec, const std::string& application_name) {
  auto s = look_up_slot(c, spec.slot);
  if (!s) return s.error();
  const auto* database = PQdb(c.get());
  if (s.value() && s.value()->plugin == "pgoutput" && database && s.value()->database == database) {
    if (auto ok = free_slot(c, spec.slot, application_name); !ok) return ok.error();
    if (auto ok = ask(c, "select pg_catalog.pg_drop_replication_slot($1)", spec.slot); !ok) return ok.error();
  }
  auto p = ask(c,
               "select 1 from pg_catalog.pg_publication p where p.pubname = $1 and pg_catalog.obj_description(p.oid, "
               "'pg_publication') = " +
                   c.quote_text(mark_of(spec)),
               spec.publication);
  if (!p) return p.error();
  if (p.value().rows() != 0)
    if (auto ok = c.exec("DROP PUBLICATION " + quoted_name(spec.publication)); !ok) return ok.error();
  return success();
}

result<server_identity> identify(connection& walsender) {
  auto r = walsender.exec("IDENTIFY_SYSTEM");
  if (!r) return r.error();
  server_identity s;
  s.system = r.value().at(0, 0);
  s.timeline = static_cast<std::uint32_t>(to_number(r.value().at(0, 1)).value_or(0));
  s.position = {actors::postgres::parse_lsn(r.value().at(0, 2)).value_or(0)};
  return s;
}

std::optional<lsn> end_of_timeline(std::string_view history, std::uint32_t parent) {
  while (!history.empty()) {
    auto line = history.substr(0, history.find('\n'));
    history.remove_prefix(std::min(line.size() + 1, history.size()));
    std::string spaced(line);
    std::replace(spaced.begin(), spaced.end(), '\t', ' ');
    word_reader words(spaced);
    const auto timeline = words.number();
    if (!timeline || *timeline != parent) continue;
    if (const auto at = actors::postgres::parse_lsn(words.next())) return lsn{*at};
  }
  return std::nullopt;
}

result<void> check_identity(connection& walsender, const server_identity& now, const source_identity& known, lsn have) {
  const auto where = " (PostgreSQL " + walsender.name() + ')';
  const auto text = [](lsn at) { return storage::lsn_text(at.value); };
  if (now.system != known.system)
    return make_failure(errc::log_mismatch, "system_changed: this server's system identifier is " + now.system +
                                                ", the log was read from " + known.system +
                                                ": another cluster. Correct source.connection, or delete the pipeline and create "
                                                "it anew with a snapshot" +
                                                where);
  if (now.timeline != known.timeline) {
    if (now.timeline < known.timeline)
      return make_failure(errc::log_mismatch, "timeline_changed: this server is on timeline " + std::to_string(now.timeline) +
                                                  ", the log was read on " + std::to_string(known.timeline) +
                                                  ": an old primary? Correct source.connection" + where);
    auto history = walsender.exec("TIMELINE_HISTORY " + std::to_string(now.timeline));
    if (!history) return history.error();
    const auto end = history.value().rows() == 1 ? end_of_timeline(history.value().at(0, 1), known.timeline) : std::nullopt;
    if (!end || *end < have)
      return make_failure(errc::log_mismatch,
                          "timeline_changed: this server is on timeline " + std::to_string(now.timeline) +
                              ", which left timeline " + std::to_string(known.timeline) +
                              (end ? " at " + text(*end) : " unknown to it") + ", before what the log holds, " + text(have) +
                              ": a failover lost changes that are in the log. Delete the pipeline and create it anew with a "
                              "snapshot" +
                              where);
  }
  if (now.position < have)
    return make_failure(errc::log_mismatch, "source_behind: this server's log ends at " + text(now.position) +
                                                ", ours holds everything up to " + text(have) +
                                                ": was it restored from a backup? Delete the pipeline and create it anew with a "
                                                "snapshot" +
                                                where);
  return success();
}

} // namespace millrace::actors::ingest::postgres
