#pragma once
// One destination table as the database has it, and the DDL that makes it what its load needs.

#include "actors/load/declared_fields.hpp"
#include "actors/load/sqlite/connection.hpp"
#include "actors/load/sqlite/value_check.hpp"
#include "actors/spec.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace millrace::actors::load::sqlite {

/// Names that a mode adds to the rows' own columns.
inline constexpr std::string_view deleted_column = "_deleted", valid_from_column = "valid_from", valid_to_column = "valid_to",
                                  current_column = "current", offset_column = "_offset";
std::vector<std::string_view> bookkeeping_columns(load_mode mode);

/// SQLite compares names of tables and columns without regard to ASCII case.
bool same_name(std::string_view a, std::string_view b) noexcept;

struct table_column {
  std::string name;
  std::string declared; ///< the type's text
  affinity kind = affinity::none;
  bool generated = false;
};

/// A column to make.
struct wanted_column {
  std::string name;
  std::string declared;
  bool required = false;
};

/// Source: sqlite_schema, read again whenever its version moved.
struct table_shape {
  bool exists = false;
  bool strict = false;
  std::vector<table_column> columns;
  const table_column* find(std::string_view name) const noexcept;
};

/// Errors: refused for a view or a shadow table; those of the connection.
result<table_shape> read_shape(connection& c, const std::string& table);

/// Makes the table for a mode: key columns first in PRIMARY KEY, bookkeeping columns last.
result<void> create_table(connection& c, const table_spec& spec, const std::vector<wanted_column>& columns,
                          const std::vector<std::string>& key);
/// ALTER TABLE ADD COLUMN. Never NOT NULL, even if required: the rows that are there have no value.
result<void> add_column(connection& c, const std::string& table, const wanted_column& column);

} // namespace millrace::actors::load::sqlite
