#include "actors/load/postgres/copy_binary.hpp"

#include "actors/load/postgres/copy_text.hpp"

#include <bit>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>
#include <type_traits>

namespace millrace::actors::load::postgres {
namespace {

using transform::cell;

/// In the network's order.
template <class Int>
char* put(char* p, Int v) {
  auto u = static_cast<std::make_unsigned_t<Int>>(v);
  if constexpr (sizeof u == 2)
    u = __builtin_bswap16(u);
  else if constexpr (sizeof u == 4)
    u = __builtin_bswap32(u);
  else if constexpr (sizeof u == 8)
    u = __builtin_bswap64(u);
  std::memcpy(p, &u, sizeof u);
  return p + sizeof u;
}

constexpr bool digit(char c) { return c >= '0' && c <= '9'; }
std::size_t digits(std::string_view text, std::size_t from) {
  auto at = from;
  while (at < text.size() && digit(text[at])) ++at;
  return at - from;
}
bool all_digits(const char* p, std::initializer_list<int> places) {
  bool good = true;
  for (const int i : places) good = good && digit(p[i]);
  return good;
}
int two(const char* p) { return (p[0] - '0') * 10 + (p[1] - '0'); }

// ---- dates. PostgreSQL counts from 2000-01-01; the ends of the range stand for infinity.

constexpr std::int64_t micros_per_second = 1'000'000, micros_per_day = 86'400 * micros_per_second;

/// "YYYY-MM-DD" of the years 1 to 9999: any DateStyle reads it so, because the year comes first and has four digits.
std::optional<std::int32_t> days_of(const char* p) {
  using namespace std::chrono;
  if (p[4] != '-' || p[7] != '-' || !all_digits(p, {0, 1, 2, 3, 5, 6, 8, 9})) return {};
  const year_month_day date{year{two(p) * 100 + two(p + 2)}, month{static_cast<unsigned>(two(p + 5))},
                            day{static_cast<unsigned>(two(p + 8))}};
  if (date.year() < year{1} || !date.ok()) return {};
  return (sys_days(date) - sys_days(2000y / 1 / 1)).count();
}

/// "", "Z", "+00", "-03:30": microseconds east of UTC.
std::optional<std::int64_t> zone_of(std::string_view text) {
  constexpr int hours_max = 14;
  if (text.empty() || text == "Z") return 0;
  const bool minutes = text.size() == 6 && text[3] == ':' && all_digits(text.data(), {4, 5});
  if ((text.size() != 3 && !minutes) || (text[0] != '+' && text[0] != '-') || !all_digits(text.data(), {1, 2})) return {};
  const int h = two(text.data() + 1), m = minutes ? two(text.data() + 4) : 0;
  if (h > hours_max || m > 59) return {};
  const auto east = (h * 3600 + m * 60) * micros_per_second;
  return text[0] == '-' ? -east : east;
}

/// "YYYY-MM-DD", "YYYY-MM-DDTHH:MM:SS[.ffffff][zone]", a space for the T. A timestamp without time zone ignores the zone, as the
/// server does; one with it and none in the text is in the session's zone, which only the server knows.
std::optional<std::int64_t> moment_of(std::string_view text, bool zoned) {
  constexpr std::size_t day = 10, whole = 19;
  const char* p = text.data();
  if (text.size() < day) return {};
  const auto days = days_of(p);
  if (!days) return {};
  const std::int64_t midnight = *days * micros_per_day;
  if (text.size() == day) return zoned ? std::nullopt : std::optional(midnight);
  if (text.size() < whole || (p[10] != 'T' && p[10] != ' ') || p[13] != ':' || p[16] != ':' ||
      !all_digits(p, {11, 12, 14, 15, 17, 18}))
    return {};
  const int h = two(p + 11), m = two(p + 14), s = two(p + 17);
  if (h > 23 || m > 59 || s > 59) return {};
  auto out = midnight + (h * 3600 + m * 60 + s) * micros_per_second;
  std::size_t at = whole;
  if (at < text.size() && p[at] == '.') {
    const auto n = digits(text, ++at);
    if (n == 0 || n > 6) return {}; // more are rounded, and how is the server's to say
    auto unit = micros_per_second;
    for (const auto end = at + n; at < end; ++at) out += (p[at] - '0') * (unit /= 10);
  }
  const auto rest = text.substr(at);
  const auto east = zone_of(rest);
  if (!east || (zoned && rest.empty())) return {};
  return zoned ? out - *east : out;
}

template <class Int>
std::optional<Int> endless(std::string_view text) {
  if (text == "infinity") return std::numeric_limits<Int>::max();
  if (text == "-infinity") return std::numeric_limits<Int>::min();
  return {};
}

// ---- numeric: groups of four decimal digits, the weight of the first group, a sign, and how many digits to show behind the
// point

constexpr std::uint16_t sign_positive = 0x0000, sign_negative = 0x4000, sign_nan = 0xC000, sign_infinity = 0xD000,
                        sign_minus_infinity = 0xF000;
constexpr std::size_t numeric_digits_max = 16000; ///< of the text; 16383 behind the point are what the format can say
constexpr std::size_t exponent_max = 1000;        ///< what a float's or a client's text has; beyond it the server reads the text

} // namespace

binary_form binary_form_of(std::uint32_t base, bool is_enum) noexcept {
  if (is_enum) return binary_form::text;
  switch (base) { // pg_type.dat; these numbers never change
  case 16:
    return binary_form::boolean;
  case 17:
    return binary_form::bytea;
  case 20:
    return binary_form::int8;
  case 21:
    return binary_form::int2;
  case 23:
    return binary_form::int4;
  case 25:   // text
  case 114:  // json
  case 1042: // char(n)
  case 1043: // varchar
    return binary_form::text;
  case 700:
    return binary_form::float4;
  case 701:
    return binary_form::float8;
  case 1082:
    return binary_form::date;
  case 1114:
    return binary_form::timestamp;
  case 1184:
    return binary_form::timestamptz;
  case 1700:
    return binary_form::numeric;
  case 2950:
    return binary_form::uuid;
  case 3802:
    return binary_form::jsonb;
  default:
    return binary_form::none;
  }
}

void copy_binary::header() {
  constexpr char signature[] = "PGCOPY\n\377\r\n"; // and its NUL; then flags and the length of an extension, both 0
  literal(signature, sizeof signature);
  literal("\0\0\0\0\0\0\0\0", 8);
}

void copy_binary::trailer() { literal("\377\377", 2); }
void copy_binary::null() { literal("\377\377\377\377", 4); }

void copy_binary::begin_row(std::size_t fields) { end_at(put(room(2), static_cast<std::int16_t>(fields))); }

template <class Int>
void copy_binary::field(Int v) {
  end_at(put(put(room(4 + sizeof v), static_cast<std::int32_t>(sizeof v)), v));
}

bool copy_binary::cell(const transform::cell& c, binary_form form, boolean_text b) {
  using kind = transform::cell::kind;
  char words[float_text_max];
  switch (c.k) {
  case kind::null:
  case kind::missing:
    null();
    return true;
  case kind::boolean:
    if (form == binary_form::boolean) {
      field(static_cast<std::int8_t>(c.i != 0));
      return true;
    }
    return read(b == boolean_text::word ? (c.i ? "true" : "false") : (c.i ? "t" : "f"), form);
  case kind::int64:
    if (form == binary_form::int2 || form == binary_form::int4 || form == binary_form::int8) return integer(c.i, form);
    return read({words, static_cast<std::size_t>(std::to_chars(words, words + sizeof words, c.i).ptr - words)}, form);
  case kind::float64:
    if (form == binary_form::float8 && !std::isnan(c.d)) { // a NaN may carry bits that its text does not
      field(std::bit_cast<std::int64_t>(c.d));
      return true;
    }
    return read({words, static_cast<std::size_t>(float_text(c.d, words) - words)}, form);
  case kind::text:
    return read(c.view(), form);
  case kind::blob:
    if (form != binary_form::bytea || c.size > static_cast<std::uint32_t>(std::numeric_limits<std::int32_t>::max())) return false;
    bytes(c.view());
    return true;
  }
  return false;
}

bool copy_binary::read(std::string_view text, binary_form form) {
  if (text.size() >= static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) return false;
  switch (form) {
  case binary_form::none:
    return false;
  case binary_form::boolean: {
    const bool yes = text == "t" || text == "true" || text == "1";
    if (!yes && text != "f" && text != "false" && text != "0") return false;
    field(static_cast<std::int8_t>(yes));
    return true;
  }
  case binary_form::int2:
  case binary_form::int4:
  case binary_form::int8:
    return integer(text, form);
  case binary_form::float4:
    return real<float>(text);
  case binary_form::float8:
    return real<double>(text);
  case binary_form::text:
    bytes(text);
    return true;
  case binary_form::jsonb: {
    char* p = put(room(5 + text.size()), static_cast<std::int32_t>(text.size() + 1));
    *p++ = 1; // version of the format
    if (!text.empty()) std::memcpy(p, text.data(), text.size());
    end_at(p + text.size());
    return true;
  }
  case binary_form::bytea: // a backslash begins an escape; other than ASCII the server may convert to its own encoding
    for (const char c : text)
      if (c == '\\' || static_cast<unsigned char>(c) >= 0x80) return false;
    bytes(text);
    return true;
  case binary_form::numeric:
    return numeric(text);
  case binary_form::date: {
    auto days = endless<std::int32_t>(text);
    if (!days && text.size() == 10) days = days_of(text.data());
    if (days) field(*days);
    return days.has_value();
  }
  case binary_form::timestamp:
  case binary_form::timestamptz: {
    auto micros = moment_of(text, form == binary_form::timestamptz);
    if (!micros) micros = endless<std::int64_t>(text);
    if (micros) field(*micros);
    return micros.has_value();
  }
  case binary_form::uuid:
    return uuid(text);
  }
  return false;
}

void copy_binary::bytes(std::string_view v) {
  char* p = put(room(4 + v.size()), static_cast<std::int32_t>(v.size()));
  if (!v.empty()) std::memcpy(p, v.data(), v.size());
  end_at(p + v.size());
}

bool copy_binary::integer(std::int64_t v, binary_form form) {
  if (form == binary_form::int8) {
    field(v);
    return true;
  }
  if (form == binary_form::int4) {
    if (v != static_cast<std::int32_t>(v)) return false;
    field(static_cast<std::int32_t>(v));
    return true;
  }
  if (v != static_cast<std::int16_t>(v)) return false;
  field(static_cast<std::int16_t>(v));
  return true;
}

bool copy_binary::integer(std::string_view text, binary_form form) {
  std::int64_t v = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, v);
  return code == std::errc{} && stop == end && integer(v, form);
}

