#pragma once
// Rows as COPY's text format takes them. The hot path of every load: one growing buffer, runs copied whole.

#include "actors/transform/row_set.hpp"

#include <charconv>
#include <cstring>
#include <string>
#include <string_view>

namespace millrace::actors::load::postgres {

/// What a boolean is written as depends on its column: 't' in a text column would be another text than JSON's true.
enum class boolean_text : std::uint8_t { letter, word };

/// Not thread safe. A row: cells or others, each followed by the tab or newline that end_row() puts right.
class copy_text {
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

  void null() { literal("\\N\t", 3); }
  void integer(std::int64_t v) {
    char* p = room(24);
    p = std::to_chars(p, p + 21, v).ptr;
    *p++ = '\t';
    size_ = static_cast<std::size_t>(p - buffer_.data());
  }
  /// A missing cell is written as NULL: whoever stages it does not look at it.
  void cell(const transform::cell& c, boolean_text b);
  /// Text that needs no escape.
  void plain(std::string_view text);
  void end_row() { buffer_[size_ - 1] = '\n'; }
  /// A row of a table without columns that we fill.
  void empty_row() { literal("\n", 1); }

private:
  static constexpr std::size_t least = 64u << 10, keep = 8u << 20;
  char* room(std::size_t n) {
    if (buffer_.size() - size_ < n) grow(n);
    return buffer_.data() + size_;
  }
  void literal(const char* text, std::size_t n) {
    std::memcpy(room(n), text, n);
    size_ += n;
  }
  void grow(std::size_t n);
  void escaped(std::string_view text);
  void hex(std::string_view bytes);
  std::string buffer_;
  std::size_t size_ = 0;
};

} // namespace millrace::actors::load::postgres
