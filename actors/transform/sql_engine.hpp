#pragma once
// SQL expressions over the rows of a frame: one in-memory SQLite with the virtual table `change`, which may do nothing but
// compute.

#include "actors/transform/step.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <sqlite3.h>
#include <string>
#include <vector>

namespace millrace::actors::transform {

struct sqlite_closer {
  void operator()(sqlite3* db) const noexcept { sqlite3_close_v2(db); }
};
struct statement_closer {
  void operator()(sqlite3_stmt* s) const noexcept { sqlite3_finalize(s); }
};
using statement_ptr = std::unique_ptr<sqlite3_stmt, statement_closer>;

/// The rows that a statement is going over. The virtual table reads cells where they lie.
struct change_scan {
  struct binding {
    int column = -1; ///< of the frame; -1: NULL
    int meta = -1;   ///< payload, op, table_name, offset, ts; where the change has no value of that name
  };
  std::vector<binding> bindings; ///< one per declared column
  frame* f = nullptr;
  run_state* state = nullptr;
  std::vector<frame_row>* rows = nullptr;
  std::size_t begin = 0, end = 0;
  std::size_t current = 0; ///< the row the statement stands on, or will begin with
  bool deletes = false;
  std::uint64_t ops = 0; ///< spent on the current row, in units of the progress handler
  std::uint64_t ops_limit = 0;
  std::string scratch; ///< of ts
};

/// Owner: one step of one transformer; not thread safe. Same input, same rows: no randomness, and 'now' is the time at which
/// the change's entry arrived in the log.
class sql_engine {
public:
  /// `columns`: what expressions can name. With an open shape more names are accepted as they appear, up to max_columns.
  sql_engine(const shape& columns, const transform_limits& limits);
  ~sql_engine();
  sql_engine(const sql_engine&) = delete;
  sql_engine& operator=(const sql_engine&) = delete;

  /// Checks that `text` is one expression, no more. Empty: it is; else SQLite's message.
  std::string check(const std::string& text);
  /// After all expressions are checked: compiles `select <selects> [where <filter>]` over the changes.
  statement_ptr prepare(const std::vector<std::string>& selects, const std::string& filter);

  /// Runs over rows [begin, end); on_row sees each result row, on_error each row whose evaluation failed, which is then left out.
  void run(sqlite3_stmt* statement, frame& f, run_state& state, std::vector<frame_row>& rows, std::size_t begin, std::size_t end,
           bool deletes, const std::function<void(frame_row&, sqlite3_stmt*)>& on_row,
           const std::function<void(frame_row&, std::string)>& on_error);

private:
  bool declare();
  std::string try_prepare(const std::string& sql, statement_ptr& out);
  bool add_missing(const std::string& message);
  struct vfs_time;
  shape columns_;
  std::vector<std::string> names_; ///< declared columns
  std::string module_;
  int generation_ = 0;
  std::unique_ptr<change_scan> scan_;
  std::unique_ptr<sqlite3, sqlite_closer> db_;
  std::string declared_, last_missing_;
  friend struct change_module;
};

/// decimal_add, decimal_sub, decimal_mul, decimal_cmp.
void add_decimal_functions(sqlite3* db);

} // namespace millrace::actors::transform
