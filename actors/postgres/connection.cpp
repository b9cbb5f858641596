#include "actors/postgres/connection.hpp"

#include <array>
#include <charconv>
#include <cstring>
#include <optional>

namespace millrace::actors::postgres {
namespace {

/// libpq's words on one line: they stand in tables and logs.
std::string trimmed(const char* text) {
  std::string out;
  for (std::string_view s = text ? text : ""; !s.empty();) {
    const auto line = s.substr(0, s.find('\n'));
    const auto begin = line.find_first_not_of(" \t");
    if (begin != std::string_view::npos) out += (out.empty() ? "" : "; ") + std::string(line.substr(begin));
    s.remove_prefix(std::min(s.size(), line.size() + 1));
  }
  return out;
}

std::string field(const PGresult* r, int code) {
  const char* f = PQresultErrorField(r, code);
  return f ? f : "";
}

std::string escaped_option(std::string_view value) {
  std::string out;
  for (const char c : value) {
    if (c == ' ' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

} // namespace

std::string server_error::text() const {
  auto out = message;
  if (!sqlstate.empty()) out += " (SQLSTATE " + sqlstate + ')';
  if (!detail.empty()) out += ": " + detail;
  return out;
}

bool is_transient(std::string_view s) noexcept {
  if (s.empty()) return true; // libpq's own: the connection
  const auto group = s.substr(0, 2);
  if (group == "08" || group == "53" || group == "58" || group == "40") return true;
  // canceled, shutdowns, cannot connect now; object in use, lock not available; read only (a standby, a failover); snapshot too
  // old
  static constexpr std::array<std::string_view, 9> codes{"57014", "57P01", "57P02", "57P03", "57P05",
                                                         "55006", "55P03", "25006", "72000"};
  for (const auto c : codes)
    if (s == c) return true;
  return false;
}

bool is_data_error(std::string_view s) noexcept {
  const auto group = s.substr(0, 2);
  return group == "22" || group == "23" || group == "44" || s == "P0001" || group == "2F" || group == "38" || group == "39";
}

std::uint64_t query_result::affected() const noexcept {
  const char* text = PQcmdTuples(r_.get());
  std::uint64_t n = 0;
  std::from_chars(text, text + std::strlen(text), n);
  return n;
}

server_error error_of(const PGresult* r) {
  server_error e;
  e.sqlstate = field(r, PG_DIAG_SQLSTATE);
  e.message = field(r, PG_DIAG_MESSAGE_PRIMARY);
  e.detail = field(r, PG_DIAG_MESSAGE_DETAIL);
  e.hint = field(r, PG_DIAG_MESSAGE_HINT);
  e.context = field(r, PG_DIAG_CONTEXT);
  e.schema = field(r, PG_DIAG_SCHEMA_NAME);
  e.table = field(r, PG_DIAG_TABLE_NAME);
  e.column = field(r, PG_DIAG_COLUMN_NAME);
  e.constraint = field(r, PG_DIAG_CONSTRAINT_NAME);
  if (e.message.empty()) e.message = trimmed(PQresultErrorMessage(r));
  return e;
}

result<std::unique_ptr<connection>> connection::open(const std::string& conninfo, const connect_options& options) {
  // The user's own words win where libpq takes the last of two: ours stand before `dbname`, which is expanded.
  const auto timeout = std::to_string(options.connect_timeout.count());
  std::string settings = "-c timezone=UTC -c datestyle=ISO,YMD -c intervalstyle=postgres -c bytea_output=hex "
                         "-c extra_float_digits=3 -c standard_conforming_strings=on";
  if (!options.replication) settings += " -c idle_in_transaction_session_timeout=0 -c statement_timeout=0";
  for (const auto& [name, value] : options.settings) settings += " -c " + name + '=' + escaped_option(value);
  std::vector<const char*> keys{"connect_timeout",  "keepalives_idle",  "keepalives_interval",
                                "keepalives_count", "tcp_user_timeout", "fallback_application_name",
                                "dbname",           "options",          "client_encoding"};
  std::vector<const char*> values{timeout.c_str(),  "10",  "5", "3", "20000", options.application_name.c_str(), conninfo.c_str(),
                                  settings.c_str(), "UTF8"};
  if (options.read_write) { // before dbname: the user's own word wins
    keys.insert(keys.begin(), "target_session_attrs");
    values.insert(values.begin(), "read-write");
  }
  if (options.replication) {
    keys.push_back("replication");
    values.push_back("database");
  }
  keys.push_back(nullptr);
  values.push_back(nullptr);
  std::unique_ptr<connection> made(new connection(PQconnectdbParams(keys.data(), values.data(), 1)));
  if (!made->c_) return make_failure(errc::unavailable, "PostgreSQL: out of memory");
  if (!made->alive()) {
    std::string why(trimmed(PQerrorMessage(made->get())));
    // libpq gives no SQLSTATE here; what a wrong password or database says will not change by itself, and is told either way.
    return make_failure(errc::unavailable, "PostgreSQL " + made->name() + ": " + why);
  }
  PQsetNoticeProcessor(
      made->get(), [](void*, const char*) {}, nullptr);
  return made;
}

std::string connection::name() const {
  auto part = [](const char* s) { return std::string(s ? s : ""); };
  return part(PQhost(get())) + ':' + part(PQport(get())) + '/' + part(PQdb(get()));
}

failure connection::failed(const PGresult* r, std::string_view doing) const {
  auto text = "PostgreSQL " + name() + ": " + std::string(doing) + ": ";
  if (!alive() || r == nullptr) {
    const auto said = r ? trimmed(PQresultErrorMessage(r)) : std::string{};
    return make_failure(errc::unavailable, text + (said.empty() ? trimmed(PQerrorMessage(get())) : said));
  }
  const auto e = error_of(r);
  return make_failure(is_transient(e.sqlstate) ? errc::unavailable : errc::refused, text + e.text());
}

namespace {
bool went_well(const PGresult* r) {
  switch (PQresultStatus(r)) {
  case PGRES_COMMAND_OK:
  case PGRES_TUPLES_OK:
  case PGRES_SINGLE_TUPLE:
  case PGRES_COPY_IN:
  case PGRES_COPY_OUT:
  case PGRES_COPY_BOTH:
  case PGRES_EMPTY_QUERY:
    return true;
  default:
    return false;
  }
}
std::string_view shortened(std::string_view sql) { return sql.substr(0, std::min<std::size_t>(sql.size(), 120)); }
} // namespace

result<query_result> connection::exec(const std::string& sql) {
  query_result r(PQexec(get(), sql.c_str()));
  if (!r.get() || !went_well(r.get())) return failed(r.get(), shortened(sql));
  return r;
}

result<query_result> connection::exec(const std::string& sql, std::span<const char* const> parameters) {
  query_result r(
      PQexecParams(get(), sql.c_str(), static_cast<int>(parameters.size()), nullptr, parameters.data(), nullptr, nullptr, 0));
  if (!r.get() || !went_well(r.get())) return failed(r.get(), shortened(sql));
  return r;
}

std::string quoted_name(std::string_view name) {
  std::string out = "\"";
  for (const char c : name) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

std::string connection::quote_name(std::string_view name) const { return quoted_name(name); }

std::string connection::quote_text(std::string_view text) const {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') out += '\'';
    out += c;
  }
  return out + '\''; // standard_conforming_strings is on
}

std::optional<std::uint64_t> parse_lsn(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  std::uint32_t high = 0, low = 0;
  const auto* end = text.data() + text.size();
  const auto a = std::from_chars(text.data(), text.data() + slash, high, 16);
  const auto b = std::from_chars(text.data() + slash + 1, end, low, 16);
  if (a.ec != std::errc{} || a.ptr != text.data() + slash || b.ec != std::errc{} || b.ptr != end) return std::nullopt;
  return (std::uint64_t{high} << 32) | low;
}

} // namespace millrace::actors::postgres
