#include "actors/transform/coercion.hpp"

#include "actors/transform/calendar.hpp"
#include "actors/transform/number.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace millrace::actors::transform {

namespace {
std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// A value on its way into a cell: its spelling, and which spelling it is.
struct input {
  json_kind kind = json_kind::string;
  std::string_view text;
};

bool refuse(const input& v, std::string_view expected, std::string& why) {
  why = "found ";
  why += to_string(v.kind);
  why += ' ';
  constexpr std::size_t shown = 80;
  const bool quoted = v.kind == json_kind::string;
  std::size_t n = std::min(v.text.size(), shown);
  while (n > 0 && n < v.text.size() && (static_cast<unsigned char>(v.text[n]) & 0xc0) == 0x80) --n; // whole characters only
  if (quoted)
    append_json_string(why, v.text.substr(0, n));
  else
    why += v.text.substr(0, n);
  if (n < v.text.size()) why += "...";
  why += ", expected ";
  why += expected;
  return false;
}
bool refuse(const input& v, const value_type& type, std::string_view expected, std::string& why) {
  return refuse(v, std::string(to_string(type.type)).append(": ").append(expected), why);
}

bool is_word(std::string_view text, std::initializer_list<std::string_view> words) {
  if (text.empty() || text.size() > 5) return false;
  char lower[5];
  for (std::size_t i = 0; i < text.size(); ++i)
    lower[i] = static_cast<char>(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 32 : text[i]);
  for (const std::string_view w : words)
    if (std::string_view(lower, text.size()) == w) return true;
  return false;
}

bool to_boolean(const input& v, const value_type& type, cell& out, std::string& why) {
  if (v.kind == json_kind::true_ || v.kind == json_kind::false_) {
    out = cell::of(v.kind == json_kind::true_);
    return true;
  }
  if (v.kind == json_kind::string) { // PostgreSQL's spellings
    const std::string_view text = trim(v.text);
    const bool yes = is_word(text, {"true", "t", "yes", "y", "on", "1"});
    if (yes || is_word(text, {"false", "f", "no", "n", "off", "0"})) {
      out = cell::of(yes);
      return true;
    }
  }
  return refuse(v, type, "true or false", why);
}

bool is_numeric(const input& v) { return v.kind == json_kind::number || v.kind == json_kind::string; }

bool to_number(const input& v, const value_type& type, arena& memory, cell& out, std::string& why) {
  if (!is_numeric(v)) return refuse(v, type, "a number", why);
  const std::string_view text = v.kind == json_kind::string ? trim(v.text) : v.text;
  number_error error = number_error::none;
  if (type.type == data_type::int64) {
    std::int64_t i = 0;
    error = to_int64(text, i);
    out = cell::of(i);
  } else if (type.type == data_type::float64) {
    double d = 0;
    error = to_float64(text, d);
    out = cell::of(d);
  } else {
    std::string_view digits;
    error = to_decimal(text, memory, digits);
    out = cell::text(digits);
  }
  return error == number_error::none || refuse(v, type, to_string(error), why);
}

/// Epoch milliseconds to microseconds, fractions of a millisecond included.
number_error millis_to_micros(std::string_view text, std::int64_t& micros) {
  std::int64_t whole = 0;
  const number_error error = to_int64(text, whole);
  if (error == number_error::none) {
    constexpr std::int64_t limit = 1'000'000'000'000'000; // far outside of the years that are taken
    micros = (whole > limit ? limit : whole < -limit ? -limit : whole) * 1000;
    return error;
  }
  if (error != number_error::fraction) return error;
  arena memory;
  std::string_view digits;
  if (to_decimal(text, memory, digits) != number_error::none) return number_error::out_of_range;
  return to_int64(std::string(digits) + "e3", micros); // only its exponent moves: still exact
}

bool to_time(const input& v, const value_type& type, arena& memory, cell& out, std::string& why) {
  if (!is_numeric(v)) return refuse(v, type, "a date, a timestamp or epoch milliseconds", why);
  std::int64_t micros = 0;
  const std::string_view text = v.kind == json_kind::string ? trim(v.text) : v.text;
  std::int64_t unused = 0;
  // With a format a number is text like any other: 20240229 for %Y%m%d, seconds for %s.
  const bool number = type.format.empty() && (v.kind == json_kind::number || to_int64(text, unused) == number_error::none);
  if (number) {
    // 20240229 may be a date as ISO 8601 also writes it, or a moment of 1970: only the spec can know.
    if (v.kind == json_kind::string && text.size() == 8) return refuse(v, type, "a `format` for dates of eight digits", why);
    const number_error error = millis_to_micros(text, micros);
    if (error == number_error::fraction) return refuse(v, type, "epoch milliseconds in whole microseconds", why);
    if (error != number_error::none) return refuse(v, type, "epoch milliseconds", why);
    if (!micros_in_range(micros)) return refuse(v, type, "a time in the years 0001 to 9999", why);
  } else {
    civil_time t;
    const char* expected = nullptr;
    const bool parsed = type.format.empty() ? parse_iso8601(text, t, expected) : parse_format(text, type.format, t, expected);
    if (!parsed) {
      if (type.format.empty()) return refuse(v, type, expected, why);
      return refuse(v, type, std::string("format '").append(type.format).append("': ").append(expected), why);
    }
    if (!to_micros(t, micros)) return refuse(v, type, "a time in the years 0001 to 9999", why);
    // A date's zone does not move it; a time of day other than midnight would be lost.
    if (type.type == data_type::date && !t.has_time) micros += t.zone_seconds * std::int64_t{1'000'000};
  }
  char* place = memory.allocate(32);
  std::size_t size = 0;
  if (type.type == data_type::date) {
    if (micros % micros_per_day != 0) return refuse(v, type, "a date without a time of day (or 00:00 UTC)", why);
    size = write_date(micros, place);
  } else {
    size = write_timestamp(micros, place);
  }
  memory.shrink(32, size);
  out = cell::text({place, size});
  return true;
}

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool to_bytes(const input& v, const value_type& type, arena& memory, cell& out, std::string& why) {
  if (v.kind != json_kind::string) return refuse(v, type, "base64 text", why);
  std::string_view text = v.text;
  if (text.size() % 4 == 0) {
    for (int i = 0; i < 2 && !text.empty() && text.back() == '='; ++i) text.remove_suffix(1);
  }
  if (text.size() % 4 == 1) return refuse(v, type, "base64 text of a whole number of bytes", why);
  const std::size_t room = text.size() / 4 * 3 + 3;
  char* const start = memory.allocate(room);
  char* p = start;
  std::uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    const int d = base64_digit(c);
    if (d < 0) return refuse(v, type, "base64 text (RFC 4648)", why);
    bits = bits << 6 | static_cast<std::uint32_t>(d);
    held += 6;
    if (held >= 8) {
      held -= 8;
      *p++ = static_cast<char>(bits >> held & 0xff);
    }
  }
  if ((bits & ((1u << held) - 1)) != 0) return refuse(v, type, "base64 text without stray bits at its end", why);
  const auto size = static_cast<std::size_t>(p - start);
  memory.shrink(room, size);
  out = cell::blob({start, size});
  return true;
}

