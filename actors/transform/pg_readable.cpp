#include "actors/transform/pg_readable.hpp"

#include "actors/transform/json_scanner.hpp"
#include "actors/transform/key.hpp"
#include "actors/transform/pg_message.hpp"
#include "actors/transform/pg_value.hpp"

#include <algorithm>
#include <cmath>
#include <simdjson.h>

namespace millrace::actors::transform {

namespace {
constexpr std::size_t shown_bytes_max = 8192; ///< of one value

struct read_change {
  pg_tables_ptr tables; ///< keeps the table
  const pg_table* table = nullptr;
  pg_change change;
  bool good = false; ///< the whole change could be read
};

read_change read(const storage::batch& batch, std::uint32_t i, arena& memory) {
  thread_local pg_table_cache cache; // the next change mostly has the same context
  read_change out;
  out.tables = cache.of(batch.context());
  const std::string_view payload = batch.payload(i);
  std::string why;
  if (batch.format() == storage::payload_format::pgcopy) {
    if (out.tables->tables.size() != 1) return out;
    out.table = &out.tables->tables.front();
    out.good = parse_pgcopy(payload, out.table->columns.size(), memory, out.change, why);
  } else {
    out.good = parse_pgoutput(payload, out.change, why);
    out.table = out.tables->find(relation_of(payload));
  }
  const auto fits = [&](const pg_tuple& t) { return t.empty() || (out.table && t.size() == out.table->columns.size()); };
  out.good = out.good && out.table && fits(out.change.old) && fits(out.change.fresh);
  return out;
}

void append_value(std::string& out, const pg_column& column, const cell& raw, arena& memory) {
  if (raw.k == cell::kind::null) {
    out += "null";
    return;
  }
  const bool is_native = column.kind == pg_kind::boolean || column.kind == pg_kind::integer || column.kind == pg_kind::real;
  cell value;
  if (is_native && !to_cell(column.kind, raw, memory, value) && (value.k != cell::kind::float64 || std::isfinite(value.d))) {
    append_json(out, value, type_of(column.kind));
    return;
  }
  std::string_view text = raw.view();
  std::size_t n = std::min(text.size(), shown_bytes_max);
  while (n > 0 && n < text.size() && (static_cast<unsigned char>(text[n]) & 0xc0) == 0x80) --n; // whole characters only
  if (!simdjson::validate_utf8(text.data(), n)) {
    append_json_string(out, "(" + std::to_string(text.size()) + " bytes that are not UTF-8)");
  } else if (n < text.size()) {
    append_json_string(out, std::string(text.substr(0, n)) + "... (" + std::to_string(text.size()) + " bytes)");
  } else {
    append_json_string(out, text);
  }
}

template <class Take>
void append_object(std::string& out, const pg_table& table, const pg_tuple& tuple, arena& memory, Take&& take) {
  out += '{';
  bool first = true;
  for (std::size_t i = 0; i < tuple.size(); ++i) {
    if (tuple[i].k == cell::kind::missing || !take(i)) continue;
    if (!first) out += ',';
    first = false;
    append_json_string(out, table.columns[i].name);
    out += ':';
    append_value(out, table.columns[i], tuple[i], memory);
  }
  out += '}';
}
} // namespace

std::string readable(const storage::batch& batch, std::uint32_t change) {
  if (!is_pg(batch.format())) return {};
  arena memory;
  const read_change r = read(batch, change, memory);
  if (!r.good) return {};
  const auto& columns = r.table->columns;
  std::string out = "{";
  if (!r.change.fresh.empty()) {
    out += "\"new\":";
    append_object(out, *r.table, r.change.fresh, memory, [](std::size_t) { return true; });
  }
  if (r.change.old_kind != pg_change::old_row::none) {
    if (out.size() > 1) out += ',';
    out += "\"old\":";
    const bool whole = r.change.old_kind == pg_change::old_row::whole;
    append_object(out, *r.table, r.change.old, memory, [&](std::size_t i) { return whole || columns[i].identity; });
  }
  std::string unchanged;
  for (std::size_t i = 0; i < r.change.fresh.size(); ++i) {
    if (r.change.fresh[i].k != cell::kind::missing) continue;
    if (!unchanged.empty()) unchanged += ',';
    append_json_string(unchanged, columns[i].name);
  }
  if (!unchanged.empty()) out += ",\"unchanged\":[" + unchanged + ']';
  return out += '}';
}

change_summary summarize_pg(const storage::batch& batch, std::uint32_t change) {
  change_summary out;
  arena memory;
  const read_change r = read(batch, change, memory);
  out.op = r.change.op;
  if (r.table) out.table = r.table->full;
  if (const auto* t = batch.transaction_of(change); t && t->id != 0) out.transaction = std::to_string(t->id);
  if (!r.good || r.table->key.empty() || r.change.op == storage::operation::truncate) return out;
  const pg_tuple& tuple = r.change.op == storage::operation::remove ? r.change.old : r.change.fresh;
  const auto is_key = [&](std::size_t i) {
    return std::find(r.table->key.begin(), r.table->key.end(), static_cast<std::uint32_t>(i)) != r.table->key.end();
  };
  append_object(out.key, *r.table, tuple, memory, is_key);
  return out;
}

} // namespace millrace::actors::transform
