#pragma once
// Sizes and durations as people write them.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace millrace::runtime::config {

/// "64KiB", "16MiB", "1GiB", "2TiB", "512B" or a plain number of bytes. Nothing else: MB and M mean different things to
/// different people. None on any other text or when it does not fit 63 bits.
std::optional<std::uint64_t> parse_bytes(std::string_view text);
/// "500ms", "5s", "10m", "1h", "7d"; "0" needs no unit. None on any other text or when it does not fit.
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);

inline constexpr const char* bytes_expected = "a size such as 64KiB, 16MiB or 1GiB";
inline constexpr const char* duration_expected = "a duration such as 500ms, 5s, 10m, 1h or 7d";

/// The other way, for people: "1.5 GiB", "3m 20s".
std::string bytes_text(std::uint64_t bytes);
std::string duration_text(double seconds);

} // namespace millrace::runtime::config
