#include "actors/transform/calendar.hpp"

#include <array>
#include <chrono>

namespace millrace::actors::transform {

namespace {
bool is_digit(char c) { return c >= '0' && c <= '9'; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

bool day_exists(const civil_time& t) {
  using namespace std::chrono;
  return t.year >= 1 && t.year <= 9999 &&
         year_month_day{year{t.year}, month{static_cast<unsigned>(t.month)}, day{static_cast<unsigned>(t.day)}}.ok();
}
bool time_exists(const civil_time& t) { return t.hour <= 23 && t.minute <= 59 && t.second <= 59; }

/// Exactly `count` digits at p.
bool fixed(const char*& p, const char* end, int count, int& out) {
  if (end - p < count) return false;
  int v = 0;
  for (int i = 0; i < count; ++i) {
    if (!is_digit(p[i])) return false;
    v = v * 10 + (p[i] - '0');
  }
  p += count;
  out = v;
  return true;
}
/// One to `most` digits.
bool upto(const char*& p, const char* end, int most, int& out) {
  int v = 0, n = 0;
  while (p != end && n < most && is_digit(*p)) v = v * 10 + (*p++ - '0'), ++n;
  out = v;
  return n > 0;
}
/// Digits behind a second's point; microseconds are kept, more would have to be rounded.
bool fraction(const char*& p, const char* end, int& micros) {
  int n = 0;
  micros = 0;
  for (; p != end && is_digit(*p); ++p, ++n) {
    if (n < 6)
      micros = micros * 10 + (*p - '0');
    else if (*p != '0')
      return false;
  }
  for (int i = n; i < 6; ++i) micros *= 10;
  return n > 0;
}
/// Z, +HH, +HHMM, +HH:MM.
bool zone(const char*& p, const char* end, int& seconds) {
  if (p == end) return false;
  if (*p == 'Z' || *p == 'z') {
    ++p;
    seconds = 0;
    return true;
  }
  if (*p != '+' && *p != '-') return false;
  const int sign = *p++ == '-' ? -1 : 1;
  int hours = 0, minutes = 0;
  if (!fixed(p, end, 2, hours)) return false;
  const char* back = p;
  if (p != end && *p == ':') ++p;
  if (p != end && is_digit(*p)) {
    if (!fixed(p, end, 2, minutes)) return false;
  } else {
    p = back;
  }
  if (hours > 18 || minutes > 59) return false;
  seconds = sign * (hours * 3600 + minutes * 60);
  return true;
}

constexpr std::array<std::string_view, 12> months{"january", "february", "march",     "april",   "may",      "june",
                                                  "july",    "august",   "september", "october", "november", "december"};
constexpr std::array<std::string_view, 7> weekdays{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"};

/// The whole name or its first three letters, in any case; gives its index or -1.
template <std::size_t N>
int name_of(const char*& p, const char* end, const std::array<std::string_view, N>& names) {
  const auto starts = [&](std::string_view name) {
    if (static_cast<std::size_t>(end - p) < name.size()) return false;
    for (std::size_t i = 0; i < name.size(); ++i)
      if (lower(p[i]) != name[i]) return false;
    return true;
  };
  for (std::size_t i = 0; i < N; ++i) {
    for (const std::size_t length : {names[i].size(), std::size_t{3}}) {
      if (!starts(names[i].substr(0, length))) continue;
      p += length;
      return static_cast<int>(i);
    }
  }
  return -1;
}

void two(char*& out, int v) {
  *out++ = static_cast<char>('0' + v / 10);
  *out++ = static_cast<char>('0' + v % 10);
}

/// What parse_format() has seen that only together makes a date.
struct loose_fields {
  int day_of_year = 0;
  int hour12 = -1;
  int pm = -1;
  bool epoch = false;
  std::int64_t epoch_seconds = 0;
};

bool parse_directives(const char*& p, const char* end, std::string_view format, civil_time& t, loose_fields& loose,
                      const char*& why);

bool directive(char d, const char*& p, const char* end, civil_time& t, loose_fields& loose, const char*& why) {
  const auto number = [&](int most, int& out, const char* expected) {
    why = expected;
    while (p != end && is_space(*p)) ++p; // strptime: numbers may have space before them
    return upto(p, end, most, out);
  };
  switch (d) {
  case 'Y':
    return number(4, t.year, "a year of up to four digits");
  case 'y':
    if (!number(2, t.year, "a year of two digits")) return false;
    t.year += t.year < 69 ? 2000 : 1900; // POSIX
    return true;
  case 'm':
    return number(2, t.month, "a month from 1 to 12");
  case 'd':
  case 'e':
    return number(2, t.day, "a day from 1 to 31");
  case 'j':
    return number(3, loose.day_of_year, "a day of the year from 1 to 366");
  case 'b':
  case 'B':
  case 'h':
    why = "an English month's name";
    t.month = name_of(p, end, months) + 1;
    return t.month > 0;
  case 'a':
  case 'A':
    why = "an English weekday's name";
    return name_of(p, end, weekdays) >= 0;
  case 'H':
    t.has_time = true;
    return number(2, t.hour, "an hour from 0 to 23");
  case 'I':
    t.has_time = true;
    return number(2, loose.hour12, "an hour from 1 to 12");
  case 'M':
    t.has_time = true;
    return number(2, t.minute, "a minute from 0 to 59");
  case 'S':
    t.has_time = true;
    return number(2, t.second, "a second from 0 to 59");
  case 'f':
    why = "a fraction of a second with at most six digits that are not 0";
    return fraction(p, end, t.micros);
  case 'p':
    why = "AM or PM";
    if (end - p < 2 || lower(p[1]) != 'm' || (lower(p[0]) != 'a' && lower(p[0]) != 'p')) return false;
    loose.pm = lower(p[0]) == 'p';
    p += 2;
    return true;
  case 'z':
    why = "a zone such as +02:00 or Z";
    return zone(p, end, t.zone_seconds);
  case 'Z': {
    why = "the zone UTC, GMT or Z (others are ambiguous: use %z)";
    for (const std::string_view name : {"utc", "gmt", "z"}) {
      if (static_cast<std::size_t>(end - p) < name.size()) continue;
      bool same = true;
      for (std::size_t i = 0; i < name.size(); ++i) same = same && lower(p[i]) == name[i];
      if (same) {
        p += name.size();
        return true;
      }
    }
    return false;
  }
  case 's': {
    why = "seconds since 1970";
    const bool minus = p != end && *p == '-';
    if (minus) ++p;
    if (p == end || !is_digit(*p)) return false;
    for (int n = 0; p != end && is_digit(*p); ++p) {
      if (++n > 12) return false;
      loose.epoch_seconds = loose.epoch_seconds * 10 + (*p - '0');
    }
    if (minus) loose.epoch_seconds = -loose.epoch_seconds;
    loose.epoch = t.has_time = true;
    return true;
  }
  case 'T':
    return parse_directives(p, end, "%H:%M:%S", t, loose, why);
  case 'R':
    return parse_directives(p, end, "%H:%M", t, loose, why);
  case 'D':
    return parse_directives(p, end, "%m/%d/%y", t, loose, why);
  case 'F':
    return parse_directives(p, end, "%Y-%m-%d", t, loose, why);
  case 'n':
  case 't':
    while (p != end && is_space(*p)) ++p;
    return true;
  case '%':
    why = "'%'";
    return p != end && *p++ == '%';
  default:
    why = "a directive that is known";
    return false;
  }
}

bool parse_directives(const char*& p, const char* end, std::string_view format, civil_time& t, loose_fields& loose,
                      const char*& why) {
  for (std::size_t i = 0; i < format.size(); ++i) {
    const char c = format[i];
    if (c == '%' && i + 1 < format.size()) {
      if (!directive(format[++i], p, end, t, loose, why)) return false;
    } else if (is_space(c)) {
      while (p != end && is_space(*p)) ++p;
    } else {
      why = "the format's own characters";
      if (p == end || *p != c) return false;
      ++p;
    }
  }
  return true;
}
} // namespace

bool parse_iso8601(std::string_view text, civil_time& t, const char*& why) {
  why = "an ISO 8601 date or timestamp (or a `format`)";
  const char* p = text.data();
  const char* end = p + text.size();
  if (!fixed(p, end, 4, t.year) || p == end || *p++ != '-' || !fixed(p, end, 2, t.month) || p == end || *p++ != '-' ||
      !fixed(p, end, 2, t.day))
    return false;
  if (p != end && (*p == 'T' || *p == 't' || *p == ' ')) {
    ++p;
    t.has_time = true;
    if (!fixed(p, end, 2, t.hour) || p == end || *p++ != ':' || !fixed(p, end, 2, t.minute)) return false;
    if (p != end && *p == ':') {
      ++p;
      if (!fixed(p, end, 2, t.second)) return false;
      if (p != end && (*p == '.' || *p == ',')) {
        ++p;
        if (!fraction(p, end, t.micros)) {
          why = "a second's fraction with at most six digits that are not 0";
          return false;
        }
      }
    }
    if (p != end && *p == ' ' && end - p > 1) ++p; // "12:00:00 +02:00", as databases print it
    if (p != end && !zone(p, end, t.zone_seconds)) return false;
  }
  if (p != end) return false;
  why = "a day that exists, in the years 0001 to 9999";
  if (!day_exists(t)) return false;
  why = "a time of day that exists";
  return time_exists(t);
}

bool parse_format(std::string_view text, std::string_view format, civil_time& t, const char*& why) {
  using namespace std::chrono;
  loose_fields loose;
  const char* p = text.data();
  const char* end = p + text.size();
  if (!parse_directives(p, end, format, t, loose, why)) return false;
  why = "nothing behind what the format takes";
  if (p != end) return false;
  if (loose.epoch) {
    if (loose.epoch_seconds < -62'135'596'800 || loose.epoch_seconds > 253'402'300'799) {
      why = "a time in the years 0001 to 9999";
      return false;
    }
    const sys_seconds at{seconds{loose.epoch_seconds}};
    const auto days = floor<std::chrono::days>(at);
    const year_month_day date{days};
    const hh_mm_ss clock{at - days};
    t.year = static_cast<int>(date.year());
    t.month = static_cast<int>(static_cast<unsigned>(date.month()));
    t.day = static_cast<int>(static_cast<unsigned>(date.day()));
    t.hour = static_cast<int>(clock.hours().count());
    t.minute = static_cast<int>(clock.minutes().count());
    t.second = static_cast<int>(clock.seconds().count());
  }
  if (loose.hour12 >= 0) {
    why = "an hour from 1 to 12";
    if (loose.hour12 < 1 || loose.hour12 > 12) return false;
    t.hour = loose.hour12 % 12 + (loose.pm == 1 ? 12 : 0);
  }
  if (loose.day_of_year > 0) {
    why = "a day of the year that exists";
    const bool leap = year{t.year}.is_leap();
    if (loose.day_of_year > (leap ? 366 : 365)) return false;
    const year_month_day date{sys_days{year{t.year} / January / 1} + days{loose.day_of_year - 1}};
    t.month = static_cast<int>(static_cast<unsigned>(date.month()));
    t.day = static_cast<int>(static_cast<unsigned>(date.day()));
  }
  why = "a day that exists, in the years 0001 to 9999";
  if (!day_exists(t)) return false;
  why = "a time of day that exists";
  return time_exists(t);
}

std::string bad_directive(std::string_view format) {
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') continue;
    if (++i == format.size()) return "%";
    if (std::string_view("YymdejbBhaAHIMSfpzZsTRDFnt%").find(format[i]) == std::string_view::npos)
      return std::string("%") + format[i];
  }
  return {};
}

bool to_micros(const civil_time& t, std::int64_t& out) {
  using namespace std::chrono;
  const sys_days day{year{t.year} / t.month / t.day};
  const std::int64_t seconds =
      day.time_since_epoch().count() * std::int64_t{86400} + t.hour * 3600 + t.minute * 60 + t.second - t.zone_seconds;
  out = seconds * 1'000'000 + t.micros;
  return micros_in_range(out);
}

bool micros_in_range(std::int64_t micros) { return micros >= -62'135'596'800'000'000 && micros <= 253'402'300'799'999'999; }

std::size_t write_date(std::int64_t micros, char* out) {
  using namespace std::chrono;
  const year_month_day date{floor<days>(sys_time<microseconds>{microseconds{micros}})};
  const int y = static_cast<int>(date.year());
  two(out, y / 100);
  two(out, y % 100);
  *out++ = '-';
  two(out, static_cast<int>(static_cast<unsigned>(date.month())));
  *out++ = '-';
  two(out, static_cast<int>(static_cast<unsigned>(date.day())));
  return 10;
}

std::size_t write_timestamp(std::int64_t micros, char* out) {
  char* p = out + write_date(micros, out);
  std::int64_t rest = micros % micros_per_day;
  if (rest < 0) rest += micros_per_day;
  const int second = static_cast<int>(rest / 1'000'000);
  int fraction = static_cast<int>(rest % 1'000'000);
  *p++ = 'T';
  two(p, second / 3600);
  *p++ = ':';
  two(p, second / 60 % 60);
  *p++ = ':';
  two(p, second % 60);
  if (fraction != 0) {
    *p++ = '.';
    for (int i = 5; i >= 0; --i, fraction /= 10) p[i] = static_cast<char>('0' + fraction % 10);
    p += 6;
  }
  *p++ = 'Z';
  return static_cast<std::size_t>(p - out);
}

} // namespace millrace::actors::transform
