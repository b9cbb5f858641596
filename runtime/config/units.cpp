#include "runtime/config/units.hpp"

#include <array>
#include <charconv>
#include <cstdio>
#include <limits>
#include <utility>

namespace millrace::runtime::config {
namespace {
/// The leading digits; the rest stays in `text`. None if there are no digits or too many.
std::optional<std::uint64_t> take_number(std::string_view& text) {
  std::uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  return value;
}

template <std::size_t N>
std::optional<std::uint64_t> scaled(std::uint64_t value, std::string_view unit,
                                    const std::array<std::pair<std::string_view, std::uint64_t>, N>& units) {
  for (const auto& [name, factor] : units)
    if (unit == name) {
      if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) / factor) return std::nullopt;
      return value * factor;
    }
  return std::nullopt;
}
} // namespace

std::optional<std::uint64_t> parse_bytes(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, std::uint64_t>, 6> units{
      {{"", 1}, {"B", 1}, {"KiB", 1ull << 10}, {"MiB", 1ull << 20}, {"GiB", 1ull << 30}, {"TiB", 1ull << 40}}};
  auto value = take_number(text);
  return value ? scaled(*value, text, units) : std::nullopt;
}

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, std::uint64_t>, 5> units{
      {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}};
  auto value = take_number(text);
  if (!value) return std::nullopt;
  if (*value == 0 && text.empty()) return std::chrono::milliseconds{0};
  auto ms = scaled(*value, text, units);
  // Nanosecond clocks end after 292 years; nobody means more.
  if (!ms || *ms > 100ull * 366 * 86'400'000) return std::nullopt;
  return std::chrono::milliseconds{static_cast<std::int64_t>(*ms)};
}

std::string bytes_text(std::uint64_t bytes) {
  static constexpr std::array<const char*, 5> units{"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < units.size()) value /= 1024, ++unit;
  char out[48];
  std::snprintf(out, sizeof out, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
  return out;
}

std::string duration_text(double seconds) {
  char out[48];
  if (seconds < 10)
    std::snprintf(out, sizeof out, "%.1fs", seconds < 0 ? 0.0 : seconds);
  else if (seconds < 60)
    std::snprintf(out, sizeof out, "%.0fs", seconds);
  else if (seconds < 3600)
    std::snprintf(out, sizeof out, "%dm %ds", static_cast<int>(seconds) / 60, static_cast<int>(seconds) % 60);
  else if (seconds < 86400)
    std::snprintf(out, sizeof out, "%dh %dm", static_cast<int>(seconds) / 3600, static_cast<int>(seconds) / 60 % 60);
  else {
    auto hours = static_cast<long long>(seconds) / 3600;
    std::snprintf(out, sizeof out, "%lldd %lldh", hours / 24, hours % 24);
  }
  return out;
}

} // namespace millrace::runtime::config
