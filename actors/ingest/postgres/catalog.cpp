#include "actors/ingest/postgres/catalog.hpp"

#include "actors/ingest/postgres/position.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>

namespace millrace::actors::ingest::postgres {
namespace {

using actors::postgres::query_result;

std::uint32_t number(std::string_view s) { return static_cast<std::uint32_t>(to_number(s).value_or(0)); }
double real(std::string_view s) { return std::strtod(std::string(s).c_str(), nullptr); }
bool truth(std::string_view s) { return s == "t"; }

result<query_result> ask(connection& c, const std::string& sql, std::initializer_list<std::string> values) {
  std::vector<const char*> parameters;
  for (const auto& v : values) parameters.push_back(v.c_str());
  return c.exec(sql, parameters);
}

/// A text[] value as array_to_json wrote it would need a parser; labels come one a row instead.
std::string kind_name(std::string_view typtype, bool array) {
  if (array) return "array";
  switch (typtype.empty() ? 'b' : typtype[0]) {
  case 'c':
    return "composite";
  case 'd':
    return "domain";
  case 'e':
    return "enum";
  case 'p':
    return "pseudo";
  case 'r':
    return "range";
  case 'm':
    return "multirange";
  default:
    return "base";
  }
}

/// Of `t` (a pg_type): kind, whether it is an array, and what a domain is made from.
constexpr const char* base_type = R"((with recursive d(oid, base, kind) as (
    select t.oid, t.typbasetype, t.typtype
    union all select b.oid, b.typbasetype, b.typtype from d join pg_catalog.pg_type b on b.oid = d.base where d.kind = 'd')
  select oid from d where kind <> 'd' limit 1))";

/// Enum labels of the type, of what a domain is made from, of an array's elements.
result<void> add_labels(connection& c, table_schema& table) {
  for (auto& column : table.columns) {
    if (column.kind != "enum" && column.kind != "domain" && column.kind != "array") continue;
    if (column.base_type_id < 16384 && column.kind != "domain") continue; // built in: no enum among them
    auto r = ask(c,
                 "select e.enumlabel from pg_catalog.pg_enum e join pg_catalog.pg_type t on e.enumtypid in (t.oid, t.typelem) "
                 "where t.oid = $1 order by e.enumsortorder",
                 {std::to_string(column.base_type_id)});
    if (!r) return r.error();
    column.labels.clear();
    for (int i = 0; i < r.value().rows(); ++i) column.labels.emplace_back(r.value().at(i, 0));
  }
  return success();
}

} // namespace

connect_options source_options(const std::string& application_name, bool replication) {
  connect_options o;
  o.application_name = application_name;
  o.replication = replication;
  o.settings = {{"search_path", "pg_catalog"}};
  if (!replication) {
    o.settings.push_back({"lock_timeout", "10s"});
    o.settings.push_back({"jit", "off"});
    o.settings.push_back({"row_security", "off"}); // an error rather than a silently filtered snapshot
  }
  return o;
}

std::pair<std::string, std::string> split_name(std::string_view name) {
  const auto dot = name.find('.');
  if (dot == std::string_view::npos) return {"public", std::string(name)};
  return {std::string(name.substr(0, dot)), std::string(name.substr(dot + 1))};
}

result<std::vector<source_table>> look_up_tables(connection& c, const std::vector<std::string>& names,
                                                 const std::string& publication) {
  std::vector<source_table> out;
  for (const auto& name : names) {
    source_table t;
    t.name = name;
    std::tie(t.schema, t.table) = split_name(name);
    auto r = ask(c,
                 "select c.oid, c.relkind, c.relreplident, "
                 "exists (select 1 from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisprimary), "
                 "exists (select 1 from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisreplident), "
                 "has_table_privilege(c.oid, 'select'), "
                 "exists (select 1 from pg_catalog.pg_publication_tables p where p.pubname = $3 and p.schemaname = n.nspname and "
                 "p.tablename = c.relname) "
                 "from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
                 "where n.nspname = $1 and c.relname = $2",
                 {t.schema, t.table, publication});
    if (!r) return r.error();
    const auto& q = r.value();
    if (q.rows() == 1) {
      t.oid = number(q.at(0, 0));
      t.kind = q.at(0, 1)[0];
      t.identity = q.at(0, 2)[0];
      t.has_primary_key = truth(q.at(0, 3));
      t.has_identity_index = truth(q.at(0, 4));
      t.may_select = truth(q.at(0, 5));
      t.published = truth(q.at(0, 6));
    }
    out.push_back(std::move(t));
  }
  return out;
}

