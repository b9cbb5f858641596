#include "actors/load/postgres/merge_text.hpp"

#include <algorithm>

namespace millrace::actors::load::postgres {
namespace {
void append_item(std::string& list, std::string_view item) {
  if (!list.empty()) list += ", ";
  list += item;
}
} // namespace

std::vector<std::uint32_t> merge_text::cells(std::uint32_t subset) const {
  std::vector<std::uint32_t> out;
  for (const auto i : p_.written)
    if (p_.subsets[subset][i]) out.push_back(i);
  return out;
}

std::string merge_text::key_match(std::string_view alias, bool before) const {
  std::string out;
  for (std::size_t k = 0; k < p_.layout->key.size(); ++k) {
    const auto i = p_.layout->key[k];
    if (k) out += " AND ";
    out += std::string(alias) + '.' + column(i) + " = " + (before ? "x.b" + std::to_string(k) : staged(i));
  }
  return out;
}

std::string merge_text::key_list() const {
  std::string out;
  for (const auto i : p_.layout->key) append_item(out, column(i));
  if (p_.spec->mode == load_mode::history) append_item(out, pq::quoted_name(offset_column));
  return out;
}

std::string merge_text::moved() const {
  std::string out;
  for (std::size_t k = 0; k < p_.layout->key.size(); ++k)
    out += (k ? " AND x.b" : "NOT (x.b") + std::to_string(k) + " = " + staged(p_.layout->key[k]);
  return out + ')';
}

std::string merge_text::overriding() const {
  for (const auto i : p_.written)
    if (t_.shape().columns[p_.columns[i].column].identity_always) return " OVERRIDING SYSTEM VALUE";
  return {};
}

std::string merge_text::copy_straight(std::uint32_t subset, bool binary) const {
  std::string list;
  for (const auto i : cells(subset)) append_item(list, column(i));
  for (const auto b : bookkeeping_columns(p_.spec->mode)) append_item(list, pq::quoted_name(b));
  return "COPY " + table() + '(' + list + ") FROM STDIN" + (binary ? " (FORMAT binary)" : "");
}

std::string merge_text::copy_stage(bool with_before) const {
  std::string list = "g, o";
  for (const auto i : p_.written) list += ", c" + std::to_string(p_.columns[i].column);
  for (const auto b : bookkeeping_columns(p_.spec->mode)) list += ", c" + std::to_string(t_.shape().index_of(b));
  if (with_before)
    for (std::size_t k = 0; k < p_.layout->key.size(); ++k) list += ", b" + std::to_string(k);
  return "COPY " + t_.stage() + '(' + list + ") FROM STDIN";
}

std::string merge_text::duplicates() const {
  std::string keys, before, list;
  for (std::size_t k = 0; k < p_.layout->key.size(); ++k) {
    append_item(keys, staged(p_.layout->key[k]) + " AS k" + std::to_string(k));
    append_item(before, "x.b" + std::to_string(k));
    append_item(list, "k" + std::to_string(k));
  }
  if (p_.spec->mode == load_mode::history) // every key that is touched is closed once
    return "SELECT 1 FROM (SELECT " + keys + " FROM " + t_.stage() + " x WHERE " + where(group_close) + ") d GROUP BY " + list +
           " HAVING count(*) > 1 LIMIT 1";
  std::string moves;
  for (std::uint32_t s = 0; s < p_.subsets.size(); ++s) append_item(moves, std::to_string(group_of(s, group_move)));
  return "SELECT 1 FROM (SELECT " + keys + " FROM " + t_.stage() + " x WHERE x.g <> " + std::to_string(group_clear) +
         " UNION ALL SELECT " + before + " FROM " + t_.stage() + " x WHERE x.g IN (" + moves + ") AND " + moved() +
         ") d GROUP BY " + list + " HAVING count(*) > 1 LIMIT 1";
}

std::string merge_text::erase(group g) const {
  return "DELETE FROM " + table() + " t USING " + t_.stage() + " x WHERE " + where(g) + " AND " + key_match("t", false);
}

std::string merge_text::mark() const {
  return "UPDATE " + table() + " t SET " + pq::quoted_name(deleted_column) + " = true FROM " + t_.stage() + " x WHERE " +
         where(group_erase) + " AND " + key_match("t", false);
}

std::string merge_text::upsert() const {
  std::string columns, values, set;
  for (const auto i : p_.written) {
    append_item(columns, column(i));
    append_item(values, staged(i));
    if (!p_.in_key(i)) append_item(set, column(i) + " = excluded." + column(i));
  }
  if (p_.spec->mode == load_mode::soft_delete) {
    const auto name = pq::quoted_name(deleted_column);
    append_item(columns, name);
    append_item(values, staged(deleted_column));
    append_item(set, name + " = excluded." + name);
  }
  return "INSERT INTO " + table() + '(' + columns + ')' + overriding() + " SELECT " + values + " FROM " + t_.stage() +
         " x WHERE " + where(group_of(0, group_write)) + " ON CONFLICT (" + key_list() + ") DO " +
         (set.empty() ? "NOTHING" : "UPDATE SET " + set);
}

std::string merge_text::update(std::uint32_t subset, group what) const {
  std::string set;
  for (const auto i : cells(subset))
    if (!p_.in_key(i)) append_item(set, column(i) + " = " + staged(i));
  if (p_.spec->mode == load_mode::soft_delete) append_item(set, pq::quoted_name(deleted_column) + " = " + staged(deleted_column));
  if (set.empty()) return {};
  return "UPDATE " + table() + " t SET " + set + " FROM " + t_.stage() + " x WHERE " + where(group_of(subset, what)) + " AND " +
         key_match("t", false);
}

std::string merge_text::absent(std::uint32_t subset) const {
  return "SELECT x.o FROM " + t_.stage() + " x WHERE " + where(group_of(subset, group_write)) + " AND NOT EXISTS (SELECT FROM " +
         table() + " t WHERE " + key_match("t", false) + ") LIMIT 1";
}

std::string merge_text::insert_absent(std::uint32_t subset) const {
  std::string columns, values;
  for (const auto i : cells(subset)) {
    append_item(columns, column(i));
    append_item(values, staged(i));
  }
  if (p_.spec->mode == load_mode::soft_delete) {
    append_item(columns, pq::quoted_name(deleted_column));
    append_item(values, staged(deleted_column));
  }
  return "INSERT INTO " + table() + '(' + columns + ')' + overriding() + " SELECT " + values + " FROM " + t_.stage() +
         " x WHERE " + where(group_of(subset, group_lenient)) + " AND NOT EXISTS (SELECT FROM " + table() + " t WHERE " +
         key_match("t", false) + ')';
}

std::string merge_text::move_retag(std::uint32_t subset, group to) const {
  return "UPDATE " + t_.stage() + " x SET g = " + std::to_string(group_of(subset, to)) + " WHERE " +
         where(group_of(subset, group_move)) + " AND NOT EXISTS (SELECT FROM " + table() + " t WHERE " + key_match("t", true) +
         ')';
}

std::string merge_text::move_clear(std::uint32_t subset) const {
  return "DELETE FROM " + table() + " t USING " + t_.stage() + " x WHERE " + where(group_of(subset, group_move)) + " AND " +
         key_match("t", false) + " AND " + moved();
}

std::string merge_text::move(std::uint32_t subset) const {
  std::string set;
  for (const auto i : cells(subset)) append_item(set, column(i) + " = " + staged(i));
  if (p_.spec->mode == load_mode::soft_delete) append_item(set, pq::quoted_name(deleted_column) + " = " + staged(deleted_column));
  return "UPDATE " + table() + " t SET " + set + " FROM " + t_.stage() + " x WHERE " + where(group_of(subset, group_move)) +
         " AND " + key_match("t", true);
}

std::string merge_text::close_versions() const {
  return "UPDATE " + table() + " t SET " + pq::quoted_name(valid_to_column) + " = " + staged(valid_to_column) + ", " +
         pq::quoted_name(current_column) + " = false FROM " + t_.stage() + " x WHERE " + where(group_close) + " AND " +
         key_match("t", false) + " AND t." + pq::quoted_name(current_column);
}

std::string merge_text::inherit(std::uint32_t subset) const {
  std::string set;
  for (const auto i : p_.written)
    if (!p_.subsets[subset][i])
      append_item(set, staged(i).substr(2) + " = (SELECT t." + column(i) + " FROM " + table() + " t WHERE " +
                           key_match("t", true) + " ORDER BY t." + pq::quoted_name(offset_column) + " DESC LIMIT 1)");
  return "UPDATE " + t_.stage() + " x SET " + set + " WHERE " + where(group_of(subset, group_write));
}

std::string merge_text::add_versions() const {
  std::string columns, values, set;
  for (const auto i : p_.written) {
    append_item(columns, column(i));
    append_item(values, staged(i));
    if (!p_.in_key(i)) append_item(set, column(i) + " = excluded." + column(i));
  }
  for (const auto b : bookkeeping_columns(load_mode::history)) {
    append_item(columns, pq::quoted_name(b));
    append_item(values, staged(b));
    if (b != offset_column) append_item(set, pq::quoted_name(b) + " = excluded." + pq::quoted_name(b));
  }
  return "INSERT INTO " + table() + '(' + columns + ')' + overriding() + " SELECT " + values + " FROM " + t_.stage() +
         " x WHERE x.g >= " + std::to_string(group_first) + " ORDER BY x.o ON CONFLICT (" + key_list() + ") DO UPDATE SET " + set;
}

} // namespace millrace::actors::load::postgres
