#include "actors/load/postgres/progress_table.hpp"

#include <charconv>
#include <cstdio>

namespace millrace::actors::load::postgres {
namespace {
constexpr std::string_view doing = "the load's row in _millrace_offsets";

bool number(std::string_view text, std::uint64_t& out) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), out);
  return code == std::errc{} && end == text.data() + text.size();
}
} // namespace

std::string log_text(storage::log_id id) {
  char out[17];
  std::snprintf(out, sizeof out, "%016llx", static_cast<unsigned long long>(id.value));
  return out;
}

progress_table::progress_table(session& s, std::string schema, const claim_request& who)
    : s_(s), schema_(std::move(schema)), table_(pq::quoted_name(schema_) + "._millrace_offsets"), who_(who) {}

result<void> progress_table::make() {
  auto there = s_.ask("SELECT to_regclass(" + s_.link().quote_text(table_) +
                          ") IS NOT NULL, current_user, EXISTS (SELECT FROM "
                          "pg_namespace WHERE nspname = " +
                          s_.link().quote_text(schema_) + ')',
                      "looking for _millrace_offsets");
  if (!there) return there.error();
  if (there.value().at(0, 0) == "t") return success();
  const std::string user = pq::quoted_name(there.value().at(0, 1));
  if (there.value().at(0, 2) != "t") {
    auto bad = s_.run("CREATE SCHEMA IF NOT EXISTS " + pq::quoted_name(schema_), "creating schema " + schema_);
    if (bad && bad->said.sqlstate == "42501")
      return make_failure(errc::refused,
                          bad->why.message + "; expected: CREATE SCHEMA " + pq::quoted_name(schema_) + " AUTHORIZATION " + user);
    if (bad) return bad->why;
  }
  auto bad = s_.run("CREATE TABLE IF NOT EXISTS " + table_ +
                        "(pipeline text NOT NULL, load text NOT NULL, partition integer NOT NULL, log_id text NOT NULL, "
                        "epoch bigint NOT NULL, next_offset bigint NOT NULL, filtered bigint NOT NULL DEFAULT 0, "
                        "ddl_intent bigint, PRIMARY KEY(pipeline, load, partition)) WITH (fillfactor = 50)",
                    "creating " + table_);
  if (!bad) return success();
  if (bad->said.sqlstate == "42501")
    return make_failure(errc::refused, bad->why.message + "; expected: GRANT USAGE, CREATE ON SCHEMA " +
                                           pq::quoted_name(schema_) + " TO " + user);
  if (bad->what == blame::row) // two claims made it at once: the catalog's unique index
    return make_failure(errc::unavailable, bad->why.message);
  return bad->why;
}

std::string progress_table::key_text() const {
  return "pipeline = " + s_.link().quote_text(who_.pipeline) + " AND load = " + s_.link().quote_text(who_.load) +
         " AND partition = " + std::to_string(who_.partition);
}

std::string progress_table::read_text(const std::string& more) const {
  return "SELECT log_id, epoch, next_offset, filtered" + (more.empty() ? more : ", " + more) + " FROM " + table_ + " WHERE " +
         key_text();
}

result<progress_row> progress_table::parse(const pq::query_result& r) const {
  progress_row row;
  row.log = r.at(0, 0);
  if (number(r.at(0, 1), row.epoch) && number(r.at(0, 2), row.next) && number(r.at(0, 3), row.filtered)) return row;
  return make_failure(errc::log_mismatch,
                      s_.name() + ": the row of " + who_.pipeline + '/' + who_.load +
                          " in _millrace_offsets was edited: expected epoch, next_offset and filtered from 0");
}

result<std::optional<progress_row>> progress_table::read(bool lock) {
  auto r = s_.ask(read_text() + (lock ? " FOR UPDATE" : ""), doing);
  if (!r) {
    if (is(r.error(), errc::refused) && r.error().message.find("42501") != std::string::npos)
      return make_failure(errc::refused, r.error().message + "; expected: GRANT SELECT, INSERT, UPDATE ON " + table_ +
                                             " to the role of the connection");
    return r.error();
  }
  if (r.value().rows() == 0) return std::optional<progress_row>{};
  auto row = parse(r.value());
  if (!row) return row.error();
  return std::optional<progress_row>{std::move(row).value()};
}

result<void> progress_table::put(const progress_row& row) {
  auto bad =
      s_.run("INSERT INTO " + table_ + " AS t(pipeline, load, partition, log_id, epoch, next_offset, filtered) VALUES(" +
                 s_.link().quote_text(who_.pipeline) + ", " + s_.link().quote_text(who_.load) + ", " +
                 std::to_string(who_.partition) + ", '" + row.log + "', " + std::to_string(row.epoch) + ", " +
                 std::to_string(row.next) + ", " + std::to_string(row.filtered) +
                 ") ON CONFLICT(pipeline, load, partition) DO UPDATE SET log_id = excluded.log_id, epoch = excluded.epoch, "
                 "next_offset = excluded.next_offset, filtered = excluded.filtered, ddl_intent = NULL",
             doing);
  if (!bad) return success();
  if (bad->what == blame::row) return make_failure(errc::unavailable, bad->why.message);
  return bad->why;
}

std::string progress_table::move_text(std::optional<storage::offset> from, const progress& to) const {
  return "WITH moved AS (UPDATE " + table_ + " SET next_offset = " + std::to_string(to.next.value) +
         ", filtered = " + std::to_string(to.filtered) + " WHERE " + key_text() + " AND log_id = '" + log_text(who_.log) +
         "' AND epoch = " + std::to_string(who_.epoch.value) +
         (from ? " AND next_offset = " + std::to_string(from->value) : std::string()) +
         " RETURNING 1) SELECT 1 / count(*) FROM moved";
}

} // namespace millrace::actors::load::postgres