bool to_uuid(const input& v, const value_type& type, arena& memory, cell& out, std::string& why) {
  const std::string_view text = trim(v.text);
  constexpr auto expected = "a uuid such as 123e4567-e89b-12d3-a456-426614174000";
  if (v.kind != json_kind::string || (text.size() != 36 && text.size() != 32)) return refuse(v, type, expected, why);
  const bool dashes = text.size() == 36;
  char* const start = memory.allocate(36);
  char* p = start;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (dashes && (i == 8 || i == 13 || i == 18 || i == 23)) {
      if (text[i] != '-') return refuse(v, type, expected, why);
      continue;
    }
    const char c = static_cast<char>(text[i] >= 'A' && text[i] <= 'F' ? text[i] + 32 : text[i]);
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return refuse(v, type, expected, why);
    const auto written = p - start;
    if (written == 8 || written == 13 || written == 18 || written == 23) *p++ = '-';
    *p++ = c;
  }
  out = cell::text({start, 36});
  return true;
}

bool coerce_input(const input& v, const value_type& type, arena& memory, cell& out, std::string& why) {
  switch (type.type) {
  case data_type::boolean:
    return to_boolean(v, type, out, why);
  case data_type::int64:
  case data_type::float64:
  case data_type::decimal:
    return to_number(v, type, memory, out, why);
  case data_type::text:
    if (v.kind == json_kind::object || v.kind == json_kind::array)
      return refuse(v, type, "a text (or declare the column as json)", why);
    out = cell::text(v.text);
    return true;
  case data_type::bytes:
    return to_bytes(v, type, memory, out, why);
  case data_type::date:
  case data_type::timestamp:
    return to_time(v, type, memory, out, why);
  case data_type::uuid:
    return to_uuid(v, type, memory, out, why);
  case data_type::json:
    break; // its callers know whether the text is JSON already
  }
  return refuse(v, type, "a known type", why);
}

bool json_text(std::string_view text, cell& out, std::string& why, const value_type& type) {
  json_scanner s(text);
  json_value v;
  if (!s.value(v) || !s.at_end()) {
    s.fail("nothing behind the value");
    return refuse({json_kind::string, text}, type, "JSON, " + s.error(), why);
  }
  out = cell::text(text);
  return true;
}

