#include "actors/load/postgres/session.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <poll.h>

namespace millrace::actors::load::postgres {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

// A statement of ours that waits for a lock ends by lock_timeout, a dead host by TCP keepalives (pq::connection). What is left is
// a server that stands still; ten minutes leave room for a large ALTER TABLE or a checkpoint storm.
constexpr auto patience = std::chrono::minutes(10);

/// "COPY orders, line 12, column qty: ..."
int line_of(std::string_view context) {
  const auto copy = context.find("COPY ");
  const auto comma = copy == std::string_view::npos ? copy : context.find(", line ", copy);
  int line = 0;
  if (comma != std::string_view::npos) std::from_chars(context.data() + comma + 7, context.data() + context.size(), line);
  return line;
}

} // namespace

blame blame_of(const pq::server_error& e) noexcept {
  const std::string_view s = e.sqlstate;
  if (s.size() != 5 || pq::is_transient(s)) return blame::trouble;
  // 54000: an index entry or a row that is too large; 21000: two rows of one statement are one key for the server.
  if (pq::is_data_error(s) || s == "21000" || s == "54000") return blame::row;
  // undefined column, table, no index for ON CONFLICT, other types than planned, generated or identity column since, dropped type
  for (const std::string_view known : {"42703", "42P01", "42P10", "42804", "428C9", "42704", "42P22"})
    if (s == known) return blame::shape;
  if (s == "0A000" && e.message.find("cached plan") != std::string::npos) return blame::shape;
  const auto group = s.substr(0, 2);
  for (const std::string_view ours :
       {"0A", "0B", "0L", "0P", "25", "26", "28", "2B", "2D", "34", "3B", "3D", "3F", "42", "54", "55", "F0", "HV", "XX"})
    if (group == ours) return blame::trouble;
  return blame::row; // classes that a trigger of the user raises
}

row_error row_error_of(const pq::server_error& e) {
  row_error out;
  out.reason = e.sqlstate.substr(0, 2) == "22" ? "type" : "constraint";
  out.message = e.text();
  if (!e.context.empty()) out.message += " (" + e.context.substr(0, 400) + ")";
  out.sqlstate = e.sqlstate;
  out.constraint = e.constraint.empty() && e.sqlstate == "23502" ? "NOT NULL" : e.constraint;
  out.column = e.column;
  if (out.column.empty()) { // COPY names it in the context only
    const auto at = e.context.find(", column ");
    if (at != std::string::npos) {
      const auto from = at + 9;
      const auto end = e.context.find_first_of(":\n", from); // behind it the value, but not of a binary COPY
      out.column = e.context.substr(from, end == std::string::npos ? end : end - from);
    }
  }
  return out;
}

result<std::unique_ptr<session>> session::open(const std::string& conninfo, const std::string& application) {
  pq::connect_options options;
  options.read_write = true; // of several hosts the primary: a standby could only say no for ever
  options.application_name = application;
  // A statement prepared against a small or empty table is used when it is large: without these it might keep joining by a scan
  // of the whole table. JIT would compile each of the few statements because of the cost that a disabled scan of our own
  // temporary table is given.
  options.settings = {{"lock_timeout", "5000"},
                      {"enable_seqscan", "off"},
                      {"enable_hashjoin", "off"},
                      {"enable_mergejoin", "off"},
                      {"enable_material", "off"},
                      {"jit", "off"},
                      // The server's side: it forgets a host that is gone, and its locks, in half a minute instead of two hours.
                      {"tcp_keepalives_idle", "10"},
                      {"tcp_keepalives_interval", "5"},
                      {"tcp_keepalives_count", "3"}};
  auto opened = pq::connection::open(conninfo, options);
  if (!opened) return opened.error();
  std::unique_ptr<session> made(new session(std::move(opened).value()));
  auto asked = made->ask("SHOW synchronous_commit", "reading its settings");
  if (!asked) return asked.error();
  // What was committed is forgotten here; a server that forgets it after a crash would lose it.
  if (asked.value().at(0, 0) == "off")
    if (auto bad = made->run("SET synchronous_commit = on", "setting synchronous_commit")) return bad->why;
  return made;
}

void session::add(std::string sql, handler then) { pending_.push_back({std::move(sql), std::move(then)}); }

PGresult* session::next_result() {
  auto* c = c_->get();
  const auto deadline = clock::now() + patience;
  while (PQisBusy(c)) {
    pollfd fd{PQsocket(c), POLLIN, 0};
    if (fd.fd < 0) break;
    const int n = poll(&fd, 1, 1000);
    if (n == 0 && clock::now() > deadline) {
      silent_ = true;
      return nullptr;
    }
    if (n > 0 && !PQconsumeInput(c)) break; // PQgetResult tells
  }
  return PQgetResult(c);
}

