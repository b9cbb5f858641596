#include "actors/load/postgres/types.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

namespace millrace::actors::load::postgres {
namespace {

struct typed {
  std::string_view name;
  std::optional<int> first, second;
};

/// "numeric(10,2)" -> numeric, 10, 2. Types whose modifier stands inside ("timestamp(3) with time zone") keep their text.
typed split(std::string_view text) {
  typed out{text, {}, {}};
  if (text.empty() || text.back() != ')') return out;
  const auto open = text.rfind('(');
  if (open == std::string_view::npos) return out;
  out.name = text.substr(0, open);
  const auto inside = text.substr(open + 1, text.size() - open - 2);
  int n = 0;
  const auto* end = inside.data() + inside.size();
  const auto a = std::from_chars(inside.data(), end, n);
  if (a.ec != std::errc{}) return {text, {}, {}};
  out.first = n;
  if (a.ptr != end && *a.ptr == ',' && std::from_chars(a.ptr + 1, end, n).ec == std::errc{}) out.second = n;
  return out;
}

int integer_digits(std::string_view name) { return name == "smallint" ? 5 : name == "integer" ? 10 : name == "bigint" ? 19 : 0; }
bool is_text(std::string_view name) { return name == "text" || name == "character varying"; }

} // namespace

const char* type_of(data_type t) noexcept {
  switch (t) {
  case data_type::boolean:
    return "boolean";
  case data_type::int64:
    return "bigint";
  case data_type::float64:
    return "double precision";
  case data_type::decimal:
    return "numeric";
  case data_type::bytes:
    return "bytea";
  case data_type::date:
    return "date";
  case data_type::timestamp:
    return "timestamp with time zone";
  case data_type::uuid:
    return "uuid";
  case data_type::json:
    return "jsonb";
  case data_type::text:
    return "text";
  }
  return "text";
}

const char* type_of(transform::cell::kind k) noexcept {
  using kind = transform::cell::kind;
  switch (k) {
  case kind::boolean:
    return "boolean";
  case kind::int64:
    return "bigint";
  case kind::float64:
    return "double precision";
  case kind::blob:
    return "bytea";
  default:
    return "text";
  }
}

bool widens(std::string_view from, std::string_view to) {
  if (from == to) return false;
  const auto a = split(from), b = split(to);
  if (const int digits = integer_digits(a.name)) {
    if (integer_digits(b.name) > digits) return true;
    if (b.name != "numeric") return false;
    return !b.first || *b.first - b.second.value_or(0) >= digits;
  }
  if (a.name == "real" && to == "double precision") return true;
  if (a.name == "numeric" && b.name == "numeric") {
    if (!b.first) return a.first.has_value();
    if (!a.first) return false;
    const int scale_a = a.second.value_or(0), scale_b = b.second.value_or(0);
    return scale_b >= scale_a && *b.first - scale_b >= *a.first - scale_a;
  }
  if (is_text(a.name) && is_text(b.name)) return !b.first || (a.first && *b.first > *a.first);
  if (a.name == "bit varying" && b.name == "bit varying") return a.first && (!b.first || *b.first > *a.first);
  return false;
}

} // namespace millrace::actors::load::postgres