/// Float: read as the column's own type. By way of a double it would be rounded twice.
template <class Float>
bool copy_binary::real(std::string_view text) {
  using bits = std::conditional_t<sizeof(Float) == 4, std::int32_t, std::int64_t>;
  using limits = std::numeric_limits<Float>;
  Float v = 0;
  if (text == "NaN") {
    v = limits::quiet_NaN();
  } else if (text == "Infinity" || text == "-Infinity") {
    v = text[0] == '-' ? -limits::infinity() : limits::infinity();
  } else {
    const auto number = text.substr(text.starts_with('-'));
    if (number.empty() || !digit(number[0])) return false;
    const char* const end = text.data() + text.size();
    const auto [stop, code] = std::from_chars(text.data(), end, v);
    if (code != std::errc{} || stop != end || std::isinf(v)) return false;
    // Zero because the number is too small: the server calls that out of range.
    if (v == 0 && number.substr(0, number.find_first_of("eE")).find_first_not_of("0.") != std::string_view::npos) return false;
  }
  field(std::bit_cast<bits>(v));
  return true;
}

bool copy_binary::numeric(std::string_view text) {
  const auto special = [this](std::uint16_t sign) {
    char* p = put(room(12), std::int32_t{8});
    p = put(put(put(p, std::uint16_t{0}), std::uint16_t{0}), sign);
    end_at(put(p, std::uint16_t{0}));
    return true;
  };
  const bool negative = text.starts_with('-');
  const auto number = text.substr(negative);
  if (number.empty() || number.size() > numeric_digits_max) return false;
  const auto whole = digits(number, 0);
  const bool point = whole < number.size() && number[whole] == '.';
  const auto fraction = point ? digits(number, whole + 1) : 0;
  if (whole + fraction == 0) {
    if (text == "NaN") return special(sign_nan);
    if (number == "Infinity") return special(negative ? sign_minus_infinity : sign_infinity); // since PostgreSQL 14
    return false;
  }
  const auto stop = whole + point + fraction;
  if (stop == number.size()) {
    numeric(number.substr(0, whole), point ? number.substr(whole + 1) : std::string_view{}, negative);
    return true;
  }
  // An exponent moves the point, and the digits that are shown behind it with it: 1.50e1 is 15.0, 1e3 is 1000.
  if ((number[stop] != 'e' && number[stop] != 'E') || whole + fraction > exponent_max) return false;
  auto power = number.substr(stop + 1);
  if (power.size() > 1 && power[0] == '+' && digit(power[1])) power.remove_prefix(1);
  int exponent = 0;
  const auto [end, code] = std::from_chars(power.data(), power.data() + power.size(), exponent);
  if (code != std::errc{} || end != power.data() + power.size() || std::abs(exponent) > static_cast<int>(exponent_max))
    return false;
  char plain[3 * exponent_max];
  const auto moved = static_cast<int>(fraction) - exponent; // digits behind the point
  std::size_t n = 0;
  for (auto zeros = moved - static_cast<int>(whole + fraction); zeros > 0; --zeros) plain[n++] = '0';
  for (std::size_t i = 0; i < stop; ++i)
    if (number[i] != '.') plain[n++] = number[i];
  for (auto zeros = -moved; zeros > 0; --zeros) plain[n++] = '0';
  const auto behind = static_cast<std::size_t>(std::max(moved, 0));
  numeric({plain, n - behind}, {plain + (n - behind), behind}, negative);
  return true;
}

