#pragma once
// A destination table as the catalog has it.

#include "actors/load/postgres/session.hpp"

namespace millrace::actors::load::postgres {

/// "orders" or "schema.orders", as the spec's `to` and the destination's schema say. Quotes are understood: "a.b"."c".
struct table_name {
  std::string schema, table;
  std::string quoted() const { return pq::quoted_name(schema) + '.' + pq::quoted_name(table); }
  friend auto operator<=>(const table_name&, const table_name&) = default;
};
table_name parse_name(std::string_view to, std::string_view default_schema);

/// How values of a column compare: decides whether equal bytes are what the server takes for equal, and nothing else.
enum class comparison : std::uint8_t {
  boolean,
  integer,
  text, ///< bytes: text and varchar under a deterministic collation
  uuid,
  loose, ///< the server may take different bytes for equal: numeric, timestamps, citext, char(n), ...
};

struct table_column {
  std::string name;
  std::string type;       ///< as format_type says it: numeric(10,2)
  std::string staged;     ///< the type of the column that carries it in the temporary table: a domain's base, with its collation
  std::uint32_t base = 0; ///< oid of the type under all domains
  comparison compares = comparison::loose;
  bool is_enum = false; ///< of the base type
  bool not_null = false;
  bool generated = false; ///< GENERATED ALWAYS AS (expression) STORED
  bool identity_always = false;
};

struct unique_index {
  std::uint32_t oid = 0;
  std::string name;
  std::vector<std::string> columns;
};

struct table_shape {
  bool exists = false;
  std::uint32_t oid = 0;
  char kind = 'r'; ///< r: table, p: partitioned, f: foreign
  bool can_select = false, can_insert = false, can_update = false, can_delete = false;
  bool owner = false;
  bool row_security = false; ///< applies to us
  std::vector<table_column> columns;
  std::vector<unique_index> unique; ///< usable by ON CONFLICT
  const table_column* find(std::string_view name) const noexcept;
  int index_of(std::string_view name) const noexcept; ///< -1: none
  /// A unique index over exactly these columns, in any order.
  const unique_index* unique_over(const std::vector<std::string>& columns) const noexcept;
};

/// Errors: refused for views and others that ON CONFLICT and COPY cannot serve; those of the session.
result<table_shape> read_shape(session& s, const table_name& name);
/// SQL of one number that changes whenever one of the tables is altered or loses or gains an index. Not a row: an expression.
std::string fingerprint_text(const std::vector<std::uint32_t>& tables);

} // namespace millrace::actors::load::postgres
