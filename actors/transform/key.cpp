#include "actors/transform/key.hpp"

#include "actors/transform/coercion.hpp"
#include "actors/transform/json_scanner.hpp"

#include <cmath>
#include <cstring>
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace millrace::actors::transform {

namespace {
void append_base64(std::string& out, std::string_view bytes) {
  constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](std::size_t k) { return k < bytes.size() ? static_cast<unsigned char>(bytes[k]) : 0u; };
    const std::uint32_t bits = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    out += digits[bits >> 18];
    out += digits[bits >> 12 & 63];
    out += i + 1 < bytes.size() ? digits[bits >> 6 & 63] : '=';
    out += i + 2 < bytes.size() ? digits[bits & 63] : '=';
  }
}

/// One value in a form that no other value has: its kind, its length, its bytes.
std::uint64_t hash_cell(const cell& c, std::uint64_t seed) {
  if (c.k == cell::kind::text || c.k == cell::kind::blob)
    return XXH3_64bits_withSeed(c.p, c.size, seed + static_cast<std::uint64_t>(c.k) + (std::uint64_t{c.size} << 8));
  char bytes[9];
  bytes[0] = static_cast<char>(c.k);
  std::memcpy(bytes + 1, &c.i, 8);
  return XXH3_64bits_withSeed(bytes, sizeof bytes, seed);
}
} // namespace

std::uint64_t hash_key(const cell* cells, std::span<const int> columns) {
  if (columns.empty()) return 0;
  std::uint64_t h = 0;
  for (const int column : columns) {
    if (column < 0) return 0;
    const cell& c = cells[column];
    if (c.k == cell::kind::null || c.k == cell::kind::missing) return 0;
    h = hash_cell(c, h);
  }
  return h == 0 ? 1 : h;
}

void append_json(std::string& out, const cell& v, std::optional<data_type> type) {
  char digits[32];
  switch (v.k) {
  case cell::kind::text: {
    // PostgreSQL's decimals may be NaN or Infinity, which are no JSON.
    const bool digits_end = v.size > 0 && v.p[v.size - 1] >= '0' && v.p[v.size - 1] <= '9';
    const bool raw = (type == data_type::decimal && digits_end) || type == data_type::json;
    if (raw)
      out += v.view();
    else
      append_json_string(out, v.view());
    return;
  }
  case cell::kind::blob:
    out += '"';
    append_base64(out, v.view());
    out += '"';
    return;
  case cell::kind::float64:
    out += std::isfinite(v.d) ? text_form(v, digits) : "null";
    return;
  default:
    out += text_form(v, digits);
  }
}

std::string key_json(const row_set& set, const row& r) {
  const table_layout& layout = set.layout_of(r);
  if (layout.key.empty()) return {};
  std::string out = "{";
  const cell* cells = set.cells_of(r);
  for (const std::uint32_t column : layout.key) {
    if (out.size() > 1) out += ',';
    append_json_string(out, layout.columns[column].name);
    out += ':';
    append_json(out, cells[column], layout.columns[column].type);
  }
  return out += '}';
}

} // namespace millrace::actors::transform