result<std::optional<table_description>> describe(connection& c, std::uint32_t oid, const std::string& publication) {
  const bool lists = c.server_version() >= 150000; // of columns, and row filters
  const bool generated = c.server_version() >= 120000;
  const std::string published =
      lists
          ? "coalesce((select a.attnum = any (pr.prattrs::int2[]) from pg_catalog.pg_publication_rel pr join "
            "pg_catalog.pg_publication p on p.oid = pr.prpubid where p.pubname = $2 and pr.prrelid = c.oid and pr.prattrs is not "
            "null), true)"
          : "$2::text is not null";
  auto r = ask(c,
               "select n.nspname, c.relname, c.relreplident, a.attname, a.atttypid, a.atttypmod, "
               "pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, " +
                   std::string(generated ? "a.attgenerated <> ''" : "false") +
                   ", t.typtype, t.typlen = -1 and t.typelem <> 0 and t.typcategory = 'A', " + base_type +
                   ", coalesce(array_position((i.indkey::int2[])[0:i.indnkeyatts - 1], a.attnum), 0), " // a slice counts from 1
                   "array_position((ri.indkey::int2[])[0:ri.indnkeyatts - 1], a.attnum) is not null, " +
                   published +
                   " from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
                   "join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped "
                   "join pg_catalog.pg_type t on t.oid = a.atttypid "
                   "left join pg_catalog.pg_index i on i.indrelid = c.oid and i.indisprimary "
                   "left join pg_catalog.pg_index ri on ri.indrelid = c.oid and ri.indisreplident "
                   "where c.oid = $1 order by a.attnum",
               {std::to_string(oid), publication});
  if (!r) return r.error();
  const auto& q = r.value();
  if (q.rows() == 0) return std::optional<table_description>{};
  table_description d;
  d.schema.id = oid;
  d.schema.schema = q.at(0, 0);
  d.schema.name = q.at(0, 1);
  d.schema.identity = q.at(0, 2)[0];
  std::vector<std::pair<int, std::string>> primary;
  std::vector<std::string> by_index;
  for (int i = 0; i < q.rows(); ++i) {
    table_schema::column column;
    column.name = q.at(i, 3);
    column.type_id = number(q.at(i, 4));
    column.modifier = static_cast<std::int32_t>(std::strtol(std::string(q.at(i, 5)).c_str(), nullptr, 10));
    column.type = q.at(i, 6);
    column.not_null = truth(q.at(i, 7));
    column.generated = truth(q.at(i, 8));
    column.kind = kind_name(q.at(i, 9), truth(q.at(i, 10)));
    column.base_type_id = q.is_null(i, 11) ? column.type_id : number(q.at(i, 11));
    column.key = static_cast<std::uint16_t>(number(q.at(i, 12)));
    const bool in_index = truth(q.at(i, 13));
    switch (d.schema.identity) {
    case 'f':
      column.identity = true;
      break;
    case 'i':
      column.identity = in_index;
      break;
    case 'n':
      break;
    default:
      column.identity = column.key != 0;
    }
    if (column.key != 0) primary.emplace_back(column.key, column.name);
    if (in_index) by_index.push_back(column.name);
    if (column.generated || !truth(q.at(i, 14))) continue; // a publication sends no generated columns
    d.schema.columns.push_back(std::move(column));
  }
  std::sort(primary.begin(), primary.end());
  if (d.schema.identity == 'i')
    d.window_key = by_index;
  else
    for (auto& [place, name] : primary) d.window_key.push_back(name);
  for (const auto& name : d.window_key) {
    const auto& columns = d.schema.columns;
    if (std::any_of(columns.begin(), columns.end(), [&](const auto& k) { return k.name == name; })) continue;
    d.window_key.clear(); // a key that is not published identifies nothing
    break;
  }
  if (auto ok = add_labels(c, d.schema); !ok) return ok.error();
  if (lists) {
    auto f = ask(
        c,
        "select pg_catalog.pg_get_expr(pr.prqual, pr.prrelid) from pg_catalog.pg_publication_rel pr join "
        "pg_catalog.pg_publication p on p.oid = pr.prpubid where p.pubname = $2 and pr.prrelid = $1 and pr.prqual is not null",
        {std::to_string(oid), publication});
    if (!f) return f.error();
    if (f.value().rows() == 1) d.row_filter = f.value().at(0, 0);
  }
  return std::optional{std::move(d)};
}