cell noted(cell c, data_type type) {
  c.note = static_cast<std::uint8_t>(1 + static_cast<int>(type));
  return c;
}
} // namespace

bool coerce(const json_value& v, const value_type& type, arena& memory, cell& out, std::string& why) {
  if (type.type == data_type::json) {
    if (v.bare) return json_text(v.raw, out, why, type);
    if (v.kind != json_kind::string) {
      out = cell::text(v.raw);
    } else { // a JSON text keeps its quotes: they stand around the slice
      out = cell::text({v.raw.data() - 1, v.raw.size() + 2});
    }
    return true;
  }
  if (v.kind == json_kind::number && type.type == data_type::int64 && v.integral) {
    std::int64_t i = 0;
    const auto [stop, ec] = std::from_chars(v.raw.data(), v.raw.data() + v.raw.size(), i);
    if (ec == std::errc{}) {
      out = cell::of(i);
      return true;
    }
  }
  return coerce_input({v.kind, v.kind == json_kind::string ? text_of(v, memory) : v.raw}, type, memory, out, why);
}

bool coerce(const cell& v, const value_type& type, arena& memory, cell& out, std::string& why) {
  char digits[32];
  input in;
  switch (v.k) {
  case cell::kind::null:
  case cell::kind::missing:
    out = v;
    return true;
  case cell::kind::boolean:
    in = {v.i ? json_kind::true_ : json_kind::false_, v.i ? "true" : "false"};
    break;
  case cell::kind::int64:
    if (type.type == data_type::int64) {
      out = v;
      return true;
    }
    if (type.type == data_type::boolean && (v.i == 0 || v.i == 1)) {
      out = cell::of(v.i == 1);
      return true;
    }
    in = {json_kind::number, text_form(v, digits)};
    break;
  case cell::kind::float64:
    in = {json_kind::number, text_form(v, digits)};
    if (!std::isfinite(v.d)) return refuse(in, type, "a finite number", why);
    if (type.type == data_type::float64) {
      out = v;
      return true;
    }
    break;
  case cell::kind::text:
    in = {json_kind::string, v.view()};
    break;
  case cell::kind::blob:
    if (type.type == data_type::bytes) {
      out = v;
      return true;
    }
    why = "found bytes, expected " + std::string(to_string(type.type));
    return false;
  }
  if (type.type == data_type::json) {
    if (v.k == cell::kind::text) return json_text(v.view(), out, why, type);
    out = cell::text(memory.copy(in.text));
    return true;
  }
  if (v.k != cell::kind::text) in.text = memory.copy(in.text); // the buffer goes, the cell stays
  if (v.k == cell::kind::text && !type.format.empty() && (type.type == data_type::date || type.type == data_type::timestamp)) {
    // A step may hand on what it was given, which is in the canonical form, or write the format anew.
    if (coerce_input(in, {type.type, {}}, memory, out, why)) return true;
  }
  return coerce_input(in, type, memory, out, why);
}

cell infer(const json_value& v, arena& memory) {
  switch (v.kind) {
  case json_kind::null:
    return {};
  case json_kind::true_:
    return noted(cell::of(true), data_type::boolean);
  case json_kind::false_:
    return noted(cell::of(false), data_type::boolean);
  case json_kind::string:
    return noted(cell::text(text_of(v, memory)), data_type::text);
  case json_kind::object:
  case json_kind::array:
    return noted(cell::text(v.raw), data_type::json);
  case json_kind::number:
    break;
  }
  if (v.integral) {
    std::int64_t i = 0;
    if (to_int64(v.raw, i) == number_error::none) return noted(cell::of(i), data_type::int64);
  } else if (survives_float64(v.raw)) {
    double d = 0;
    to_float64(v.raw, d);
    return noted(cell::of(d), data_type::float64);
  }
  std::string_view digits;
  if (to_decimal(v.raw, memory, digits) != number_error::none) digits = v.raw; // 1e99999: kept as written
  return noted(cell::text(digits), data_type::decimal);
}

std::string_view text_form(const cell& v, char* buffer) {
  switch (v.k) {
  case cell::kind::boolean:
    return v.i ? "true" : "false";
  case cell::kind::int64:
    return {buffer, static_cast<std::size_t>(std::to_chars(buffer, buffer + 32, v.i).ptr - buffer)};
  case cell::kind::float64:
    return shortest(v.d, buffer);
  case cell::kind::text:
  case cell::kind::blob:
    return v.view();
  default:
    return "null";
  }
}

} // namespace millrace::actors::transform
