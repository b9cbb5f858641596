#pragma once
// _millrace_offsets: where each load stands, in the same database and transaction as its rows (replication.md, section 11).

#include "actors/load/postgres/session.hpp"

namespace millrace::actors::load::postgres {

struct progress_row {
  std::string log; ///< the log_id as 16 hexadecimal digits: PostgreSQL has no unsigned 64-bit integer
  std::uint64_t epoch = 0, next = 0, filtered = 0;
};
std::string log_text(storage::log_id id);

/// One load's row. All calls inside a transaction. Errors: those of the session; log_mismatch if the row's values make no sense
/// (someone edited them); refused if the table cannot be made or used, with the GRANT that is missing.
class progress_table {
public:
  progress_table(session& s, std::string schema, const claim_request& who);

  result<void> make();
  /// `lock`: until the transaction ends.
  result<std::optional<progress_row>> read(bool lock);
  result<void> put(const progress_row& row);
  /// SQL whose first four columns parse() reads, `more` behind them; no row: there is none.
  std::string read_text(const std::string& more = {}) const;
  result<progress_row> parse(const pq::query_result& r) const;
  /// SQL that moves the row if it stands at `from` under our log and epoch (none: wherever it stands), and divides by zero if it
  /// does not: the statements behind it, a COMMIT, are then not run.
  std::string move_text(std::optional<storage::offset> from, const progress& to) const;
  static bool not_ours(const fault& f) noexcept { return f.said.sqlstate == "22012"; }

private:
  std::string key_text() const;
  session& s_;
  std::string schema_, table_;
  claim_request who_;
};

} // namespace millrace::actors::load::postgres
