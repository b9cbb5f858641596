#pragma once
// The destination's side of a connection: statements that wait for company, COPY, and what an error means for a row.

#include "actors/load/destination.hpp"
#include "actors/postgres/connection.hpp"

#include <functional>
#include <map>

namespace millrace::actors::load::postgres {

namespace pq = millrace::actors::postgres;

/// What a failed statement says about.
enum class blame : std::uint8_t {
  row,     ///< the data: isolate it
  shape,   ///< a table is not as we know it: look again
  trouble, ///< anything else: `why` is the call's error
};
struct fault {
  blame what = blame::trouble;
  failure why;
  pq::server_error said;
  int line = 0; ///< of a COPY, from 1; 0: not said
};
blame blame_of(const pq::server_error& e) noexcept;
/// What a dead letter shows.
row_error row_error_of(const pq::server_error& e);

/// Round trips are what small transactions cost, so statements are collected with add() and sent as one query, of which the
/// server runs the rest only if the ones before went well. COPY sends what was collected before it in the same query.
/// Owner: one destination. The session's settings: lock_timeout; joins by index only (see README, "Decisions").
class session {
public:
  using handler = std::function<void(const pq::query_result&)>;
  static result<std::unique_ptr<session>> open(const std::string& conninfo, const std::string& application);

  const pq::connection& link() const noexcept { return *c_; }
  bool alive() const noexcept { return !silent_ && c_->alive(); }
  /// Name of this connection, for messages: "PostgreSQL host:port/dbname".
  std::string name() const { return "PostgreSQL " + c_->name(); }

  /// One statement, for the next flush() or copy(); `then` sees its result.
  void add(std::string sql, handler then = {});
  bool pending() const noexcept { return !pending_.empty(); }
  void forget_pending() noexcept { pending_.clear(); }

  /// Sends what was added. After an error what came behind it was not run; inside of a transaction that is then to be rolled
  /// back.
  std::optional<fault> flush(std::string_view doing);
  /// add() and flush() in one; the statement's result.
  result<pq::query_result> ask(std::string sql, std::string_view doing);
  std::optional<fault> run(std::string sql, std::string_view doing) {
    add(std::move(sql));
    return flush(doing);
  }

  /// COPY ... FROM STDIN: begins, takes what it says in pieces of any size, ends.
  std::optional<fault> copy_begin(const std::string& sql, std::string_view doing);
  /// False: the connection or the server is not taking more; copy_end() says why.
  bool copy_data(std::string_view piece);
  std::optional<fault> copy_end(std::string_view doing);
  /// Ends it by an error, so that it is to be rolled back. A fault: the server had another error before.
  std::optional<fault> copy_abandon(std::string_view doing);

  /// "EXECUTE name" of the text, prepared now if this connection does not know it. Errors: as ask().
  std::optional<fault> prepared(const std::string& sql, std::string& execute);
  void forget_prepared();

private:
  explicit session(std::unique_ptr<pq::connection> c) : c_(std::move(c)) {}
  PGresult* next_result();
  fault fault_of(const PGresult* r, std::string_view doing) const;
  std::optional<fault> copy_ended(bool sent, std::string_view doing);
  std::optional<fault> send(std::string sql, std::string_view doing, bool into_copy);

  struct statement {
    std::string sql;
    handler then;
  };
  std::unique_ptr<pq::connection> c_;
  std::vector<statement> pending_;
  std::map<std::string, std::string> prepared_; ///< text to name
  std::uint64_t names_ = 0;
  bool silent_ = false; ///< the server did not answer in time: the connection is given up
};

} // namespace millrace::actors::load::postgres
