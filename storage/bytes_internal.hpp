#pragma once
// Fixed-width integers in keys and frames, whatever the host's byte order.

#include "storage/types.hpp"

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace millrace::storage {

static_assert(std::endian::native == std::endian::little, "lists of integers are read in place from little-endian messages");

inline void append_be64(std::string& out, std::uint64_t v) {
  const std::uint64_t big = __builtin_bswap64(v);
  out.append(reinterpret_cast<const char*>(&big), sizeof big);
}
inline void append_be32(std::string& out, std::uint32_t v) {
  const std::uint32_t big = __builtin_bswap32(v);
  out.append(reinterpret_cast<const char*>(&big), sizeof big);
}
inline std::uint64_t read_be64(const char* at) {
  std::uint64_t v;
  std::memcpy(&v, at, sizeof v);
  return __builtin_bswap64(v);
}
inline std::uint64_t read_le64(const char* at) {
  std::uint64_t v;
  std::memcpy(&v, at, sizeof v);
  return v;
}
inline std::uint32_t read_le32(const char* at) {
  std::uint32_t v;
  std::memcpy(&v, at, sizeof v);
  return v;
}

/// Big endian, so that the order of keys is the order of offsets.
inline std::string offset_key(offset at) {
  std::string key;
  append_be64(key, at.value);
  return key;
}

inline std::int64_t to_us(timestamp t) { return t.time_since_epoch().count(); }
inline timestamp from_us(std::int64_t us) { return timestamp{std::chrono::microseconds{us}}; }

} // namespace millrace::storage
