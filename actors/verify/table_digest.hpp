#pragma once
// One table of one server as checksums by key range and by row: what both sides of a comparison ask, in the same words.

#include "actors/postgres/connection.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace millrace::actors::verify {

/// Key values as text, in the key's order.
using key_values = std::vector<std::string>;

struct compared_table {
  std::string schema, name;
  std::vector<std::string> key;     ///< columns, never null
  std::vector<bool> key_is_text;    ///< compared in the order of bytes: the two servers may sort text by different rules
  std::vector<std::string> columns; ///< that both sides have, in one order
  std::string only;                 ///< SQL condition; empty: all rows (soft_delete and history show some that are gone)
};

/// (after, upto]; none: no bound on that side.
struct key_range {
  std::optional<key_values> after, upto;
};

struct range_digest {
  std::uint64_t rows = 0;
  std::string sum; ///< of the rows' 64-bit hashes
  friend bool operator==(const range_digest&, const range_digest&) = default;
};

struct row_digest {
  std::string hash;
  std::string version; ///< of the source: xmin, so that a row that was changed and changed back is not taken for an unchanged one
};

/// Columns of a table in its order, with whether their type has a collation. Errors: refused if there is no such table.
struct column_shape {
  std::string name;
  bool is_text = false;
  bool generated = false;
  std::uint16_t key = 0; ///< place in the primary key, from 1; 0: not in it
};
result<std::vector<column_shape>> columns_of(postgres::connection& c, const std::string& schema, const std::string& name);

/// The last key of the `rows` rows behind `after`; none: fewer are left.
result<std::optional<key_values>> range_end(postgres::connection& c, const compared_table& t,
                                            const std::optional<key_values>& after, std::uint64_t rows);
result<range_digest> digest(postgres::connection& c, const compared_table& t, const key_range& r);
/// Every row of the range, or only those with the keys given.
result<std::map<key_values, row_digest>> rows_of(postgres::connection& c, const compared_table& t, const key_range& r,
                                                 bool versions);

} // namespace millrace::actors::verify
