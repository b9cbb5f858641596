#pragma once
// Small types that all rooms share. Two ids never share a raw integer type, so that swapping them does not compile.

#include <chrono>
#include <compare>
#include <cstdint>
#include <functional>
#include <string>

namespace millrace::storage {

/// A partition's entries are numbered densely from 0.
struct offset {
  std::uint64_t value = 0;
  friend auto operator<=>(const offset&, const offset&) = default;
};

/// Number of a leadership; a larger one fences every smaller one.
struct epoch {
  std::uint64_t value = 0;
  friend auto operator<=>(const epoch&, const epoch&) = default;
};

/// Random identity of one log: a destination refuses to go on with another log than the one it knows.
struct log_id {
  std::uint64_t value = 0;
  friend auto operator<=>(const log_id&, const log_id&) = default;
};

/// XXH3-128 of an entry and of all entries before it: equal hash at equal offset means equal prefix.
struct hash128 {
  std::uint64_t low = 0, high = 0;
  friend bool operator==(const hash128&, const hash128&) = default;
};

/// Microseconds since 1970 UTC by this host's clock: for people and seeking by time, never for ordering.
using timestamp = std::chrono::sys_time<std::chrono::microseconds>;
inline timestamp now() { return std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now()); }

enum class operation : std::uint8_t { insert, update, remove, truncate };
constexpr const char* to_string(operation op) {
  switch (op) {
  case operation::insert:
    return "insert";
  case operation::update:
    return "update";
  case operation::remove:
    return "delete";
  case operation::truncate:
    return "truncate";
  }
  return "insert";
}

} // namespace millrace::storage

template <>
struct std::hash<millrace::storage::offset> {
  std::size_t operator()(millrace::storage::offset o) const noexcept { return std::hash<std::uint64_t>{}(o.value); }
};
