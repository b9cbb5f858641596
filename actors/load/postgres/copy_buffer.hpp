#pragma once
// Where the rows of a COPY are encoded: one growing buffer, kept from piece to piece.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace millrace::actors::load::postgres {

/// What a boolean is written as depends on its column: 't' in a text column would be another text than JSON's true.
enum class boolean_text : std::uint8_t { letter, word };

/// Not thread safe. The base of copy_text and copy_binary.
class copy_buffer {
public:
  std::string_view view() const noexcept { return {buffer_.data(), size_}; }
  std::size_t size() const noexcept { return size_; }
  void clear() {
    size_ = 0;
    if (buffer_.size() > keep) { // one giant value
      buffer_.clear();
      buffer_.shrink_to_fit();
    }
  }

protected:
  /// Room for `n` bytes behind what is there. Pointers into the buffer do not outlive the next call.
  char* room(std::size_t n) {
    if (buffer_.size() - size_ < n) buffer_.resize(std::max({buffer_.size() * 2, size_ + n, least}));
    return buffer_.data() + size_;
  }
  void literal(const char* text, std::size_t n) {
    std::memcpy(room(n), text, n);
    size_ += n;
  }
  void end_at(const char* p) { size_ = static_cast<std::size_t>(p - buffer_.data()); }

  std::string buffer_;
  std::size_t size_ = 0;

private:
  static constexpr std::size_t least = 64u << 10, keep = 8u << 20;
};

} // namespace millrace::actors::load::postgres
