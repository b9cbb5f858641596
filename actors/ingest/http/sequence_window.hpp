#pragma once
// Which sequence numbers of ONE producer are staged. Pure.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace millrace::actors::ingest::http {

/// Remembers every staged number within `reach` of the highest, in any order, and the unbroken run of staged numbers that ends
/// just below the window: so a producer that counts up without gaps has all of its repeats recognised, however late they come.
class sequence_window {
public:
  /// interfaces.md: "in any order within 10,000 of the highest". A difference of exactly 10,000 is within.
  static constexpr std::uint64_t reach = 10'000;

  enum class standing : std::uint8_t { fresh, staged, too_old };
  standing of(std::uint64_t sequence) const noexcept;
  /// Marks it as staged; too old ones are not remembered.
  void add(std::uint64_t sequence) noexcept;
  /// Adds all that `other` knows as staged and that still falls into this window.
  void merge(const sequence_window& other);

  bool empty() const noexcept { return empty_; }
  std::uint64_t highest() const noexcept { return highest_; }

  /// Compact: a producer without gaps takes a few bytes, whatever it sent; never more than about 1,300 bytes.
  std::string encode() const;
  /// None if `bytes` is not what encode() gave.
  static std::optional<sequence_window> decode(std::string_view bytes);
  friend bool operator==(const sequence_window&, const sequence_window&) = default;

private:
  static constexpr std::size_t bits = reach + 1;
  bool bit(std::uint64_t distance) const noexcept { return (seen_[distance / 64] >> (distance % 64) & 1) != 0; }
  void set(std::uint64_t distance) noexcept { seen_[distance / 64] |= std::uint64_t{1} << (distance % 64); }
  void raise(std::uint64_t to) noexcept;

  bool empty_ = true;
  std::uint64_t highest_ = 0;
  std::uint64_t below_ = 0; ///< length of the unbroken run just below the window, if its lowest number is staged
  std::array<std::uint64_t, (bits + 63) / 64> seen_{}; ///< bit d: highest - d is staged
};

} // namespace millrace::actors::ingest::http
