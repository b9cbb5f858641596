#pragma once
// What the stream's relations are to us: which table, in which version, staged or not.

#include "actors/ingest/postgres/snapshot_coordinator.hpp"

#include <unordered_map>
#include <unordered_set>

namespace millrace::actors::ingest::postgres {

struct relation_route {
  relation_message message;
  snapshot_table* table = nullptr; ///< null: not in source.tables
  bool before = false;             ///< it was in source.tables when the log's open transaction began
  table_schema_ptr schema;
  std::vector<std::size_t> key_columns; ///< of the table's window key
  std::uint32_t key_version = 0;
  std::vector<std::size_t> enum_columns;
  std::unordered_set<std::string> strange_labels; ///< asked for already
  std::chrono::steady_clock::time_point described_at{};
};

/// Of one connection: a new one is told all relations again. Versions outlive it, so that a block does not end for nothing.
class relation_routes {
public:
  /// Names that the log's state knows: they tell which changes of a transaction that was cut are in the log.
  explicit relation_routes(std::unordered_set<std::string> known_before) : known_before_(std::move(known_before)) {}
  void new_connection() { routes_.clear(); }
  /// A Relation message; asks the catalog what the message leaves out. Adds to `notices`.
  result<void> told(connection& side, const std::string& publication, relation_message message, snapshot_coordinator& tables,
                    std::vector<std::string>& notices);
  /// A value of an enum that the schema does not have: the type got it since, which the server does not tell. Asks again.
  result<void> check_labels(connection& side, const std::string& publication, relation_route& route, const row_change& change,
                            snapshot_coordinator& tables, std::vector<std::string>& notices);
  /// Null: the source never told it.
  relation_route* find(std::uint32_t relation);
  /// Brings schema and key up to what the table's snapshot is at. False: its key is not among its columns.
  bool refresh(relation_route& route);

private:
  std::unordered_set<std::string> known_before_;
  std::unordered_map<std::uint32_t, relation_route> routes_;
  std::unordered_map<std::uint32_t, table_schema_ptr> newest_; ///< of any connection
  relation_route* last_ = nullptr;                             ///< most changes come in runs of a table
};

} // namespace millrace::actors::ingest::postgres
