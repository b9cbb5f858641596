#include "actors/load/sqlite/value_check.hpp"

#include <cmath>

namespace millrace::actors::load::sqlite {
namespace {

using transform::cell;

bool contains(std::string_view text, std::string_view upper) {
  for (std::size_t i = 0; i + upper.size() <= text.size(); ++i) {
    std::size_t j = 0;
    while (j < upper.size() && (text[i + j] & ~0x20) == upper[j]) ++j;
    if (j == upper.size()) return true;
  }
  return false;
}

bool digit(char c) { return c >= '0' && c <= '9'; }

/// Would SQLite see a number in this text? Its rule: blanks, sign, digits, fraction, exponent, blanks. Digits: how many matter.
bool looks_numeric(std::string_view text, int& digits) {
  const auto blank = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) text.remove_prefix(1);
  std::size_t i = 0;
  bool any = false, leading = true;
  digits = 0;
  const auto run = [&] {
    while (i < text.size() && digit(text[i])) {
      any = true;
      if (text[i] != '0') leading = false;
      if (!leading) ++digits;
      ++i;
    }
  };
  run();
  if (i < text.size() && text[i] == '.') {
    ++i;
    run();
  }
  if (!any) return false;
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    if (i < text.size() && (text[i] == '-' || text[i] == '+')) ++i;
    const auto from = i;
    while (i < text.size() && digit(text[i])) ++i;
    if (i == from) return false;
  }
  return i == text.size();
}

bool is_text_like(data_type t) {
  return t == data_type::text || t == data_type::decimal || t == data_type::date || t == data_type::timestamp ||
         t == data_type::uuid || t == data_type::json;
}

} // namespace

affinity affinity_of(std::string_view declared, bool strict) noexcept {
  if (declared.empty()) return affinity::none;
  if (contains(declared, "INT")) return affinity::integer;
  if (contains(declared, "CHAR") || contains(declared, "CLOB") || contains(declared, "TEXT")) return affinity::text;
  if (contains(declared, "BLOB") || (strict && contains(declared, "ANY"))) return affinity::none;
  if (contains(declared, "REAL") || contains(declared, "FLOA") || contains(declared, "DOUB")) return affinity::real;
  return affinity::numeric;
}

const char* declared_type_of(data_type t) noexcept {
  switch (t) {
  case data_type::boolean:
  case data_type::int64:
    return "INTEGER";
  case data_type::float64:
    return "REAL";
  case data_type::bytes:
    return "BLOB";
  default:
    return "TEXT";
  }
}

const char* declared_type_of(cell::kind k) noexcept {
  switch (k) {
  case cell::kind::boolean:
  case cell::kind::int64:
    return "INTEGER";
  case cell::kind::float64:
    return "REAL";
  case cell::kind::blob:
    return "BLOB";
  default:
    return "TEXT";
  }
}

bool always_fits(data_type t, affinity a) noexcept {
  if (a == affinity::none) return true;
  switch (t) {
  case data_type::boolean:
    return a != affinity::text;
  case data_type::int64:
    return a == affinity::integer || a == affinity::numeric;
  case data_type::float64:
    return a == affinity::real || a == affinity::numeric;
  case data_type::bytes:
    return false;
  case data_type::date:
  case data_type::timestamp:
    return a == affinity::text || a == affinity::numeric; // dashes: never a number for SQLite
  case data_type::uuid:
    return a == affinity::text || a == affinity::numeric;
  default:
    return a == affinity::text;
  }
}

bool never_fits(data_type t, affinity a) noexcept {
  if (a == affinity::none) return false;
  if (t == data_type::bytes) return a != affinity::numeric;
  // A decimal may live in a REAL or INTEGER column as long as its digits survive; that is decided value by value.
  if (t == data_type::decimal) return false;
  if (is_text_like(t)) return a == affinity::integer || a == affinity::real;
  return a == affinity::text;
}

bool fits(const cell& value, affinity a, bool is_decimal) noexcept {
  constexpr double two63 = 9223372036854775808.0;
  constexpr std::int64_t exact = std::int64_t{1} << 53;
  constexpr int float_digits = 15;
  if (a == affinity::none) return true;
  switch (value.k) {
  case cell::kind::null:
  case cell::kind::missing:
    return true;
  case cell::kind::boolean:
    return a != affinity::text;
  case cell::kind::int64:
    if (a == affinity::text) return false;
    if (a == affinity::real) return value.i >= -exact && value.i <= exact;
    return true;
  case cell::kind::float64:
    if (a == affinity::text) return false;
    if (a == affinity::integer) return value.d >= -two63 && value.d < two63 && value.d == std::trunc(value.d);
    return true;
  case cell::kind::blob:
    return a == affinity::numeric;
  case cell::kind::text: {
    if (a == affinity::text) return true;
    int digits = 0;
    const bool number = looks_numeric(value.view(), digits);
    if (!is_decimal) return a == affinity::numeric && !number;
    if (!number || digits > float_digits) return false;
    return a != affinity::integer || value.view().find_first_of(".eE") == std::string_view::npos;
  }
  }
  return true;
}

const char* name_of(cell::kind k) noexcept {
  switch (k) {
  case cell::kind::null:
    return "null";
  case cell::kind::boolean:
    return "a bool";
  case cell::kind::int64:
    return "an integer";
  case cell::kind::float64:
    return "a float";
  case cell::kind::text:
    return "text";
  case cell::kind::blob:
    return "bytes";
  case cell::kind::missing:
    return "nothing";
  }
  return "nothing";
}

const char* name_of(affinity a) noexcept {
  switch (a) {
  case affinity::integer:
    return "INTEGER";
  case affinity::real:
    return "REAL";
  case affinity::text:
    return "TEXT";
  case affinity::numeric:
    return "NUMERIC";
  case affinity::none:
    return "none";
  }
  return "none";
}

} // namespace millrace::actors::load::sqlite
