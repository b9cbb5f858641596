#include "actors/ingest/postgres/relation_routes.hpp"

#include <algorithm>

namespace millrace::actors::ingest::postgres {

using namespace std::chrono_literals;

result<void> relation_routes::told(connection& side, const std::string& publication, relation_message message,
                                   snapshot_coordinator& tables, std::vector<std::string>& notices) {
  last_ = nullptr;
  auto& route = routes_[message.id];
  const auto now = std::chrono::steady_clock::now();
  // Some workloads make the server tell the same again many times a second; what only the catalog knows may wait.
  if (route.schema && route.message == message && now - route.described_at < 1s) return success();
  const auto full = message.schema + '.' + message.name;
  route.table = tables.find(message.id);
  if (!route.table) route.table = tables.find_name(full); // dropped and made again
  route.before = known_before_.contains(full) || (route.table && known_before_.contains(route.table->name));
  if (route.table || route.before) {
    auto described = describe(side, message.id, publication);
    if (!described) return described.error();
    auto made = complete(side, message, described.value());
    if (!made) return made.error();
    auto schema = std::move(made).value();
    if (route.table && route.table->name != full) {
      std::tie(schema.schema, schema.name) = split_name(route.table->name);
      if (route.message.name != message.name)
        notices.push_back("table " + route.table->name + " is named " + full +
                          " in the source now; it goes on under its old name. "
                          "Change source.tables to follow");
    }
    schema.snapshotting = route.table && route.table->snapshotting();
    auto& newest = newest_[message.id];
    if (!newest || *newest != schema) newest = std::make_shared<const table_schema>(std::move(schema));
    route.schema = newest;
  }
  route.enum_columns.clear();
  if (route.schema)
    for (std::size_t i = 0; i < route.schema->columns.size(); ++i)
      if (const auto& c = route.schema->columns[i]; !c.labels.empty() && c.kind != "array") route.enum_columns.push_back(i);
  route.message = std::move(message);
  route.key_version = 0;
  route.described_at = now;
  return success();
}

result<void> relation_routes::check_labels(connection& side, const std::string& publication, relation_route& route,
                                           const row_change& change, snapshot_coordinator& tables,
                                           std::vector<std::string>& notices) {
  for (const auto i : route.enum_columns) {
    if (i >= change.after.size() || change.after[i].k != tuple_cell::kind::text) continue;
    const auto& labels = route.schema->columns[i].labels;
    if (std::find(labels.begin(), labels.end(), change.after[i].text) != labels.end()) continue;
    if (!route.strange_labels.insert(std::string(change.after[i].text)).second)
      continue; // renamed since: the catalog has it no more
    route.described_at = {};
    auto message = route.message;
    return told(side, publication, std::move(message), tables, notices);
  }
  return success();
}

relation_route* relation_routes::find(std::uint32_t relation) {
  if (last_ && last_->message.id == relation) return last_;
  const auto at = routes_.find(relation);
  if (at == routes_.end()) return nullptr;
  return last_ = &at->second;
}

bool relation_routes::refresh(relation_route& route) {
  auto& table = *route.table;
  if (route.schema->snapshotting != table.snapshotting()) {
    auto schema = *route.schema;
    schema.snapshotting = table.snapshotting();
    route.schema = newest_[route.message.id] = std::make_shared<const table_schema>(std::move(schema));
  }
  if (route.key_version == table.key_version) return route.key_columns.size() == table.window_key.size();
  route.key_version = table.key_version;
  route.key_columns.clear();
  const auto& columns = route.message.columns;
  for (const auto& name : table.window_key) {
    const auto at = std::find_if(columns.begin(), columns.end(), [&](const auto& c) { return c.name == name; });
    if (at == columns.end()) break;
    route.key_columns.push_back(static_cast<std::size_t>(at - columns.begin()));
  }
  return route.key_columns.size() == table.window_key.size();
}

} // namespace millrace::actors::ingest::postgres
