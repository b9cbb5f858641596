#pragma once
// One version of a source table's shape, and its form in the log (schemas/source.capnp).

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace millrace::actors::ingest::postgres {

struct table_schema {
  struct column {
    std::string name, type; ///< type: as PostgreSQL writes it, with modifier and, unless built in, its schema
    std::uint32_t type_id = 0, base_type_id = 0;
    std::int32_t modifier = -1;
    bool identity = false, not_null = false, generated = false;
    std::uint16_t key = 0; ///< place in the primary key, from 1
    std::string kind = "base";
    std::vector<std::string> labels; ///< of an enum, of a domain over one, of an array of one
    friend bool operator==(const column&, const column&) = default;
  };
  std::uint32_t id = 0;
  std::string schema, name;
  char identity = 'd';
  std::vector<column> columns;
  bool snapshotting = false;
  std::string full_name() const { return schema + '.' + name; }
  friend bool operator==(const table_schema&, const table_schema&) = default;
};
/// Two pointers are equal exactly if the versions are: who makes one keeps it for as long as nothing changes.
using table_schema_ptr = std::shared_ptr<const table_schema>;

/// The words of a flat SourceTables message: change_block::context.
std::string encode_tables(std::span<const table_schema_ptr> tables);

} // namespace millrace::actors::ingest::postgres
