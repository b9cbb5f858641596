#include "actors/load/sqlite/cell_text.hpp"

#include <cstdio>

namespace millrace::actors::load::sqlite {

using transform::cell;

std::string time_text(storage::timestamp t) {
  using namespace std::chrono;
  const auto day = floor<days>(t);
  const year_month_day date(day);
  const hh_mm_ss clock(t - day);
  char out[48];
  int n = std::snprintf(out, sizeof out, "%04d-%02u-%02uT%02d:%02d:%02d", static_cast<int>(date.year()),
                        static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                        static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                        static_cast<int>(clock.seconds().count()));
  std::string text(out, static_cast<std::size_t>(n));
  if (const auto micros = clock.subseconds().count(); micros != 0) {
    n = std::snprintf(out, sizeof out, ".%06d", static_cast<int>(micros));
    text.append(out, static_cast<std::size_t>(n));
  }
  return text += 'Z';
}

std::string excerpt(const cell& value) {
  constexpr std::size_t shown = 64;
  switch (value.k) {
  case cell::kind::boolean:
    return value.i ? "true" : "false";
  case cell::kind::int64:
    return std::to_string(value.i);
  case cell::kind::float64: {
    char out[32];
    return std::string(out, static_cast<std::size_t>(std::snprintf(out, sizeof out, "%.17g", value.d)));
  }
  case cell::kind::text: {
    auto end = std::min<std::size_t>(value.size, shown);
    while (end < value.size && end > 0 && (value.p[end] & 0xc0) == 0x80) --end; // not inside a UTF-8 sequence
    return '\'' + std::string(value.p, end) + (end < value.size ? "...'" : "'");
  }
  case cell::kind::blob:
    return "of " + std::to_string(value.size) + " bytes";
  default:
    return "";
  }
}

bool equal(const cell& a, const cell& b) noexcept {
  if (a.k != b.k) return false;
  switch (a.k) {
  case cell::kind::null:
  case cell::kind::missing:
    return true;
  case cell::kind::boolean:
  case cell::kind::int64:
    return a.i == b.i;
  case cell::kind::float64:
    return a.d == b.d;
  default:
    return a.view() == b.view();
  }
}

} // namespace millrace::actors::load::sqlite
