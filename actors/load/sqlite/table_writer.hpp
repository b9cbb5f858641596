#pragma once
// The rows of one table of a load, in the modes of interfaces.md.

#include "actors/load/destination.hpp"
#include "actors/load/sqlite/layout_plan.hpp"

#include <unordered_map>

namespace millrace::actors::load::sqlite {

enum class fate : std::uint8_t {
  applied,
  rejected, ///< by the data; `why` says so
  failed,   ///< the database is in trouble; `trouble` says so
};
struct verdict {
  row_error why;
  failure trouble;
};

/// Owner: the destination; used only while it holds the connection.
class table_writer {
public:
  explicit table_writer(const table_spec& spec) : spec_(spec) {}

  /// Inside a transaction: makes the table if its columns are known, adds what an existing one lacks, checks that its mode can
  /// work. Errors: refused, with what the table would need.
  result<void> attach(connection& c);
  /// The schema moved, or a transaction with DDL was rolled back: everything is read and prepared again.
  void forget() noexcept;

  /// Makes columns that the row needs. Before any savepoint, so that undoing the change leaves the schema as we know it.
  fate make_room(connection& c, const transform::row_set& set, const transform::row& r, verdict& out);
  /// More than one statement may change data: a rejection needs a savepoint to undo the first ones.
  bool compound(const transform::row& r) const noexcept;
  fate apply(connection& c, const transform::row_set& set, const transform::row& r, verdict& out);

  /// A rewind: every row goes, whatever the mode.
  result<void> empty(connection& c);
  const table_spec& spec() const noexcept { return spec_; }

private:
  struct key_cells {
    const transform::cell* cells; ///< by position, or by the layout's key
    bool by_layout;
  };
  result<layout_plan*> plan_for(connection& c, const transform::table_layout_ptr& layout, const transform::cell* first_row);
  result<void> make_table(connection& c, const transform::table_layout& layout, const transform::cell* first_row);
  result<void> check_mode(connection& c, const transform::table_layout& layout);
  void plan_columns(layout_plan& plan) const;
  bool declared(const std::string& column) const;
  /// `text` is asked for once: building it for every row cost more than the row.
  template <class Text>
  result<void> ready(connection& c, row_statement& s, const Text& text, std::vector<std::uint32_t> cells);
  result<column_subset*> subset_for(connection& c, layout_plan& plan, const transform::cell* cells);
  result<void> ready_write(connection& c, layout_plan& plan, column_subset& s);

  fate write(connection& c, layout_plan& plan, const transform::row_set& set, const transform::row& r, verdict& out);
  fate move(connection& c, layout_plan& plan, const transform::row_set& set, const transform::row& r, verdict& out);
  fate version(connection& c, layout_plan& plan, const transform::row_set& set, const transform::row& r, verdict& out);
  fate remove(connection& c, layout_plan& plan, const transform::row_set& set, const transform::row& r, verdict& out);
  fate truncate(connection& c, const transform::row_set& set, const transform::row& r, verdict& out);
  fate close_current(connection& c, layout_plan& plan, const key_cells& key, const std::string& at, verdict& out);
  fate found(connection& c, layout_plan& plan, const transform::cell* key, bool& yes, verdict& out);

  bool bind(sqlite3_stmt* s, int at, const transform::cell& value, std::string_view column, verdict& out) const;
  bool bind_cells(const layout_plan& plan, const row_statement& s, const transform::cell* cells, verdict& out) const;
  bool bind_key(const layout_plan& plan, sqlite3_stmt* s, int at, const key_cells& key, verdict& out) const;
  fate step(connection& c, sqlite3_stmt* s, verdict& out) const;

  const table_spec& spec_;
  table_shape shape_;
  bool known_ = false;   ///< shape_ is what the database has
  bool checked_ = false; ///< the mode's unique index was seen
  std::unordered_map<const transform::table_layout*, std::unique_ptr<layout_plan>> plans_;
  layout_plan* last_ = nullptr;
  std::map<std::string, std::string> blocked_; ///< columns that SQLite would not add, and its words
};

} // namespace millrace::actors::load::sqlite
