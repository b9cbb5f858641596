#pragma once
// What the source's catalog says of its tables: columns, types, keys, what a publication sends of them, where their rows lie.

#include "actors/ingest/postgres/pgoutput.hpp"
#include "actors/ingest/postgres/table_schema.hpp"
#include "actors/postgres/connection.hpp"

#include <optional>
#include <string>
#include <vector>

namespace millrace::actors::ingest::postgres {

using actors::postgres::connect_options;
using actors::postgres::connection;

/// Settings under which the stream and the snapshots write the same text for the same value, names of types and tables qualified.
connect_options source_options(const std::string& application_name, bool replication);

struct source_table {
  std::string name; ///< "schema.table", as in the spec
  std::string schema, table;
  std::uint32_t oid = 0; ///< 0: absent
  char kind = 'r';       ///< pg_class.relkind
  char identity = 'd';
  bool has_primary_key = false, has_identity_index = false;
  bool may_select = false;
  bool published = false; ///< by the publication, as itself
};

/// Where rows of a table lie: itself, or its partitions.
struct leaf_table {
  std::uint32_t oid = 0;
  std::string quoted;         ///< "schema"."name"
  std::uint32_t filenode = 0; ///< another one: the table was rewritten and every row has moved
  std::uint64_t blocks = 0;
  double bytes_per_block = 8192; ///< with what is TOASTed out of it
  double rows_per_block = 0;     ///< by statistics; 0: unknown
  double rows = 0;
};

struct table_description {
  table_schema schema;                 ///< the columns that are published, generated ones left out
  std::vector<std::string> window_key; ///< names of the columns by which the stream identifies a row; empty: it does not
  std::string row_filter;              ///< of the publication, as SQL; empty: none
};

/// Splits "schema.table" (or "table", of public).
std::pair<std::string, std::string> split_name(std::string_view name);

/// In the order of `names`. `publication` may be absent.
result<std::vector<source_table>> look_up_tables(connection& c, const std::vector<std::string>& names,
                                                 const std::string& publication);
/// As it is now (in a repeatable read transaction too: the catalog is always current); none: there is no such relation.
result<std::optional<table_description>> describe(connection& c, std::uint32_t oid, const std::string& publication);
/// The shape that a relation message tells, completed from the catalog, which may have moved on: then the message is right.
result<table_schema> complete(connection& c, const relation_message& message, const std::optional<table_description>& now);
result<std::vector<leaf_table>> leaves_of(connection& c, std::uint32_t oid);
/// 0: the relation is gone.
result<std::uint32_t> filenode_of(connection& c, std::uint32_t oid);

/// "select ..." that gives the number of this server's snapshot function (its name changed with 13) and the position now.
std::string snapshot_query(const connection& c);

} // namespace millrace::actors::ingest::postgres
