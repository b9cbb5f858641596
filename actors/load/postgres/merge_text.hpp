#pragma once
// SQL that moves rows from the temporary table into the table, for one layout. Pure.

#include "actors/load/postgres/target_table.hpp"

namespace millrace::actors::load::postgres {

/// Rows of the temporary table carry the number of what is to be done with them (column g).
enum group : std::uint32_t {
  group_erase = 0,   ///< upsert: delete the row of this key. soft_delete: mark it
  group_clear = 1,   ///< delete it before a write of the same segment makes it anew
  group_close = 2,   ///< history: end the current version of key b at c(valid_to)
  group_first = 10,  ///< then three for each subset of columns:
  group_write = 0,   ///< write; updates keep the columns that are not in the subset, and need a row
  group_lenient = 1, ///< the same, but without a row it is inserted as it is
  group_move = 2,    ///< the row of key b gets this key
  groups_a_subset = 3,
};
constexpr std::uint32_t group_of(std::uint32_t subset, group what) { return group_first + subset * groups_a_subset + what; }

class merge_text {
public:
  merge_text(const target_table& table, const layout_plan& plan) : t_(table), p_(plan) {}

  std::string copy_straight(std::uint32_t subset, bool binary) const;
  std::string copy_stage(bool with_before) const;
  /// Two groups (but clear and its write) have one key for the server: a row if so.
  std::string duplicates() const;
  std::string erase(group g) const;
  std::string mark() const;
  std::string upsert() const;                                 ///< subset 0
  std::string update(std::uint32_t subset, group what) const; ///< empty: there is nothing to set
  /// Ordinals of updates that have no row.
  std::string absent(std::uint32_t subset) const;
  std::string insert_absent(std::uint32_t subset) const;
  /// Moves without an old row become writes; rows at the new keys go; the others move.
  std::string move_retag(std::uint32_t subset, group to) const;
  std::string move_clear(std::uint32_t subset) const;
  std::string move(std::uint32_t subset) const;
  std::string close_versions() const;
  /// Staged versions take what they lack from the newest one in the table, before any of them is there.
  std::string inherit(std::uint32_t subset) const;
  std::string add_versions() const;

private:
  std::string table() const { return t_.name().quoted(); }
  std::string column(std::uint32_t cell) const { return pq::quoted_name(p_.layout->columns[cell].name); }
  std::string staged(std::uint32_t cell) const { return "x.c" + std::to_string(p_.columns[cell].column); }
  std::string staged(std::string_view bookkeeping) const { return "x.c" + std::to_string(t_.shape().index_of(bookkeeping)); }
  std::string key_match(std::string_view alias, bool before) const; ///< alias.key = x.key
  std::string key_list() const;
  std::string moved() const; ///< the keys of a move differ for the server too
  std::string overriding() const;
  std::vector<std::uint32_t> cells(std::uint32_t subset) const;
  std::string where(std::uint32_t g) const { return "x.g = " + std::to_string(g); }
  const target_table& t_;
  const layout_plan& p_;
};

} // namespace millrace::actors::load::postgres
