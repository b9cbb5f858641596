#include "actors/transform/pg_value.hpp"

#include "actors/transform/calendar.hpp"

#include <charconv>

namespace millrace::actors::transform {

namespace {
bool digits_at(const char* p, std::initializer_list<int> places) {
  bool good = true;
  for (const int i : places) good = good && p[i] >= '0' && p[i] <= '9';
  return good;
}

/// "2024-01-01 12:00:00[.ffffff][+00]" only gets other separators; anything else goes the long way.
void timestamp(const cell& raw, arena& memory, cell& out) {
  const std::string_view text = raw.view();
  constexpr std::size_t whole = 19, room = 32;
  const char* p = text.data();
  if (text.size() >= whole && p[4] == '-' && p[7] == '-' && p[10] == ' ' && p[13] == ':' && p[16] == ':' &&
      digits_at(p, {0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18})) {
    std::size_t end = whole, fraction = 0;
    if (end < text.size() && p[end] == '.') {
      ++end;
      while (end < text.size() && p[end] >= '0' && p[end] <= '9') ++end, ++fraction;
    }
    const std::string_view zone = text.substr(end);
    if (fraction <= 6 && (zone.empty() || zone == "+00")) {
      char* const place = memory.allocate(room);
      std::memcpy(place, p, end);
      place[10] = 'T';
      std::size_t size = end;
      if (fraction > 0) // six digits, so that equal moments have equal texts
        for (; fraction < 6; ++fraction) place[size++] = '0';
      place[size++] = 'Z';
      memory.shrink(room, size);
      out = cell::text({place, size});
      return;
    }
  }
  civil_time t;
  const char* why = nullptr;
  std::int64_t micros = 0;
  if (!parse_iso8601(text, t, why) || !to_micros(t, micros)) {
    out = raw;
    return;
  }
  char* const place = memory.allocate(room);
  const std::size_t size = write_timestamp(micros, place);
  memory.shrink(room, size);
  out = cell::text({place, size});
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

const char* bytes(const cell& raw, arena& memory, cell& out) {
  constexpr auto expected = "bytes in hexadecimal such as \\x0aff (bytea_output = hex)";
  const std::string_view text = raw.view();
  if (!text.starts_with("\\x") || text.size() % 2 != 0) return expected;
  char* const place = memory.allocate(text.size() / 2);
  char* to = place;
  for (std::size_t i = 2; i < text.size(); i += 2) {
    const int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);
    if (high < 0 || low < 0) return expected;
    *to++ = static_cast<char>(high << 4 | low);
  }
  out = cell::blob({place, static_cast<std::size_t>(to - place)});
  return nullptr;
}
} // namespace

const char* to_cell(pg_kind kind, const cell& raw, arena& memory, cell& out) {
  const char* const begin = raw.p;
  const char* const end = raw.p + raw.size;
  switch (kind) {
  case pg_kind::boolean:
    if (raw.size != 1 || (*begin != 't' && *begin != 'f')) return "t or f";
    out = cell::of(*begin == 't');
    return nullptr;
  case pg_kind::integer: {
    std::int64_t v = 0;
    const auto [stop, ec] = std::from_chars(begin, end, v);
    if (ec != std::errc{} || stop != end) return "an integer";
    out = cell::of(v);
    return nullptr;
  }
  case pg_kind::real: {
    double v = 0;
    const auto [stop, ec] = std::from_chars(begin, end, v); // takes NaN, Infinity and -Infinity
    if (ec != std::errc{} || stop != end) return "a number, NaN or Infinity";
    out = cell::of(v);
    return nullptr;
  }
  case pg_kind::bytes:
    return bytes(raw, memory, out);
  case pg_kind::timestamp:
    timestamp(raw, memory, out);
    return nullptr;
  case pg_kind::numeric:
  case pg_kind::json:
  case pg_kind::uuid:
  case pg_kind::date:
  case pg_kind::text:
    break;
  }
  out = raw;
  return nullptr;
}

} // namespace millrace::actors::transform
