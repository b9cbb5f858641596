#include "actors/load/sqlite/layout_plan.hpp"

#include <algorithm>

namespace millrace::actors::load::sqlite {
namespace {
void append_item(std::string& list, std::string_view item) {
  if (!list.empty()) list += ", ";
  list += item;
}
std::string parameter(int n) { return "?" + std::to_string(n); }
} // namespace

// OR ABORT overrides what a user's table says in its own ON CONFLICT clauses: IGNORE would drop a row without a word, ROLLBACK
// would undo the whole transaction, REPLACE would delete other rows.

bool statement_text::in_key(std::uint32_t cell) const {
  return std::find(layout_.key.begin(), layout_.key.end(), cell) != layout_.key.end();
}

std::string statement_text::key_match(int first) const {
  std::string out;
  for (std::size_t i = 0; i < layout_.key.size(); ++i) {
    if (i) out += " AND ";
    out += quoted(name(layout_.key[i])) + " = " + parameter(first + static_cast<int>(i));
  }
  return out;
}

std::string statement_text::conflict_target() const {
  std::string out;
  for (const auto k : layout_.key) append_item(out, quoted(name(k)));
  if (spec_.mode == load_mode::history) append_item(out, quoted(offset_column));
  return "ON CONFLICT(" + out + ") ";
}

std::string statement_text::insert(const std::vector<std::uint32_t>& cells) const {
  std::string columns, values;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    append_item(columns, quoted(name(cells[i])));
    append_item(values, parameter(static_cast<int>(i) + 1));
  }
  if (spec_.mode == load_mode::soft_delete) {
    append_item(columns, quoted(deleted_column));
    append_item(values, "0");
  }
  if (columns.empty()) return "INSERT OR ABORT INTO " + table() + " DEFAULT VALUES";
  return "INSERT OR ABORT INTO " + table() + "(" + columns + ") VALUES(" + values + ")";
}

std::string statement_text::upsert(const std::vector<std::uint32_t>& cells) const {
  std::string set;
  for (const auto c : cells)
    if (!in_key(c)) append_item(set, quoted(name(c)) + " = excluded." + quoted(name(c)));
  if (spec_.mode == load_mode::soft_delete) append_item(set, quoted(deleted_column) + " = 0");
  return insert(cells) + " " + conflict_target() + (set.empty() ? "DO NOTHING" : "DO UPDATE SET " + set);
}

std::string statement_text::update(const std::vector<std::uint32_t>& cells) const {
  std::string set;
  for (std::size_t i = 0; i < cells.size(); ++i)
    append_item(set, quoted(name(cells[i])) + " = " + parameter(static_cast<int>(i) + 1));
  if (spec_.mode == load_mode::soft_delete) append_item(set, quoted(deleted_column) + " = 0");
  return "UPDATE OR ABORT " + table() + " SET " + set + " WHERE " + key_match(static_cast<int>(cells.size()) + 1);
}

std::string statement_text::new_version(const std::vector<std::uint32_t>& cells,
                                        const std::vector<std::uint32_t>& missing) const {
  std::string columns, values, set;
  int n = 0;
  for (const auto c : cells) {
    append_item(columns, quoted(name(c)));
    append_item(values, parameter(++n));
  }
  for (const auto c : missing) {
    append_item(columns, quoted(name(c)));
    append_item(values, "(SELECT " + quoted(name(c)) + " FROM " + table() + " WHERE " + key_match(n + 3) + " ORDER BY " +
                            quoted(offset_column) + " DESC LIMIT 1)");
  }
  append_item(columns, quoted(valid_from_column));
  append_item(values, parameter(n + 1));
  append_item(columns, quoted(valid_to_column));
  append_item(values, "NULL");
  append_item(columns, quoted(current_column));
  append_item(values, "1");
  append_item(columns, quoted(offset_column));
  append_item(values, parameter(n + 2));
  for (const auto* list : {&cells, &missing})
    for (const auto c : *list)
      if (!in_key(c)) append_item(set, quoted(name(c)) + " = excluded." + quoted(name(c)));
  for (const auto b : {valid_from_column, valid_to_column, current_column})
    append_item(set, quoted(b) + " = excluded." + quoted(b));
  // A conflict means that one change made several rows of a key (a Lua list): the last one is the version.
  return "INSERT OR ABORT INTO " + table() + "(" + columns + ") VALUES(" + values + ") " + conflict_target() + "DO UPDATE SET " +
         set;
}

std::string statement_text::close_version() const {
  return "UPDATE OR ABORT " + table() + " SET " + quoted(valid_to_column) + " = ?1, " + quoted(current_column) + " = 0 WHERE " +
         key_match(2) + " AND " + quoted(current_column) + " = 1";
}

std::string statement_text::erase() const { return "DELETE FROM " + table() + " WHERE " + key_match(1); }

std::string statement_text::mark_deleted() const {
  return "UPDATE OR ABORT " + table() + " SET " + quoted(deleted_column) + " = 1 WHERE " + key_match(1);
}

std::string statement_text::exists() const { return "SELECT 1 FROM " + table() + " WHERE " + key_match(1) + " LIMIT 1"; }

std::string statement_text::upsert_check() const {
  return "INSERT INTO " + table() + "(" + quoted(name(layout_.key.front())) + ") VALUES(NULL) " + conflict_target() +
         "DO NOTHING";
}

std::vector<std::uint32_t> layout_plan::cells_of(const std::vector<bool>& present) const {
  std::vector<std::uint32_t> out;
  for (std::uint32_t i = 0; i < present.size(); ++i)
    if (present[i] && columns[i].how == use::write) out.push_back(i);
  return out;
}

} // namespace millrace::actors::load::sqlite
