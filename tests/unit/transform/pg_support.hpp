#pragma once
// PostgreSQL's tables, messages and copied rows made by hand, and batches of them.

#include "schemas/source.capnp.h"
#include "tests/unit/transform/support.hpp"

#include <capnp/message.h>
#include <optional>

namespace millrace::test {

/// The oids of pg_type.dat that tests name.
namespace oid {
enum : std::uint32_t {
  boolean = 16,
  bytea = 17,
  int8 = 20,
  int4 = 23,
  text = 25,
  oid = 26,
  json = 114,
  float4 = 700,
  float8 = 701,
  int4_array = 1007,
  date = 1082,
  timestamp = 1114,
  timestamptz = 1184,
  numeric = 1700,
  uuid = 2950,
  jsonb = 3802
};
}

struct pg_test_column {
  std::string name, type;
  std::uint32_t type_id = oid::text;
  std::uint16_t key = 0;             ///< place in the primary key
  std::optional<bool> identity = {}; ///< default: part of the primary key
  std::uint32_t base = 0;
};
struct pg_test_table {
  std::uint32_t id = 16400;
  std::string schema = "public", name = "orders", identity = "default";
  std::vector<pg_test_column> columns;
  bool snapshotting = false;
};

inline std::string context_of(const std::vector<pg_test_table>& tables) {
  capnp::MallocMessageBuilder message(1u << 16, capnp::AllocationStrategy::FIXED_SIZE);
  auto list = message.initRoot<schemas::SourceTables>().initTables(static_cast<unsigned>(tables.size()));
  for (unsigned i = 0; i < tables.size(); ++i) {
    const pg_test_table& t = tables[i];
    list[i].setId(t.id);
    list[i].setSchema(t.schema);
    list[i].setName(t.name);
    list[i].setReplicaIdentity(t.identity);
    list[i].setSnapshotting(t.snapshotting);
    auto columns = list[i].initColumns(static_cast<unsigned>(t.columns.size()));
    for (unsigned c = 0; c < t.columns.size(); ++c) {
      const pg_test_column& from = t.columns[c];
      columns[c].setName(from.name);
      columns[c].setType(from.type);
      columns[c].setTypeId(from.type_id);
      columns[c].setBaseTypeId(from.base ? from.base : from.type_id);
      columns[c].setKey(from.key);
      columns[c].setIdentity(from.identity.value_or(from.key > 0 || t.identity == "full"));
    }
  }
  const auto words = message.getSegmentsForOutput()[0].asChars();
  return {words.begin(), words.size()};
}

/// A column of a tuple: a text, nullopt for NULL, `unchanged` for a TOAST value that was left alone.
struct pg_test_value {
  std::optional<std::string> text;
  bool unchanged = false;
  pg_test_value(const char* v) : text(v) {}
  pg_test_value(std::string v) : text(std::move(v)) {}
  pg_test_value(std::nullopt_t) {}
  static pg_test_value left_alone() {
    pg_test_value v{std::nullopt};
    v.unchanged = true;
    return v;
  }
};
inline const pg_test_value unchanged = pg_test_value::left_alone();
using pg_test_tuple = std::vector<pg_test_value>;

inline void append_number(std::string& out, std::uint32_t v, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) out += static_cast<char>(v >> shift & 0xff);
}
inline std::string tuple_bytes(const pg_test_tuple& tuple) {
  std::string out;
  append_number(out, static_cast<std::uint32_t>(tuple.size()), 2);
  for (const pg_test_value& v : tuple) {
    if (v.unchanged) {
      out += 'u';
    } else if (!v.text) {
      out += 'n';
    } else {
      out += 't';
      append_number(out, static_cast<std::uint32_t>(v.text->size()), 4);
      out += *v.text;
    }
  }
  return out;
}
inline std::string pg_message(char kind, std::uint32_t relation, const std::vector<std::pair<char, pg_test_tuple>>& tuples) {
  std::string out(1, kind);
  append_number(out, relation, 4);
  for (const auto& [mark, tuple] : tuples) out += mark + tuple_bytes(tuple);
  return out;
}
inline std::string pg_insert(const pg_test_tuple& row, std::uint32_t relation = 16400) {
  return pg_message('I', relation, {{'N', row}});
}
inline std::string pg_update(const pg_test_tuple& row, std::uint32_t relation = 16400) {
  return pg_message('U', relation, {{'N', row}});
}
/// `old`: 'K' or 'O'.
inline std::string pg_update(char old, const pg_test_tuple& before, const pg_test_tuple& row, std::uint32_t relation = 16400) {
  return pg_message('U', relation, {{old, before}, {'N', row}});
}
inline std::string pg_delete(char old, const pg_test_tuple& before, std::uint32_t relation = 16400) {
  return pg_message('D', relation, {{old, before}});
}
inline std::string pg_truncate(std::uint32_t relation = 16400) {
  std::string out = "T";
  append_number(out, 1, 4);
  out += '\0';
  append_number(out, relation, 4);
  return out;
}

inline constexpr std::int64_t commit_us = 1'700'000'555'000'001;

/// One transaction, number 771.
inline storage::change_block pg_block(const std::vector<std::string>& messages, std::string context,
                                      storage::payload_format format = storage::payload_format::pgoutput) {
  storage::change_block block;
  block.format = format;
  block.context = std::move(context);
  for (const std::string& m : messages) {
    block.starts.push_back(static_cast<std::uint32_t>(block.payloads.size()));
    block.lengths.push_back(static_cast<std::uint32_t>(m.size()));
    block.payloads += m;
  }
  block.payloads.shrink_to_fit();
  if (!messages.empty()) block.transactions.push_back({0, 771, 0x16B3748, commit_us, 0});
  return block;
}
inline storage::batch_ptr pgoutput(const pg_test_table& table, const std::vector<std::string>& messages) {
  return std::make_shared<fake_batch>(pg_block(messages, context_of({table})));
}
inline storage::batch_ptr pgcopy(const pg_test_table& table, const std::vector<std::string>& lines) {
  return std::make_shared<fake_batch>(pg_block(lines, context_of({table}), storage::payload_format::pgcopy));
}

/// A load of one table that takes key and columns from the source.
inline load_builder from_source(std::string name = "public.orders") {
  load_builder b;
  b.table().name = std::move(name);
  b.table().key.clear();
  b.table().key_from_source = true;
  return b;
}

} // namespace millrace::test
