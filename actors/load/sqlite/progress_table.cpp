#include "actors/load/sqlite/progress_table.hpp"

#include <cstdio>

namespace millrace::actors::load::sqlite {
namespace {
constexpr std::string_view doing = "the load's row in _millrace_offsets";

void bind_text(sqlite3_stmt* s, int at, const std::string& text) {
  sqlite3_bind_text(s, at, text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
}
} // namespace

std::string log_text(storage::log_id id) {
  char out[17];
  std::snprintf(out, sizeof out, "%016llx", static_cast<unsigned long long>(id.value));
  return out;
}

result<void> progress_table::make() {
  return c_.execute(
      "CREATE TABLE IF NOT EXISTS main._millrace_offsets("
      "pipeline TEXT NOT NULL, load TEXT NOT NULL, partition INTEGER NOT NULL, log_id TEXT NOT NULL, epoch INTEGER NOT NULL, "
      "next_offset INTEGER NOT NULL, filtered INTEGER NOT NULL DEFAULT 0, ddl_intent INTEGER, "
      "PRIMARY KEY(pipeline, load, partition)) WITHOUT ROWID",
      "creating _millrace_offsets");
}

void progress_table::bind_key(sqlite3_stmt* s, int first) const {
  bind_text(s, first, who_.pipeline);
  bind_text(s, first + 1, who_.load);
  sqlite3_bind_int64(s, first + 2, who_.partition);
}

result<statement*> progress_table::ready(statement& s, std::string_view sql) {
  if (!s) {
    auto made = c_.prepare(sql, doing);
    if (!made) return made.error();
    s = std::move(made).value();
  }
  return &s;
}

result<std::optional<progress_row>> progress_table::read() {
  auto made = ready(read_, "SELECT log_id, epoch, next_offset, filtered FROM main._millrace_offsets WHERE pipeline = ?1 AND load "
                           "= ?2 AND partition = ?3");
  if (!made) return made.error();
  auto* s = read_.get();
  bind_key(s, 1);
  const int rc = sqlite3_step(s);
  if (rc == SQLITE_DONE) {
    sqlite3_reset(s);
    return std::optional<progress_row>{};
  }
  if (rc != SQLITE_ROW) {
    auto why = c_.error(rc, "reading " + std::string(doing));
    sqlite3_reset(s);
    return why;
  }
  progress_row row;
  bool sound = sqlite3_column_type(s, 0) == SQLITE_TEXT;
  if (sound)
    row.log.assign(reinterpret_cast<const char*>(sqlite3_column_text(s, 0)),
                   static_cast<std::size_t>(sqlite3_column_bytes(s, 0)));
  std::uint64_t* const numbers[] = {&row.epoch, &row.next, &row.filtered};
  for (int i = 0; i < 3; ++i) {
    const auto v = sqlite3_column_int64(s, i + 1);
    sound = sound && sqlite3_column_type(s, i + 1) == SQLITE_INTEGER && v >= 0;
    *numbers[i] = static_cast<std::uint64_t>(v);
  }
  sqlite3_reset(s);
  if (!sound)
    return make_failure(
        errc::log_mismatch,
        "sqlite " + c_.path() + ": the row of " + who_.pipeline + '/' + who_.load +
            " in _millrace_offsets was edited: expected a text log_id and epoch, next_offset, filtered as integers from 0");
  return std::optional<progress_row>{std::move(row)};
}

result<void> progress_table::put(const progress_row& row) {
  auto made = c_.prepare(
      "INSERT INTO main._millrace_offsets(pipeline, load, partition, log_id, epoch, next_offset, filtered) "
      "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT(pipeline, load, partition) DO UPDATE SET log_id = excluded.log_id, "
      "epoch = excluded.epoch, next_offset = excluded.next_offset, filtered = excluded.filtered, ddl_intent = NULL",
      doing);
  if (!made) return made.error();
  auto* s = made.value().get();
  bind_key(s, 1);
  bind_text(s, 4, row.log);
  sqlite3_bind_int64(s, 5, static_cast<sqlite3_int64>(row.epoch));
  sqlite3_bind_int64(s, 6, static_cast<sqlite3_int64>(row.next));
  sqlite3_bind_int64(s, 7, static_cast<sqlite3_int64>(row.filtered));
  const int rc = sqlite3_step(s);
  if (rc != SQLITE_DONE) {
    auto why = c_.error(rc, "writing " + std::string(doing));
    sqlite3_reset(s);
    return why;
  }
  sqlite3_reset(s);
  return success();
}

result<bool> progress_table::advance(std::optional<storage::offset> from, const progress& to) {
  auto made = ready(
      move_,
      "UPDATE main._millrace_offsets SET next_offset = ?1, filtered = ?2 WHERE pipeline = ?3 AND load = ?4 AND partition = ?5 "
      "AND log_id = ?6 AND epoch = ?7 AND (?8 IS NULL OR next_offset = ?8)");
  if (!made) return made.error();
  auto* s = move_.get();
  const auto log = log_text(who_.log);
  sqlite3_bind_int64(s, 1, static_cast<sqlite3_int64>(to.next.value));
  sqlite3_bind_int64(s, 2, static_cast<sqlite3_int64>(to.filtered));
  bind_key(s, 3);
  bind_text(s, 6, log);
  sqlite3_bind_int64(s, 7, static_cast<sqlite3_int64>(who_.epoch.value));
  if (from)
    sqlite3_bind_int64(s, 8, static_cast<sqlite3_int64>(from->value));
  else
    sqlite3_bind_null(s, 8);
  const int rc = sqlite3_step(s);
  if (rc != SQLITE_DONE) {
    auto why = c_.error(rc, "moving " + std::string(doing));
    sqlite3_reset(s);
    return why;
  }
  sqlite3_reset(s);
  return sqlite3_changes(c_.db()) == 1;
}

} // namespace millrace::actors::load::sqlite
