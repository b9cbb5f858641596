#include "actors/ingest/postgres/chunk_query.hpp"

#include "actors/ingest/postgres/position.hpp"
#include "actors/ingest/postgres/row_key.hpp"

#include <algorithm>
#include <array>

namespace millrace::actors::ingest::postgres {
namespace {

using actors::postgres::quoted_name;

struct place {
  std::string quoted;
  std::uint32_t filenode = 0;
  bool partitioned = false;
};

result<std::optional<place>> place_of(connection& c, std::uint32_t oid) {
  const auto text = std::to_string(oid);
  const std::array<const char*, 1> parameters{text.c_str()};
  auto r = c.exec(
      "select pg_catalog.format('%I.%I', n.nspname, c.relname), coalesce(pg_catalog.pg_relation_filenode(c.oid), 0), "
      "c.relkind = 'p' from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = $1",
      parameters);
  if (!r) return r.error();
  if (r.value().rows() != 1) return std::optional<place>{};
  place p;
  p.quoted = r.value().at(0, 0);
  p.filenode = static_cast<std::uint32_t>(to_number(r.value().at(0, 1)).value_or(0));
  p.partitioned = r.value().at(0, 2) == "t";
  return std::optional{std::move(p)};
}

} // namespace

std::string copy_statement(const table_schema& table, const std::string& from, const std::string& condition,
                           const std::string& row_filter) {
  std::string sql = "COPY (SELECT ";
  for (std::size_t i = 0; i < table.columns.size(); ++i) sql += (i ? ", " : "") + quoted_name(table.columns[i].name);
  sql += " FROM " + from;
  if (!condition.empty()) sql += " WHERE " + condition;
  if (!row_filter.empty()) sql += std::string(condition.empty() ? " WHERE (" : " AND (") + row_filter + ')';
  return sql + ") TO STDOUT";
}

result<std::string> key_condition(const connection& c, const std::vector<std::string>& columns,
                                  const std::vector<std::string>& keys) {
  std::string out = "(";
  for (std::size_t i = 0; i < columns.size(); ++i) out += (i ? ", " : "") + c.quote_name(columns[i]);
  out += ") IN (";
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto values = key_values(keys[i]);
    if (!values || values->size() != columns.size())
      return make_failure(errc::log_mismatch, "the log's state holds a key that is none");
    out += i ? ", (" : "(";
    for (std::size_t k = 0; k < values->size(); ++k)
      out += (k ? ", " : "") + ((*values)[k] ? c.quote_text(*(*values)[k]) : std::string("NULL"));
    out += ')';
  }
  return out + ')';
}

result<begun_chunk> begin_chunk(connection& c, const chunk_job& job) {
  begun_chunk out;
  const bool by_key = !job.keys.empty();
  // Names first: in a repeatable read transaction any query would take the snapshot before the lock is held.
  auto root = place_of(c, job.relation);
  if (!root) return root.error();
  auto leaf = by_key ? root : place_of(c, job.leaf);
  if (!leaf) return leaf.error();
  out.moved = true;
  if (!root.value() || !leaf.value()) return out;
  if (auto ok = c.exec("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); !ok) return ok.error();
  if (!job.exported_snapshot.empty())
    if (auto ok = c.exec("SET TRANSACTION SNAPSHOT " + c.quote_text(job.exported_snapshot)); !ok) return ok.error();
  const auto only = [](const place& p) { return (p.partitioned ? "" : "ONLY ") + p.quoted; };
  const auto locks = "LOCK TABLE ONLY " + root.value()->quoted +
                     (job.leaf != job.relation && !by_key ? ", ONLY " + leaf.value()->quoted : "") + " IN ACCESS SHARE MODE";
  if (auto ok = c.exec(locks); !ok) return ok.error();
  auto seen = c.exec(snapshot_query(c));
  if (!seen) return seen.error();
  const auto snapshot = xid_snapshot::parse(seen.value().at(0, 0));
  const auto at = actors::postgres::parse_lsn(seen.value().at(0, 1));
  if (!snapshot || !at)
    return make_failure(errc::refused, "PostgreSQL " + c.name() + ": a snapshot \"" + std::string(seen.value().at(0, 0)) +
                                           "\" at \"" + std::string(seen.value().at(0, 1)) + "\" is none that is known");
  // Under the lock neither file nor columns change.
  auto again = place_of(c, by_key ? job.relation : job.leaf);
  if (!again) return again.error();
  auto described = describe(c, job.relation, job.publication);
  if (!described) return described.error();
  if (!again.value() || again.value()->quoted != leaf.value()->quoted || (!by_key && again.value()->filenode != job.filenode) ||
      !described.value() || described.value()->window_key != job.window_key)
    return out;
  out.moved = false;
  auto& table = *described.value();
  table.schema.snapshotting = true;
  for (const auto& name : table.window_key)
    for (std::size_t i = 0; i < table.schema.columns.size(); ++i)
      if (table.schema.columns[i].name == name) out.key_columns.push_back(i);
  out.seen = *snapshot;
  out.at = {*at};
  out.time_us = storage::now().time_since_epoch().count();
  std::string condition;
  if (by_key) {
    auto made = key_condition(c, table.window_key, job.keys);
    if (!made) return made.error();
    condition = std::move(made).value();
  } else if (job.end_block != 0) {
    condition = "ctid >= '(" + std::to_string(job.first_block) + ",0)' AND ctid < '(" + std::to_string(job.end_block) + ",0)'";
  }
  out.copy = copy_statement(table.schema, only(by_key ? *root.value() : *leaf.value()), condition, table.row_filter);
  const auto schema = std::make_shared<const table_schema>(std::move(table.schema));
  out.context = encode_tables(std::span(&schema, 1));
  return out;
}

} // namespace millrace::actors::ingest::postgres
