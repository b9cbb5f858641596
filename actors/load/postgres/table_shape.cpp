#include "actors/load/postgres/table_shape.hpp"

#include <algorithm>
#include <charconv>

namespace millrace::actors::load::postgres {
namespace {

std::uint32_t oid_of(std::string_view text) {
  std::uint32_t out = 0;
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

comparison comparison_of(std::uint32_t base, bool deterministic) {
  switch (base) { // pg_type.dat; these numbers never change
  case 16:
    return comparison::boolean;
  case 20:
  case 21:
  case 23:
    return comparison::integer;
  case 25:
  case 1043:
    return deterministic ? comparison::text : comparison::loose;
  case 2950:
    return comparison::uuid;
  default:
    return comparison::loose;
  }
}

/// One name, quoted or not, off the front.
std::string take_name(std::string_view& text) {
  std::string out;
  if (text.empty() || text.front() != '"') {
    const auto dot = text.find('.');
    out = text.substr(0, dot);
    text.remove_prefix(dot == std::string_view::npos ? text.size() : dot);
    return out;
  }
  text.remove_prefix(1);
  while (!text.empty()) {
    if (text.front() == '"' && !(text.size() > 1 && text[1] == '"')) break;
    if (text.front() == '"') text.remove_prefix(1);
    out += text.front();
    text.remove_prefix(1);
  }
  if (!text.empty()) text.remove_prefix(1);
  return out;
}

} // namespace

table_name parse_name(std::string_view to, std::string_view default_schema) {
  auto rest = to;
  auto first = take_name(rest);
  if (rest.empty() || rest.front() != '.')
    return {std::string(default_schema.empty() ? std::string_view("public") : default_schema), std::move(first)};
  rest.remove_prefix(1);
  return {std::move(first), !rest.empty() && rest.front() == '"' ? take_name(rest) : std::string(rest)};
}

const table_column* table_shape::find(std::string_view name) const noexcept {
  const int i = index_of(name);
  return i < 0 ? nullptr : &columns[static_cast<std::size_t>(i)];
}

int table_shape::index_of(std::string_view name) const noexcept {
  for (std::size_t i = 0; i < columns.size(); ++i)
    if (columns[i].name == name) return static_cast<int>(i);
  return -1;
}

const unique_index* table_shape::unique_over(const std::vector<std::string>& wanted) const noexcept {
  for (const auto& u : unique)
    if (u.columns.size() == wanted.size() && std::is_permutation(u.columns.begin(), u.columns.end(), wanted.begin())) return &u;
  return nullptr;
}

result<table_shape> read_shape(session& s, const table_name& name) {
  table_shape out;
  const std::string doing = "reading the shape of table " + name.quoted();
  auto table = s.ask("SELECT c.oid, c.relkind, row_security_active(c.oid), pg_has_role(c.relowner, 'USAGE'), "
                     "has_any_column_privilege(c.oid, 'SELECT'), has_any_column_privilege(c.oid, 'INSERT'), "
                     "has_any_column_privilege(c.oid, 'UPDATE'), has_table_privilege(c.oid, 'DELETE') "
                     "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname = " +
                         s.link().quote_text(name.table) + " AND n.nspname = " + s.link().quote_text(name.schema),
                     doing);
  if (!table) return table.error();
  const auto& t = table.value();
  if (t.rows() == 0) return out;
  out.exists = true;
  out.oid = oid_of(t.at(0, 0));
  out.kind = t.at(0, 1).empty() ? ' ' : t.at(0, 1)[0];
  if (out.kind != 'r' && out.kind != 'p' && out.kind != 'f')
    return make_failure(errc::refused, s.name() + ": " + name.quoted() + " is " +
                                           (out.kind == 'v'   ? "a view"
                                            : out.kind == 'm' ? "a materialized view"
                                            : out.kind == 'S' ? "a sequence"
                                                              : "no table") +
                                           "; expected a table or a free name");
  const auto yes = [&](int column) { return t.at(0, column) == "t"; };
  out.row_security = yes(2);
  out.owner = yes(3);
  out.can_select = yes(4);
  out.can_insert = yes(5);
  out.can_update = yes(6);
  out.can_delete = yes(7);

  const auto oid = std::to_string(out.oid);
  auto columns = s.ask(
      "SELECT a.attname, format_type(a.atttypid, a.atttypmod), format_type(b.type, b.mod) || coalesce(' COLLATE ' || CASE WHEN "
      "a.attcollation <> 0 AND a.attcollation <> t.typcollation THEN quote_ident(cn.nspname) || '.' || quote_ident(co.collname) "
      "END, ''), b.type, coalesce(co.collisdeterministic, true), a.attnotnull, a.attgenerated <> '', a.attidentity = 'a', "
      "t.typtype = 'e' "
      "FROM pg_attribute a CROSS JOIN LATERAL (WITH RECURSIVE d(type, mod, level) AS (SELECT a.atttypid, a.atttypmod, 0 UNION "
      "ALL "
      "SELECT p.typbasetype, p.typtypmod, d.level + 1 FROM d JOIN pg_type p ON p.oid = d.type WHERE p.typtype = 'd') SELECT "
      "type, "
      "mod FROM d ORDER BY level DESC LIMIT 1) b JOIN pg_type t ON t.oid = b.type LEFT JOIN pg_collation co ON co.oid = "
      "a.attcollation LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace WHERE a.attrelid = " +
          oid + " AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
      doing);
  if (!columns) return columns.error();
  const auto& c = columns.value();
  for (int i = 0; i < c.rows(); ++i) {
    table_column add;
    add.name = c.at(i, 0);
    add.type = c.at(i, 1);
    add.staged = c.at(i, 2);
    add.base = oid_of(c.at(i, 3));
    add.compares = comparison_of(add.base, c.at(i, 4) == "t");
    add.not_null = c.at(i, 5) == "t";
    add.generated = c.at(i, 6) == "t";
    add.identity_always = c.at(i, 7) == "t";
    add.is_enum = c.at(i, 8) == "t";
    out.columns.push_back(std::move(add));
  }

  auto indexes =
      s.ask("SELECT i.indexrelid, r.relname, a.attname FROM pg_index i JOIN pg_class r ON r.oid = i.indexrelid CROSS JOIN "
            "LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k(num, at) JOIN pg_attribute a ON a.attrelid = i.indrelid "
            "AND a.attnum = k.num WHERE i.indrelid = " +
                oid +
                " AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL "
                "AND k.at <= i.indnkeyatts ORDER BY i.indisprimary DESC, i.indexrelid, k.at",
            doing);
  if (!indexes) return indexes.error();
  const auto& u = indexes.value();
  for (int i = 0; i < u.rows(); ++i) {
    const auto id = oid_of(u.at(i, 0));
    if (out.unique.empty() || out.unique.back().oid != id) out.unique.push_back({id, std::string(u.at(i, 1)), {}});
    out.unique.back().columns.emplace_back(u.at(i, 2));
  }
  return out;
}

std::string fingerprint_text(const std::vector<std::uint32_t>& tables) {
  std::string list;
  for (const auto oid : tables) list += (list.empty() ? "" : ", ") + std::to_string(oid);
  if (list.empty()) return "0::numeric";
  // xmin of a catalog row names the transaction that wrote it: whoever alters a column, or makes or drops an index, changes a
  // sum.
  return "(SELECT coalesce(sum(xmin::text::bigint * (attnum + 7)), 0) FROM pg_attribute WHERE attrelid IN (" + list +
         ") AND attnum > 0) + (SELECT coalesce(sum(indexrelid::bigint + xmin::text::bigint), 0) FROM pg_index WHERE indrelid IN "
         "(" +
         list + ") AND indisvalid)";
}

} // namespace millrace::actors::load::postgres
