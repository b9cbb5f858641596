#pragma once
// libpq for both sides: a connection that closes itself, results that free themselves, errors as ours. No actor, no room above.

#include "actors/errc.hpp"

#include <libpq-fe.h>

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::actors::postgres {

/// What the server said of a statement that failed; empty fields: it did not say.
struct server_error {
  std::string sqlstate, message, detail, hint, context, schema, table, column, constraint;
  /// "duplicate key value ... (SQLSTATE 23505): Key (id)=(7) already exists."
  std::string text() const;
};

/// Reachability, restarts, locks, deadlocks, serialization, disk or connections full: the same again later may go through.
bool is_transient(std::string_view sqlstate) noexcept;
/// The data's own fault (classes 22, 23, 44, and a trigger's RAISE): the row is to be isolated.
bool is_data_error(std::string_view sqlstate) noexcept;

class query_result {
public:
  explicit query_result(PGresult* r = nullptr) : r_(r, &PQclear) {}
  PGresult* get() const noexcept { return r_.get(); }
  int rows() const noexcept { return PQntuples(r_.get()); }
  bool is_null(int row, int column) const noexcept { return PQgetisnull(r_.get(), row, column) != 0; }
  std::string_view at(int row, int column) const noexcept {
    return {PQgetvalue(r_.get(), row, column), static_cast<std::size_t>(PQgetlength(r_.get(), row, column))};
  }
  std::uint64_t affected() const noexcept; ///< rows, by the command's tag
private:
  std::unique_ptr<PGresult, decltype(&PQclear)> r_;
};

server_error error_of(const PGresult* r);

struct connect_options {
  std::string application_name = "millrace";
  bool replication = false; ///< a walsender for a database: START_REPLICATION and simple queries only
  bool read_write = false;  ///< a server that takes writes, unless the connection string names other target_session_attrs
  /// Settings of the session, beside ours: UTC, ISO dates, postgres intervals, hex bytea, exact floats, UTF-8, standard strings.
  std::vector<std::pair<std::string, std::string>> settings;
  std::chrono::seconds connect_timeout{5};
};

/// Owner: one actor's thread; not thread safe.
/// Errors: unavailable (the network, a restart, is_transient), refused (the server answered no). Texts never have a password.
class connection {
public:
  /// Follows libpq's own rules: several hosts, target_session_attrs, TLS, pgpass, service files. TCP keepalives are on.
  static result<std::unique_ptr<connection>> open(const std::string& conninfo, const connect_options& options);

  PGconn* get() const noexcept { return c_.get(); }
  bool alive() const noexcept { return PQstatus(c_.get()) == CONNECTION_OK; }
  int server_version() const noexcept { return PQserverVersion(c_.get()); } ///< 150018
  /// "host:port/dbname", for messages.
  std::string name() const;

  /// One statement, or several without parameters; the last one's result. Text format.
  result<query_result> exec(const std::string& sql);
  /// Parameters as text; null pointers are NULL.
  result<query_result> exec(const std::string& sql, std::span<const char* const> parameters);
  /// The failure of a result or, without one, of the connection. `doing` begins the text.
  failure failed(const PGresult* r, std::string_view doing) const;

  std::string quote_name(std::string_view name) const; ///< "Weird ""name"""
  std::string quote_text(std::string_view text) const; ///< 'it''s'

private:
  explicit connection(PGconn* c) : c_(c, &PQfinish) {}
  std::unique_ptr<PGconn, decltype(&PQfinish)> c_;
};

/// "schema"."table", without a connection.
std::string quoted_name(std::string_view name);
/// 0/16B3748 to a number; none if it is no position.
std::optional<std::uint64_t> parse_lsn(std::string_view text);

} // namespace millrace::actors::postgres