fault session::fault_of(const PGresult* r, std::string_view doing) const {
  fault out;
  out.why = c_->failed(r, doing);
  if (!c_->alive() || !r) return out;
  out.said = pq::error_of(r);
  out.what = blame_of(out.said);
  out.line = line_of(out.said.context);
  if (out.what == blame::shape) out.why = make_failure(errc::unavailable, out.why.message + ". The table is looked at again");
  if (out.said.sqlstate == "55P03") out.why.message = "waiting for a lock: " + out.why.message;
  return out;
}

std::optional<fault> session::send(std::string sql, std::string_view doing, bool into_copy) {
  auto statements = std::move(pending_);
  pending_.clear();
  auto* c = c_->get();
  if (silent_ || !alive() || !PQsendQuery(c, sql.c_str())) return fault_of(nullptr, doing);
  std::optional<fault> out;
  std::size_t at = 0;
  while (PGresult* raw = next_result()) {
    pq::query_result r(raw);
    const auto status = PQresultStatus(raw);
    if (status == PGRES_COPY_IN && into_copy) return out;
    if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
      PQputCopyEnd(c, "not expected");
      continue;
    }
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_EMPTY_QUERY) {
      if (!out) out = fault_of(raw, doing);
    } else if (at < statements.size() && statements[at].then) {
      statements[at].then(r);
    }
    ++at;
    if (!alive()) break;
  }
  if (silent_) {
    out.emplace();
    out->why = make_failure(errc::unavailable, name() + ": " + std::string(doing) + ": no answer for 10 minutes");
  } else if (!out && !alive()) {
    out = fault_of(nullptr, doing);
  } else if (!out && into_copy) {
    out.emplace();
    out->why = make_failure(errc::unavailable, name() + ": " + std::string(doing) + ": COPY did not begin");
  }
  return out;
}

std::optional<fault> session::flush(std::string_view doing) {
  if (pending_.empty()) return std::nullopt;
  std::string sql;
  for (const auto& s : pending_) sql += s.sql + ";\n";
  return send(std::move(sql), doing, false);
}

result<pq::query_result> session::ask(std::string sql, std::string_view doing) {
  pq::query_result out;
  // The handler keeps the rows: the result itself goes when send() is done with it.
  std::unique_ptr<PGresult, decltype(&PQclear)> kept(nullptr, &PQclear);
  add(std::move(sql),
      [&](const pq::query_result& r) { kept.reset(PQcopyResult(r.get(), PG_COPYRES_ATTRS | PG_COPYRES_TUPLES)); });
  if (auto bad = flush(doing)) return bad->why;
  return pq::query_result(kept.release());
}

std::optional<fault> session::copy_begin(const std::string& sql, std::string_view doing) {
  std::string all;
  for (const auto& s : pending_) all += s.sql + ";\n";
  return send(all + sql, doing, true);
}

bool session::copy_data(std::string_view piece) {
  constexpr std::size_t most = 64u << 20; // libpq counts in int
  while (!piece.empty()) {
    const auto n = std::min(piece.size(), most);
    if (PQputCopyData(c_->get(), piece.data(), static_cast<int>(n)) != 1) return false;
    piece.remove_prefix(n);
  }
  return true;
}

std::optional<fault> session::copy_end(std::string_view doing) {
  return copy_ended(PQputCopyEnd(c_->get(), nullptr) == 1, doing);
}

std::optional<fault> session::copy_abandon(std::string_view doing) {
  auto bad = copy_ended(PQputCopyEnd(c_->get(), "abandoned") == 1, doing);
  // query_canceled is how COPY ends by our wish. If somebody else cancelled it, the next attempt tells.
  if (bad && alive() && bad->said.sqlstate == "57014") return {};
  return bad;
}

std::optional<fault> session::copy_ended(bool ended, std::string_view doing) {
  std::optional<fault> out;
  while (PGresult* raw = next_result()) {
    pq::query_result r(raw);
    const auto status = PQresultStatus(raw);
    if (status == PGRES_COPY_IN) break; // PQputCopyEnd failed: the connection is gone
    if (status != PGRES_COMMAND_OK && !out) out = fault_of(raw, doing);
    if (!alive()) break;
  }
  if (!out && (silent_ || !ended || !alive())) out = fault_of(nullptr, doing);
  return out;
}

std::optional<fault> session::prepared(const std::string& sql, std::string& execute) {
  constexpr std::size_t statements_max = 1000; // the server keeps each one's plan
  if (prepared_.size() >= statements_max && !prepared_.contains(sql)) forget_prepared();
  auto& name = prepared_[sql];
  if (name.empty()) {
    const auto made = "mr" + std::to_string(++names_);
    if (auto bad = run("PREPARE " + made + " AS " + sql, sql.substr(0, 120))) {
      prepared_.erase(sql);
      return bad;
    }
    name = made;
  }
  execute = "EXECUTE " + name;
  return std::nullopt;
}

void session::forget_prepared() {
  if (!prepared_.empty()) add("DEALLOCATE ALL");
  prepared_.clear();
}

} // namespace millrace::actors::load::postgres
