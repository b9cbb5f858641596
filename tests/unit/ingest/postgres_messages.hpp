#pragma once
// pgoutput's messages as a server writes them.

#include "actors/ingest/postgres/bytes.hpp"

#include <string>
#include <tuple>
#include <vector>

namespace postgres_test {

using millrace::actors::ingest::postgres::put_number;

inline const std::string null_cell = "\x01null", unchanged_cell = "\x01unchanged";

inline std::string begin_bytes(std::uint64_t commit, std::uint32_t xid, std::int64_t time = 0) {
  std::string m = "B";
  put_number(m, commit, 8);
  put_number(m, static_cast<std::uint64_t>(time), 8);
  put_number(m, xid, 4);
  return m;
}
inline std::string commit_bytes(std::uint64_t commit, std::uint64_t end) {
  std::string m("C\0", 2);
  put_number(m, commit, 8);
  put_number(m, end, 8);
  put_number(m, 0, 8);
  return m;
}
inline std::string relation_bytes(std::uint32_t id, const std::string& schema, const std::string& name, char identity,
                                  const std::vector<std::tuple<std::string, bool, std::uint32_t>>& columns) {
  std::string m = "R";
  put_number(m, id, 4);
  m += schema + '\0' + name + '\0' + identity;
  put_number(m, columns.size(), 2);
  for (const auto& [column, in_key, type] : columns) {
    m += in_key ? '\1' : '\0';
    m += column + '\0';
    put_number(m, type, 4);
    put_number(m, UINT32_MAX, 4);
  }
  return m;
}
inline std::string tuple_bytes(const std::vector<std::string>& values) {
  std::string m;
  put_number(m, values.size(), 2);
  for (const auto& v : values) {
    if (v == null_cell) {
      m += 'n';
    } else if (v == unchanged_cell) {
      m += 'u';
    } else {
      m += 't';
      put_number(m, v.size(), 4);
      m += v;
    }
  }
  return m;
}
inline std::string change_head(char kind, std::uint32_t relation) {
  std::string m(1, kind);
  put_number(m, relation, 4);
  return m;
}
inline std::string insert_bytes(std::uint32_t relation, const std::vector<std::string>& row) {
  return change_head('I', relation) + 'N' + tuple_bytes(row);
}
inline std::string update_bytes(std::uint32_t relation, char old_kind, const std::vector<std::string>& before,
                                const std::vector<std::string>& after) {
  return change_head('U', relation) + (old_kind ? old_kind + tuple_bytes(before) : "") + 'N' + tuple_bytes(after);
}
inline std::string delete_bytes(std::uint32_t relation, char old_kind, const std::vector<std::string>& before) {
  return change_head('D', relation) + old_kind + tuple_bytes(before);
}

} // namespace postgres_test
