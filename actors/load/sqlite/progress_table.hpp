#pragma once
// _millrace_offsets: where each load stands, in the same file and transaction as its rows (replication.md, section 11).

#include "actors/load/destination.hpp"
#include "actors/load/sqlite/connection.hpp"

namespace millrace::actors::load::sqlite {

struct progress_row {
  std::string log; ///< the log_id as 16 hexadecimal digits: SQLite has no unsigned 64-bit integer
  std::uint64_t epoch = 0;
  std::uint64_t next = 0;
  std::uint64_t filtered = 0;
};
std::string log_text(storage::log_id id);

/// One load's row. All calls inside a transaction of the connection. Errors: those of the connection; log_mismatch if the
/// row's values make no sense (someone edited them).
class progress_table {
public:
  progress_table(connection& c, const claim_request& who) : c_(c), who_(who) {}

  result<void> make();
  result<std::optional<progress_row>> read();
  result<void> put(const progress_row& row);
  /// Moves the row only if it still stands at `from` under our log and epoch; `from` none: under our epoch, wherever it stands.
  /// False: it does not.
  result<bool> advance(std::optional<storage::offset> from, const progress& to);

private:
  result<statement*> ready(statement& s, std::string_view sql);
  void bind_key(sqlite3_stmt* s, int first) const;
  connection& c_;
  const claim_request& who_;
  statement read_, move_;
};

} // namespace millrace::actors::load::sqlite
