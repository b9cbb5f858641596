#include "actors/verify/table_digest.hpp"

#include <charconv>

namespace millrace::actors::verify {
namespace {

using postgres::quoted_name;

std::string table_of(const compared_table& t) { return quoted_name(t.schema) + '.' + quoted_name(t.name); }

std::string key_expression(const compared_table& t, std::size_t i) {
  return quoted_name(t.key[i]) + (t.key_is_text[i] ? " COLLATE \"C\"" : "");
}

std::string key_list(const compared_table& t) {
  std::string out;
  for (std::size_t i = 0; i < t.key.size(); ++i) out += (i ? ", " : "") + key_expression(t, i);
  return out;
}

/// The row's text: NULL and '' differ in it, and no value can pretend to be two.
std::string row_text(const compared_table& t) {
  std::string out = "ROW(";
  for (std::size_t i = 0; i < t.columns.size(); ++i) out += (i ? ", " : "") + quoted_name(t.columns[i]);
  return out + ")::text";
}

struct condition {
  std::string text;
  std::vector<const char*> parameters; ///< into the range, which must outlive it
};

condition condition_of(const compared_table& t, const key_range& r) {
  condition out;
  auto bound = [&](const std::optional<key_values>& values, const char* compare) {
    if (!values) return;
    out.text += out.text.empty() ? " WHERE (" : " AND (";
    out.text += key_list(t) + ')' + compare + '(';
    for (std::size_t i = 0; i < values->size(); ++i) {
      out.parameters.push_back((*values)[i].c_str());
      out.text += (i ? ", $" : "$") + std::to_string(out.parameters.size());
    }
    out.text += ')';
  };
  bound(r.after, " > ");
  bound(r.upto, " <= ");
  if (!t.only.empty()) out.text += (out.text.empty() ? " WHERE (" : " AND (") + t.only + ')';
  return out;
}

} // namespace

result<std::vector<column_shape>> columns_of(postgres::connection& c, const std::string& schema, const std::string& name) {
  const char* parameters[] = {schema.c_str(), name.c_str()};
  auto r = c.exec("SELECT a.attname, a.attcollation <> 0, a.attgenerated <> '',"
                  " coalesce(array_position(i.indkey::int2[], a.attnum) + 1, 0)"
                  " FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace"
                  " JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped"
                  " LEFT JOIN pg_index i ON i.indrelid = t.oid AND i.indisprimary"
                  " WHERE n.nspname = $1 AND t.relname = $2 ORDER BY a.attnum",
                  parameters);
  if (!r) return r.error();
  if (r.value().rows() == 0)
    return make_failure(errc::refused, "PostgreSQL " + c.name() + " has no table " + schema + '.' + name);
  std::vector<column_shape> out;
  for (int i = 0; i < r.value().rows(); ++i) {
    column_shape s;
    s.name = r.value().at(i, 0);
    s.is_text = r.value().at(i, 1) == "t";
    s.generated = r.value().at(i, 2) == "t";
    const auto key = r.value().at(i, 3); // int2vector counts from 0
    std::from_chars(key.data(), key.data() + key.size(), s.key);
    out.push_back(std::move(s));
  }
  return out;
}

result<std::optional<key_values>> range_end(postgres::connection& c, const compared_table& t,
                                            const std::optional<key_values>& after, std::uint64_t rows) {
  const key_range behind{after, std::nullopt};
  const auto where = condition_of(t, behind);
  std::string names;
  for (std::size_t i = 0; i < t.key.size(); ++i) names += (i ? ", " : "") + quoted_name(t.key[i]);
  auto r = c.exec("SELECT " + names + " FROM " + table_of(t) + where.text + " ORDER BY " + key_list(t) + " OFFSET " +
                      std::to_string(rows - 1) + " LIMIT 1",
                  where.parameters);
  if (!r) return r.error();
  if (r.value().rows() == 0) return std::optional<key_values>{};
  key_values out;
  for (int i = 0; i < static_cast<int>(t.key.size()); ++i) out.emplace_back(r.value().at(0, i));
  return std::optional<key_values>{std::move(out)};
}

result<range_digest> digest(postgres::connection& c, const compared_table& t, const key_range& range) {
  const auto where = condition_of(t, range);
  auto r = c.exec("SELECT count(*), coalesce(sum(hashtextextended(" + row_text(t) + ", 0)::numeric), 0) FROM " + table_of(t) +
                      where.text,
                  where.parameters);
  if (!r) return r.error();
  range_digest out;
  const auto rows = r.value().at(0, 0);
  std::from_chars(rows.data(), rows.data() + rows.size(), out.rows);
  out.sum = r.value().at(0, 1);
  return out;
}

result<std::map<key_values, row_digest>> rows_of(postgres::connection& c, const compared_table& t, const key_range& range,
                                                 bool versions) {
  const auto where = condition_of(t, range);
  std::string names;
  for (std::size_t i = 0; i < t.key.size(); ++i) names += quoted_name(t.key[i]) + "::text, ";
  auto r = c.exec("SELECT " + names + "hashtextextended(" + row_text(t) + ", 0)" + (versions ? ", xmin" : "") + " FROM " +
                      table_of(t) + where.text,
                  where.parameters);
  if (!r) return r.error();
  std::map<key_values, row_digest> out;
  const int keys = static_cast<int>(t.key.size());
  for (int i = 0; i < r.value().rows(); ++i) {
    key_values key;
    for (int k = 0; k < keys; ++k) key.emplace_back(r.value().at(i, k));
    row_digest d{std::string(r.value().at(i, keys)), versions ? std::string(r.value().at(i, keys + 1)) : std::string{}};
    out.emplace(std::move(key), std::move(d));
  }
  return out;
}

} // namespace millrace::actors::verify
