#include "actors/transform/number.hpp"

#include <charconv>
#include <cmath>
#include <string>

namespace millrace::actors::transform {

namespace {
bool is_digit(char c) { return c >= '0' && c <= '9'; }

struct parts {
  bool negative = false;
  bool has_exponent = false;
  std::string_view integer, fraction;
  std::int64_t exponent = 0; ///< saturated far outside of what any type takes
};

bool split(std::string_view text, parts& out) {
  const char* p = text.data();
  const char* end = p + text.size();
  if (p != end && (*p == '-' || *p == '+')) out.negative = *p++ == '-';
  const char* start = p;
  while (p != end && is_digit(*p)) ++p;
  out.integer = {start, static_cast<std::size_t>(p - start)};
  if (p != end && *p == '.') {
    start = ++p;
    while (p != end && is_digit(*p)) ++p;
    out.fraction = {start, static_cast<std::size_t>(p - start)};
  }
  if (out.integer.empty() && out.fraction.empty()) return false;
  if (p != end && (*p == 'e' || *p == 'E')) {
    out.has_exponent = true;
    ++p;
    bool minus = false;
    if (p != end && (*p == '-' || *p == '+')) minus = *p++ == '-';
    if (p == end || !is_digit(*p)) return false;
    for (; p != end && is_digit(*p); ++p)
      if (out.exponent < 100'000'000) out.exponent = out.exponent * 10 + (*p - '0');
    if (minus) out.exponent = -out.exponent;
  }
  return p == end;
}

/// The digits that count, and the power of ten of the last one.
struct significant {
  std::string digits;
  std::int64_t exponent = 0;
};
significant significant_of(const parts& n) {
  significant s;
  s.digits.reserve(n.integer.size() + n.fraction.size());
  s.digits.append(n.integer).append(n.fraction);
  s.exponent = n.exponent - static_cast<std::int64_t>(n.fraction.size());
  const auto last = s.digits.find_last_not_of('0');
  if (last == std::string::npos) return {};
  s.exponent += static_cast<std::int64_t>(s.digits.size() - last - 1);
  s.digits.erase(last + 1);
  s.digits.erase(0, s.digits.find_first_not_of('0'));
  return s;
}
} // namespace

const char* to_string(number_error e) noexcept {
  switch (e) {
  case number_error::none:
    return "a number";
  case number_error::not_a_number:
    return "a number";
  case number_error::fraction:
    return "a whole number";
  case number_error::out_of_range:
    return "a number in the type's range";
  case number_error::inexact:
    return "an integer that a float64 holds without rounding";
  case number_error::too_long:
    return "at most 1000 digits when its exponent is written out";
  }
  return "a number";
}

number_error to_int64(std::string_view text, std::int64_t& out) {
  { // Nearly all: a sign and digits.
    const char* begin = text.data();
    const char* end = begin + text.size();
    if (text.size() > 1 && *begin == '+' && is_digit(begin[1])) ++begin;
    const auto [stop, ec] = std::from_chars(begin, end, out);
    if (stop == end && ec == std::errc{}) return number_error::none;
    if (stop == end && ec == std::errc::result_out_of_range) return number_error::out_of_range;
  }
  parts n;
  if (!split(text, n)) return number_error::not_a_number;
  const significant s = significant_of(n);
  out = 0;
  if (s.digits.empty()) return number_error::none;
  if (s.exponent < 0) return number_error::fraction;
  if (static_cast<std::int64_t>(s.digits.size()) + s.exponent > 19) return number_error::out_of_range;
  std::uint64_t magnitude = 0; // 19 digits fit
  for (const char c : s.digits) magnitude = magnitude * 10 + static_cast<std::uint64_t>(c - '0');
  for (std::int64_t i = 0; i < s.exponent; ++i) magnitude *= 10;
  const std::uint64_t limit = std::uint64_t{1} << 63;
  if (magnitude > (n.negative ? limit : limit - 1)) return number_error::out_of_range;
  out = n.negative ? static_cast<std::int64_t>(0 - magnitude) : static_cast<std::int64_t>(magnitude);
  return number_error::none;
}

number_error to_float64(std::string_view text, double& out) {
  const char* begin = text.data();
  const char* end = begin + text.size();
  if (begin != end && *begin == '+') ++begin;
  const char* digits = begin != end && *begin == '-' ? begin + 1 : begin;
  if (digits == end || !(is_digit(*digits) || *digits == '.')) return number_error::not_a_number; // from_chars takes "inf", "nan"
  const auto [stop, ec] = std::from_chars(begin, end, out);
  if (stop != end || ec == std::errc::invalid_argument) return number_error::not_a_number;
  if (ec != std::errc{} || !std::isfinite(out)) return number_error::out_of_range;
  if (text.size() <= 15) return number_error::none;
  for (const char* p = digits; p != end; ++p)
    if (!is_digit(*p)) return number_error::none; // a fraction is an approximation by its nature
  while (digits + 1 < end && *digits == '0') ++digits;
  char exact[400];
  const auto written = std::to_chars(exact, exact + sizeof exact, std::fabs(out), std::chars_format::fixed);
  const std::string_view held(exact, static_cast<std::size_t>(written.ptr - exact));
  return held == std::string_view(digits, static_cast<std::size_t>(end - digits)) ? number_error::none : number_error::inexact;
}

number_error to_decimal(std::string_view text, arena& memory, std::string_view& out) {
  parts n;
  if (!split(text, n)) return number_error::not_a_number;
  std::string_view integer = n.integer;
  while (integer.size() > 1 && integer[0] == '0') integer.remove_prefix(1);
  const bool zero =
      n.integer.find_first_not_of('0') == std::string_view::npos && n.fraction.find_first_not_of('0') == std::string_view::npos;
  const bool negative = n.negative && !zero;
  const bool tidy = !n.has_exponent && !n.integer.empty() && integer.size() == n.integer.size() && n.negative == negative &&
                    text[0] != '+' && text.back() != '.';
  if (tidy) {
    out = text;
    return number_error::none;
  }
  std::string digits(n.integer);
  digits.append(n.fraction);
  std::int64_t scale = static_cast<std::int64_t>(n.fraction.size()) - n.exponent; // digits behind the point
  if (zero && n.has_exponent) {
    digits.assign(1, '0');
    scale = 0;
  }
  if (n.has_exponent && (scale > static_cast<std::int64_t>(max_expanded_digits) ||
                         static_cast<std::int64_t>(digits.size()) - scale > static_cast<std::int64_t>(max_expanded_digits)))
    return number_error::too_long;
  if (scale < 0) {
    digits.append(static_cast<std::size_t>(-scale), '0');
    scale = 0;
  }
  if (static_cast<std::int64_t>(digits.size()) <= scale)
    digits.insert(0, static_cast<std::size_t>(scale) + 1 - digits.size(), '0');
  std::string result = negative ? "-" : "";
  std::string_view whole = std::string_view(digits).substr(0, digits.size() - static_cast<std::size_t>(scale));
  while (whole.size() > 1 && whole[0] == '0') whole.remove_prefix(1);
  result += whole;
  if (scale > 0) {
    result += '.';
    result += std::string_view(digits).substr(digits.size() - static_cast<std::size_t>(scale));
  }
  out = memory.copy(result);
  return number_error::none;
}

bool survives_float64(std::string_view text) {
  double v = 0;
  if (to_float64(text, v) != number_error::none) return false;
  if (text.size() <= 16 && text.find_first_of("eE") == std::string_view::npos) return true; // 15 digits and a point always do
  parts written, kept;
  char buffer[32];
  if (!split(text, written) || !split(shortest(v, buffer), kept)) return false;
  const significant a = significant_of(written), b = significant_of(kept);
  return a.digits == b.digits && a.exponent == b.exponent;
}

std::string_view shortest(double v, char* buffer) {
  return {buffer, static_cast<std::size_t>(std::to_chars(buffer, buffer + 32, v).ptr - buffer)};
}

} // namespace millrace::actors::transform
