#pragma once
// Dates and timestamps: ISO 8601 and strptime formats in, one canonical form out. Independent of locale, time zone and clock.

#include <cstdint>
#include <string>
#include <string_view>

namespace millrace::actors::transform {

/// A point on the proleptic Gregorian calendar as it was written.
struct civil_time {
  int year = 1970, month = 1, day = 1, hour = 0, minute = 0, second = 0, micros = 0;
  int zone_seconds = 0; ///< east of UTC
  bool has_time = false;
};

/// "2024-02-29", "2024-02-29T12:30:00.123456+02:00", a space for the T, seconds and zone may be absent. Fields are in range and
/// the day exists. False: `why` says what was expected. More than six digits of a second are refused unless the rest is 0.
bool parse_iso8601(std::string_view text, civil_time& out, const char*& why);
/// strptime with English names: %Y %y %m %d %e %b %B %h %a %A %j %H %I %M %S %f %p %z %Z (UTC, GMT, Z) %s %T %R %D %F %n %t %%.
bool parse_format(std::string_view text, std::string_view format, civil_time& out, const char*& why);
/// An unknown directive, for the message of a spec's mistake; empty if `format` is fine.
std::string bad_directive(std::string_view format);

/// Microseconds since 1970 UTC. False: not in the years 0001 to 9999 (a zone can push it out).
bool to_micros(const civil_time& t, std::int64_t& out);
bool micros_in_range(std::int64_t micros);
/// "YYYY-MM-DD": 10 bytes. `micros` in range.
std::size_t write_date(std::int64_t micros, char* out);
/// "YYYY-MM-DDTHH:MM:SS[.ffffff]Z": at most 27 bytes. `micros` in range.
std::size_t write_timestamp(std::int64_t micros, char* out);
constexpr std::int64_t micros_per_day = 86'400'000'000;

} // namespace millrace::actors::transform
