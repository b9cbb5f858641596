#pragma once
// How rows of one layout reach one table: which cell goes to which column, and the prepared statements that carry them.

#include "actors/load/sqlite/table.hpp"
#include "actors/transform/row_set.hpp"

#include <map>
#include <string>
#include <vector>

namespace millrace::actors::load::sqlite {

/// A statement whose first parameters are cells of the row, in this order; others follow.
struct row_statement {
  statement handle;
  std::vector<std::uint32_t> cells;
  int next_parameter() const noexcept { return static_cast<int>(cells.size()) + 1; }
};

/// The statements for rows that carry the same subset of the columns. Almost every load has one such subset: all.
struct column_subset {
  std::vector<bool> present;
  row_statement
      write; ///< append: insert; upsert, soft_delete: upsert (all present) or insert (some missing); history: a new version
  row_statement update; ///< some missing: the row that is there keeps them. Parameters after the cells: the key.
  row_statement move;   ///< key-changing update in place. Parameters after the cells: the old key.
  bool all = false;
};

/// Text of the statements for one table and layout; no state.
class statement_text {
public:
  statement_text(const table_spec& spec, const transform::table_layout& layout) : spec_(spec), layout_(layout) {}

  std::string insert(const std::vector<std::uint32_t>& cells) const;
  std::string upsert(const std::vector<std::uint32_t>& cells) const;
  /// UPDATE of the given cells where the key (parameters after them) matches; empty if there is nothing to set.
  std::string update(const std::vector<std::uint32_t>& cells) const;
  /// Parameters: cells, valid_from, _offset, key whose newest version gives what is missing.
  std::string new_version(const std::vector<std::uint32_t>& cells, const std::vector<std::uint32_t>& missing) const;
  std::string close_version() const; ///< parameters: valid_to, key
  std::string erase() const;         ///< parameters: key
  std::string mark_deleted() const;  ///< parameters: key
  std::string exists() const;        ///< parameters: key
  std::string upsert_check() const;  ///< compiles only if the table has a unique index over the key of its mode

private:
  std::string table() const { return "main." + quoted(spec_.to); }
  std::string key_match(int first_parameter) const;
  std::string conflict_target() const;
  bool in_key(std::uint32_t cell) const;
  const std::string& name(std::uint32_t cell) const { return layout_.columns[cell].name; }
  const table_spec& spec_;
  const transform::table_layout& layout_;
};

struct layout_plan {
  enum class use : std::uint8_t {
    write,   ///< the cell goes to its column
    absent,  ///< the table has no such column yet: it is made when a value comes
    blocked, ///< the table cannot have it: a value in it is refused
  };
  struct column_plan {
    use how = use::write;
    affinity kind = affinity::none;
    bool is_decimal = false;
    std::string why; ///< blocked
  };
  transform::table_layout_ptr layout; ///< pins the pointer that the plan is found by
  std::vector<column_plan> columns;
  std::vector<std::uint32_t> watched; ///< columns whose values must be looked at: absent, blocked, or not sure to fit
  std::vector<bool> writable;
  column_subset full;
  std::map<std::vector<bool>, column_subset> partial;
  row_statement close, erase, mark, exists;

  std::vector<std::uint32_t> cells_of(const std::vector<bool>& present) const;
};

} // namespace millrace::actors::load::sqlite
