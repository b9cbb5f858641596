#pragma once
// What a block of PostgreSQL changes says about its tables (schemas/source.capnp), parsed once for each distinct context.

#include "actors/spec.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::actors::transform {

/// How the text of a type is read. A domain is read as what it is made from; anything that is not named here is `text`.
enum class pg_kind : std::uint8_t { boolean, integer, real, numeric, bytes, json, uuid, date, timestamp, text };
data_type type_of(pg_kind k) noexcept;

struct pg_column {
  std::string name;
  std::string source_type; ///< as PostgreSQL writes it: numeric(10,2)
  pg_kind kind = pg_kind::text;
  bool identity = false; ///< the old row of an update or a delete has it
  friend bool operator==(const pg_column&, const pg_column&) = default;
};

struct pg_table {
  std::uint32_t id = 0; ///< as the changes name it
  std::string schema, name;
  std::string full;             ///< schema.name
  std::string replica_identity; ///< default | full | index | nothing
  bool snapshotting = false;    ///< rows of it are still to come from a snapshot: an update may meet none
  std::vector<pg_column> columns;
  std::vector<std::uint32_t> key; ///< columns of the primary key, else of the replica identity's index; empty: there is neither
  /// The same rows come out of both; the id may differ (a table made anew).
  bool reads_like(const pg_table& other) const {
    return columns == other.columns && key == other.key && full == other.full && replica_identity == other.replica_identity;
  }
};

struct pg_tables {
  std::vector<pg_table> tables;
  std::string error; ///< why the context cannot be read; empty: it can
  const pg_table* find(std::uint32_t id) const;
};
using pg_tables_ptr = std::shared_ptr<const pg_tables>;

/// `words`: a SourceTables message as the words of its only segment; any bytes are taken, bad ones give `error`.
pg_tables_ptr parse_pg_tables(std::string_view words);

/// Owner: one transformer. Contexts repeat from block to block until a schema changes.
class pg_table_cache {
public:
  pg_tables_ptr of(std::string_view context);

private:
  struct entry {
    std::string context;
    pg_tables_ptr tables;
  };
  std::vector<entry> entries_; ///< newest use first
};

} // namespace millrace::actors::transform