result<table_schema> complete(connection& c, const relation_message& message, const std::optional<table_description>& now) {
  table_schema t;
  t.id = message.id;
  t.schema = message.schema;
  t.name = message.name;
  t.identity = message.identity;
  bool strange = false;
  for (const auto& from : message.columns) {
    table_schema::column column;
    column.name = from.name;
    column.type_id = column.base_type_id = from.type;
    column.modifier = from.modifier;
    if (now)
      for (const auto& k : now->schema.columns)
        if (k.name == from.name && k.type_id == from.type && k.modifier == from.modifier) column = k;
    if (column.type.empty()) {
      auto r = ask(c,
                   "select pg_catalog.format_type($1::oid, $2::int), t.typtype, t.typlen = -1 and t.typelem <> 0 and "
                   "t.typcategory = 'A', " +
                       std::string(base_type) + " from (select 1) one left join pg_catalog.pg_type t on t.oid = $1::oid",
                   {std::to_string(from.type), std::to_string(from.modifier)});
      if (!r) return r.error();
      const auto& q = r.value();
      column.type = q.at(0, 0); // "???" for a type that is gone: its text is all that there is
      if (!q.is_null(0, 1)) {
        column.kind = kind_name(q.at(0, 1), truth(q.at(0, 2)));
        if (!q.is_null(0, 3)) column.base_type_id = number(q.at(0, 3));
      }
      strange = true;
    }
    column.identity = from.identity;
    t.columns.push_back(std::move(column));
  }
  if (strange)
    if (auto ok = add_labels(c, t); !ok) return ok.error();
  // Places in the primary key count only if all of it is here.
  std::uint16_t most = 0, have = 0;
  for (const auto& k : t.columns) {
    most = std::max(most, k.key);
    if (k.key != 0) ++have;
  }
  if (most != have)
    for (auto& k : t.columns) k.key = 0;
  return t;
}

result<std::vector<leaf_table>> leaves_of(connection& c, std::uint32_t oid) {
  const std::string which =
      c.server_version() >= 120000
          ? "select $1::oid as relid where not exists (select 1 from pg_catalog.pg_class where oid = $1 and relkind = 'p') "
            "union select relid from pg_catalog.pg_partition_tree($1::oid::regclass) where isleaf and exists "
            "(select 1 from pg_catalog.pg_class where oid = $1 and relkind = 'p')"
          : "select $1::oid as relid";
  auto r = ask(c,
               "select c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname), pg_catalog.pg_relation_filenode(c.oid), "
               "pg_catalog.pg_relation_size(c.oid) / current_setting('block_size')::bigint, pg_catalog.pg_table_size(c.oid), "
               "c.reltuples, c.relpages from (" +
                   which +
                   ") l join pg_catalog.pg_class c on c.oid = l.relid join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
                   "where c.relkind = 'r' order by c.oid",
               {std::to_string(oid)});
  if (!r) return r.error();
  const auto& q = r.value();
  std::vector<leaf_table> out;
  for (int i = 0; i < q.rows(); ++i) {
    leaf_table l;
    l.oid = number(q.at(i, 0));
    l.quoted = q.at(i, 1);
    l.filenode = number(q.at(i, 2));
    l.blocks = to_number(q.at(i, 3)).value_or(0);
    const auto tuples = real(q.at(i, 5)), pages = real(q.at(i, 6));
    if (l.blocks != 0) l.bytes_per_block = real(q.at(i, 4)) / static_cast<double>(l.blocks);
    if (tuples > 0 && pages > 0) {
      l.rows_per_block = tuples / pages;
      l.rows = l.rows_per_block * static_cast<double>(l.blocks);
    }
    out.push_back(std::move(l));
  }
  return out;
}

result<std::uint32_t> filenode_of(connection& c, std::uint32_t oid) {
  auto r = ask(c, "select pg_catalog.pg_relation_filenode($1::oid)", {std::to_string(oid)});
  if (!r) return r.error();
  return r.value().rows() == 1 && !r.value().is_null(0, 0) ? number(r.value().at(0, 0)) : 0;
}

std::string snapshot_query(const connection& c) {
  const std::string snapshot =
      c.server_version() >= 130000 ? "pg_catalog.pg_current_snapshot()" : "pg_catalog.txid_current_snapshot()";
  return "select " + snapshot +
         ", case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() else "
         "pg_catalog.pg_current_wal_insert_lsn() end";
}

} // namespace millrace::actors::ingest::postgres