/// The server strips groups of zeros at both ends and the sign of zero itself (numeric_recv: make_result).
void copy_binary::numeric(std::string_view whole, std::string_view fraction, bool negative) {
  const auto before = (whole.size() + 3) / 4, behind = (fraction.size() + 3) / 4;
  char* p = put(room(12 + 2 * (before + behind)), static_cast<std::int32_t>(8 + 2 * (before + behind)));
  p = put(p, static_cast<std::int16_t>(before + behind));
  p = put(p, static_cast<std::int16_t>(static_cast<int>(before) - 1));
  p = put(p, negative ? sign_negative : sign_positive);
  p = put(p, static_cast<std::uint16_t>(fraction.size()));
  int group = 0;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    group = group * 10 + (whole[i] - '0');
    if ((whole.size() - i) % 4 != 1) continue;
    p = put(p, static_cast<std::int16_t>(group));
    group = 0;
  }
  for (std::size_t i = 0; i < 4 * behind; ++i) {
    group = group * 10 + (i < fraction.size() ? fraction[i] - '0' : 0);
    if (i % 4 != 3) continue;
    p = put(p, static_cast<std::int16_t>(group));
    group = 0;
  }
  end_at(p);
}

bool copy_binary::uuid(std::string_view text) {
  if (text.size() != 36) return false;
  char* p = put(room(20), std::int32_t{16});
  const auto nibble = [](char c) {
    return digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  for (std::size_t i = 0; i < 36;) {
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (text[i++] != '-') return false;
      continue;
    }
    const int high = nibble(text[i]), low = nibble(text[i + 1]);
    if (high < 0 || low < 0) return false;
    *p++ = static_cast<char>(high << 4 | low);
    i += 2;
  }
  end_at(p);
  return true;
}

} // namespace millrace::actors::load::postgres
