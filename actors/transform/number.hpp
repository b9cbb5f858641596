#pragma once
// Numbers from their spelling, exactly: what does not fit is refused, nothing is rounded or wrapped on the way.

#include "actors/transform/arena.hpp"

#include <cstdint>
#include <string_view>

namespace millrace::actors::transform {

enum class number_error : std::uint8_t {
  none,
  not_a_number,
  fraction,     ///< int64 asked for, and digits behind the point are not all 0
  out_of_range, ///< the type ends before
  inexact,      ///< an integer that float64 would have to round
  too_long,     ///< the digits that the exponent stands for are more than max_expanded_digits
};
/// What was expected, for messages.
const char* to_string(number_error e) noexcept;

/// Exponents are expanded in decimals ("1e3" is 1000) up to this many digits; PostgreSQL's numeric takes more, nobody does.
constexpr std::size_t max_expanded_digits = 1000;

// Spelling: [+-] digits [. digits] [e[+-]digits], one side of the point may be empty. JSON's numbers are a subset.

/// "1.0" and "1e3" are integers too.
number_error to_int64(std::string_view text, std::int64_t& out);
/// The nearest double. An integer must be held exactly; a number too large, or too small to be anything but 0, is refused.
number_error to_float64(std::string_view text, double& out);
/// The digits as written, without '+', needless leading zeros, exponent or the sign of zero. `out` is a slice of `text` if it can
/// be.
number_error to_decimal(std::string_view text, arena& memory, std::string_view& out);
/// A double would give back exactly these digits.
bool survives_float64(std::string_view text);
/// Shortest digits that read back as `v`; at most 32 bytes in `buffer`.
std::string_view shortest(double v, char* buffer);

} // namespace millrace::actors::transform
