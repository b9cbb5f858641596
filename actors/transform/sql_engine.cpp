#include "actors/transform/sql_engine.hpp"

#include "actors/transform/calendar.hpp"

#include <algorithm>
#include <array>
#include <mutex>
#include <stdexcept>

namespace millrace::actors::transform {

namespace {
constexpr std::array<std::string_view, 5> meta_names{"payload", "op", "table_name", "offset", "ts"};
constexpr int ops_a_call = 1000; // how often the progress handler is asked
constexpr const char* vfs_name = "millrace-log-time";

// SQLite asks its VFS what time 'now' is. Ours answers with the log's time, so that a replay gives the same rows.
thread_local std::int64_t log_time_us = 0;

int log_time(sqlite3_vfs*, sqlite3_int64* julian_ms) {
  *julian_ms = log_time_us / 1000 + 210866760000000;
  return SQLITE_OK;
}
int log_time_days(sqlite3_vfs*, double* julian_days) {
  *julian_days = static_cast<double>(log_time_us / 1000 + 210866760000000) / 86400000.0;
  return SQLITE_OK;
}
void register_vfs() {
  static std::once_flag once;
  static sqlite3_vfs vfs;
  std::call_once(once, [] {
    sqlite3_initialize();
    vfs = *sqlite3_vfs_find(nullptr);
    vfs.pNext = nullptr;
    vfs.zName = vfs_name;
    vfs.xCurrentTime = log_time_days;
    vfs.xCurrentTimeInt64 = log_time;
    sqlite3_vfs_register(&vfs, 0);
  });
}

bool equals(const char* a, std::string_view b) {
  return a && sqlite3_strnicmp(a, b.data(), static_cast<int>(b.size())) == 0 && a[b.size()] == 0;
}

/// Everything that is not computing is refused: files, other tables, settings, chance.
int authorize(void* module, int action, const char* first, const char* second, const char*, const char*) {
  switch (action) {
  case SQLITE_SELECT:
    return SQLITE_OK;
  case SQLITE_READ:
    if (!first || !*first || *static_cast<const std::string*>(module) == first || equals(first, "json_each") ||
        equals(first, "json_tree"))
      return SQLITE_OK;
    return SQLITE_DENY;
  case SQLITE_FUNCTION:
    for (const std::string_view refused :
         {"random", "randomblob", "load_extension", "changes", "total_changes", "last_insert_rowid", "sqlite_source_id",
          "sqlite_version", "sqlite_log", "sqlite_compileoption_get", "sqlite_compileoption_used", "sqlite_offset",
          "fts3_tokenizer"})
      if (equals(second, refused)) return SQLITE_DENY;
    return SQLITE_OK;
  default:
    return SQLITE_DENY; // recursive queries included: they only compute, but without end
  }
}

const char* affinity_of(const known_column& c) {
  if (!c.field && !c.type) return "";
  switch (c.field ? c.field->type : *c.type) {
  case data_type::boolean:
  case data_type::int64:
    return " integer";
  case data_type::float64:
    return " real";
  case data_type::decimal:
    return " numeric"; // enters as text; compared as a number
  case data_type::bytes:
    return " blob";
  default:
    return " text";
  }
}

std::string quoted(std::string_view name) {
  std::string out = "\"";
  for (const char c : name) {
    if (c == '"') out += '"';
    out += c;
  }
  return out += '"';
}
} // namespace

/// The table-valued side: SQLite calls these.
struct change_module {
  struct table : sqlite3_vtab {
    change_scan* scan = nullptr;
  };
  struct cursor : sqlite3_vtab_cursor {};

