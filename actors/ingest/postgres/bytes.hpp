#pragma once
// Reading network byte order within bounds: after the first read beyond the end everything reads as 0 and good() is false.

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace millrace::actors::ingest::postgres {

class byte_reader {
public:
  explicit byte_reader(std::string_view bytes) : p_(bytes.data()), end_(bytes.data() + bytes.size()) {}
  bool good() const noexcept { return good_; }
  bool at_end() const noexcept { return good_ && p_ == end_; }
  std::size_t left() const noexcept { return static_cast<std::size_t>(end_ - p_); }

  std::uint8_t u8() { return static_cast<std::uint8_t>(number(1)); }
  std::uint16_t u16() { return static_cast<std::uint16_t>(number(2)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(number(4)); }
  std::uint64_t u64() { return number(8); }
  std::string_view take(std::size_t n) {
    if (!good_ || n > left()) return fail();
    const std::string_view out(p_, n);
    p_ += n;
    return out;
  }
  /// Up to a zero byte, which is passed.
  std::string_view text() {
    const auto* zero = good_ ? static_cast<const char*>(std::memchr(p_, 0, left())) : nullptr;
    if (!zero) return fail();
    const std::string_view out(p_, static_cast<std::size_t>(zero - p_));
    p_ = zero + 1;
    return out;
  }

private:
  std::uint64_t number(std::size_t n) {
    std::uint64_t v = 0;
    for (const char c : take(n)) v = v << 8 | static_cast<unsigned char>(c);
    return v;
  }
  std::string_view fail() {
    good_ = false;
    p_ = end_;
    return {};
  }
  const char* p_;
  const char* end_;
  bool good_ = true;
};

inline void put_number(std::string& to, std::uint64_t v, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) to += static_cast<char>(v >> shift & 0xff);
}

} // namespace millrace::actors::ingest::postgres