  static int connect(sqlite3* db, void* engine, int, const char* const*, sqlite3_vtab** out, char** why) {
    auto* self = static_cast<sql_engine*>(engine);
    const int rc = sqlite3_declare_vtab(db, self->declared_.c_str());
    if (rc != SQLITE_OK) {
      *why = sqlite3_mprintf("%s", sqlite3_errmsg(db));
      return rc;
    }
    auto* t = new table();
    t->scan = self->scan_.get();
    *out = t;
    return SQLITE_OK;
  }
  static int disconnect(sqlite3_vtab* t) {
    delete static_cast<table*>(t);
    return SQLITE_OK;
  }
  static int best_index(sqlite3_vtab*, sqlite3_index_info* info) {
    info->estimatedCost = 1e6;
    info->estimatedRows = 10000;
    return SQLITE_OK;
  }
  static int open(sqlite3_vtab*, sqlite3_vtab_cursor** out) {
    *out = new cursor();
    return SQLITE_OK;
  }
  static int close(sqlite3_vtab_cursor* c) {
    delete static_cast<cursor*>(c);
    return SQLITE_OK;
  }
  static change_scan& scan(sqlite3_vtab_cursor* c) { return *static_cast<table*>(c->pVtab)->scan; }
  static void settle(change_scan& s) {
    s.ops = 0;
    while (s.current < s.end) {
      const frame_row& r = (*s.rows)[s.current];
      const bool removes = r.op == storage::operation::remove;
      if (r.live && r.op != storage::operation::truncate && (s.deletes || !removes)) return;
      ++s.current;
    }
  }
  static int filter(sqlite3_vtab_cursor* c, int, const char*, int, sqlite3_value**) {
    change_scan& s = scan(c);
    s.current = s.begin;
    settle(s);
    return SQLITE_OK;
  }
  static int next(sqlite3_vtab_cursor* c) {
    change_scan& s = scan(c);
    ++s.current;
    settle(s);
    return SQLITE_OK;
  }
  static int eof(sqlite3_vtab_cursor* c) {
    const change_scan& s = scan(c);
    return s.current >= s.end;
  }
  static int rowid(sqlite3_vtab_cursor* c, sqlite3_int64* out) {
    const change_scan& s = scan(c);
    *out = static_cast<sqlite3_int64>(s.current);
    return SQLITE_OK;
  }
  static void text(sqlite3_context* ctx, std::string_view v) {
    sqlite3_result_text64(ctx, v.data() ? v.data() : "", v.size(), SQLITE_STATIC, SQLITE_UTF8);
  }
  static int column(sqlite3_vtab_cursor* c, sqlite3_context* ctx, int n) {
    change_scan& s = scan(c);
    if (n < 0 || static_cast<std::size_t>(n) >= s.bindings.size()) return SQLITE_OK;
    const change_scan::binding b = s.bindings[static_cast<std::size_t>(n)];
    const frame_row& r = (*s.rows)[s.current];
    if (b.column >= 0) {
      const cell& v = s.f->at(r.slot, static_cast<std::uint32_t>(b.column));
      switch (v.k) {
      case cell::kind::boolean:
      case cell::kind::int64:
        sqlite3_result_int64(ctx, v.i);
        return SQLITE_OK;
      case cell::kind::float64:
        sqlite3_result_double(ctx, v.d);
        return SQLITE_OK;
      case cell::kind::text:
        text(ctx, v.view());
        return SQLITE_OK;
      case cell::kind::blob:
        sqlite3_result_blob64(ctx, v.p ? v.p : "", v.size, SQLITE_STATIC);
        return SQLITE_OK;
      case cell::kind::missing: { // taken for NULL it would decide wrongly without a word
        const std::string message = unknown_value(s.f->columns[static_cast<std::size_t>(b.column)].name);
        sqlite3_result_error(ctx, message.c_str(), static_cast<int>(message.size()));
        return SQLITE_OK;
      }
      default:
        break;
      }
    }
    switch (b.meta) {
    case 0:
      if (const auto& batch = s.state->batch();
          batch.format() == storage::payload_format::json || batch.format() == storage::payload_format::csv) // others are no text
        text(ctx, batch.payload(r.change));
      break;
    case 1:
      text(ctx, storage::to_string(r.op));
      break;
    case 2:
      text(ctx, r.table);
      break;
    case 3:
      sqlite3_result_int64(ctx, static_cast<sqlite3_int64>(s.state->batch().base().value + r.change));
      break;
    case 4: {
      char buffer[32];
      const std::size_t size = write_timestamp(r.time_us, buffer);
      sqlite3_result_text(ctx, buffer, static_cast<int>(size), SQLITE_TRANSIENT);
      break;
    }
    default:
      break; // NULL
    }
    return SQLITE_OK;
  }
  static int progress(void* scan) {
    auto* s = static_cast<change_scan*>(scan);
    return ++s->ops > s->ops_limit;
  }
  static const sqlite3_module* module() {
    static const sqlite3_module m = [] {
      sqlite3_module made{};
      made.xConnect = connect; // without xCreate the table is there by its module's name and nowhere else
      made.xBestIndex = best_index;
      made.xDisconnect = disconnect;
      made.xOpen = open;
      made.xClose = close;
      made.xFilter = filter;
      made.xNext = next;
      made.xEof = eof;
      made.xColumn = column;
      made.xRowid = rowid;
      return made;
    }();
    return &m;
  }
};

sql_engine::sql_engine(const shape& columns, const transform_limits& limits)
    : columns_(columns), scan_(std::make_unique<change_scan>()) {
  register_vfs();
  sqlite3* db = nullptr;
  const int rc = sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, vfs_name);
  db_.reset(db);
  if (rc != SQLITE_OK) throw std::runtime_error("cannot open SQLite in memory: " + std::string(sqlite3_errstr(rc)));
  sqlite3_db_config(db, SQLITE_DBCONFIG_DQS_DML, 0, nullptr); // "naem" is an unknown column, not the text 'naem'
  sqlite3_db_config(db, SQLITE_DBCONFIG_DQS_DDL, 0, nullptr);
  sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, nullptr);
  const std::uint64_t length = std::max<std::uint64_t>(32u << 20, 2 * limits.max_record_bytes);
  sqlite3_limit(db, SQLITE_LIMIT_LENGTH, static_cast<int>(std::min<std::uint64_t>(length, 1'000'000'000)));
  sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0);
  sqlite3_limit(db, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000); // matching is quadratic and asks no progress handler
  scan_->ops_limit = std::max<std::uint64_t>(1, limits.sql_progress_ops / ops_a_call);
  sqlite3_progress_handler(db, ops_a_call, change_module::progress, scan_.get());
  add_decimal_functions(db);
  if (!declare()) throw std::runtime_error(std::string("cannot declare the changes to SQLite: ") + sqlite3_errmsg(db));
}

sql_engine::~sql_engine() = default;

bool sql_engine::declare() {
  // A table that exists under its module's name cannot change its columns: each set of columns is a module of its own.
  if (!module_.empty()) sqlite3_create_module_v2(db_.get(), module_.c_str(), nullptr, nullptr, nullptr);
  module_ = "millrace change " + std::to_string(++generation_);
  names_.clear();
  declared_ = "create table x(";
  const auto add = [&](const std::string& name, const char* type) {
    for (const std::string& n : names_)
      if (sqlite3_stricmp(n.c_str(), name.c_str()) == 0) return; // SQL cannot tell them apart: the first is meant
    names_.push_back(name);
    if (names_.size() > 1) declared_ += ", ";
    declared_ += quoted(name) + type;
  };
  for (const known_column& c : columns_.columns) add(c.name, affinity_of(c));
  for (const std::string_view name : meta_names) add(std::string(name), "");
  declared_ += ')';
  sqlite3_limit(db_.get(), SQLITE_LIMIT_COLUMN, static_cast<int>(std::max<std::size_t>(2000, names_.size())));
  if (sqlite3_create_module_v2(db_.get(), module_.c_str(), change_module::module(), this, nullptr) != SQLITE_OK) return false;
  // Its first use declares the table, which is a CREATE TABLE to the authorizer: once, before expressions are let in.
  sqlite3_set_authorizer(db_.get(), nullptr, nullptr);
  statement_ptr first;
  const bool good = try_prepare("select 1 from " + quoted(module_) + ", json_each('[]'), json_tree('[]')", first).empty();
  sqlite3_set_authorizer(db_.get(), authorize, &module_);
  return good;
}

std::string sql_engine::try_prepare(const std::string& sql, statement_ptr& out) {
  sqlite3_stmt* s = nullptr;
  const char* tail = nullptr;
  const int rc =
      sqlite3_prepare_v3(db_.get(), sql.c_str(), static_cast<int>(sql.size()) + 1, SQLITE_PREPARE_PERSISTENT, &s, &tail);
  out.reset(s);
  if (rc != SQLITE_OK) return sqlite3_errmsg(db_.get());
  if (!s || (tail && *tail)) return "expected one expression";
  if (sqlite3_bind_parameter_count(s) > 0) return "parameters (?, :name, @name, $name) have no value here";
  return {};
}

bool sql_engine::add_missing(const std::string& message) {
  constexpr std::string_view prefix = "no such column: ";
  if (!columns_.open || !message.starts_with(prefix) || columns_.columns.size() >= max_columns) return false;
  std::string name = message.substr(prefix.size());
  if (sqlite3_strnicmp(name.c_str(), "change.", 7) == 0 && name != last_missing_) {
    last_missing_ = name;
    name.erase(0, 7);
  } else if (name == last_missing_ || name.find('.') != std::string::npos) {
    return false;
  } else {
    last_missing_ = name;
  }
  columns_.columns.push_back({name, nullptr});
  return declare();
}

std::string sql_engine::check(const std::string& text) {
  if (text.find('\0') != std::string::npos) return "found a NUL character";
  // Reading `change` again inside an expression would go over rows that other workers may hold.
  std::string lower = text;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (lower.find("millrace change") != std::string::npos) return "no such table";
  if (lower.find_first_not_of(" \t\r\n") == std::string::npos) return "found nothing, expected an expression";
  for (;;) {
    // In parentheses nothing can end the expression early; without them nothing can close them. Both together: one
    // expression. The where clause refuses aggregates and window functions, which would join changes.
    statement_ptr s;
    const std::string from = " from " + quoted(module_) + " as change";
    std::string message = try_prepare("select 1" + from + " where (\n" + text + "\n)", s);
    if (message.empty()) message = try_prepare("select\n" + text + "\n" + from, s);
    if (message.empty() && sqlite3_column_count(s.get()) != 1) message = "expected one expression";
    if (message.empty()) return {};
    if (!add_missing(message)) return message;
  }
}

statement_ptr sql_engine::prepare(const std::vector<std::string>& selects, const std::string& filter) {
  std::string sql = "select ";
  for (const std::string& s : selects) {
    if (sql.size() > 7) sql += ", ";
    sql += "(\n" + s + "\n)";
  }
  sql += " from " + quoted(module_) + " as change";
  if (!filter.empty()) sql += " where (\n" + filter + "\n)";
  statement_ptr s;
  if (const std::string message = try_prepare(sql, s); !message.empty())
    throw std::logic_error("checked SQL does not compile: " + message);
  return s;
}

void sql_engine::run(sqlite3_stmt* statement, frame& f, run_state& state, std::vector<frame_row>& rows, std::size_t begin,
                     std::size_t end, bool deletes, const std::function<void(frame_row&, sqlite3_stmt*)>& on_row,
                     const std::function<void(frame_row&, std::string)>& on_error) {
  change_scan& s = *scan_;
  s.f = &f;
  s.state = &state;
  s.rows = &rows;
  s.end = end;
  s.deletes = deletes;
  s.bindings.resize(names_.size());
  for (std::size_t i = 0; i < names_.size(); ++i) {
    s.bindings[i] = {f.find_any_case(names_[i]), -1};
    for (std::size_t m = 0; m < meta_names.size();
         ++m) // a change's own column of this name hides what we know, if it may have one
      if (names_[i] == meta_names[m] && (columns_.open || s.bindings[i].column < 0)) s.bindings[i].meta = static_cast<int>(m);
  }
  log_time_us = std::chrono::duration_cast<std::chrono::microseconds>(state.batch().first_time().time_since_epoch()).count();
  for (s.begin = begin; s.begin < end; s.begin = s.current + 1) {
    s.current = s.begin;
    change_module::settle(s); // an error before the first row is that row's
    if (s.current >= end) break;
    int rc = SQLITE_ROW;
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) on_row(rows[s.current], statement);
    std::string message = rc == SQLITE_DONE ? "" : sqlite3_errmsg(db_.get());
    if (rc == SQLITE_INTERRUPT)
      message =
          "took more steps of SQLite's virtual machine than a change may (" + std::to_string(s.ops_limit * ops_a_call) + ")";
    sqlite3_reset(statement);
    if (rc == SQLITE_DONE) break;
    if (s.current >= end) s.current = end - 1;
    on_error(rows[s.current], std::move(message));
  }
  s.f = nullptr;
}

} // namespace millrace::actors::transform
