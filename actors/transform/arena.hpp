#pragma once
// Memory for values that are not slices of a payload: freed as one, with the row_set that its cells point into.

#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

namespace millrace::actors::transform {

/// Owner: one run of a transformer, then the row_set. Not thread safe. Nothing moves once it is placed.
class arena {
public:
  char* allocate(std::size_t n) {
    if (n > left_) grow(n);
    char* p = next_;
    next_ += n;
    left_ -= n;
    return p;
  }
  std::string_view copy(std::string_view text) {
    if (text.empty()) return {"", 0};
    char* p = allocate(text.size());
    std::memcpy(p, text.data(), text.size());
    return {p, text.size()};
  }
  /// Gives back the end of the last allocation, of which only `used` of `allocated` bytes were needed.
  void shrink(std::size_t allocated, std::size_t used) {
    next_ -= allocated - used;
    left_ += allocated - used;
  }
  std::size_t bytes() const noexcept { return bytes_; }

private:
  void grow(std::size_t n) {
    const std::size_t size = n > chunk_bytes / 4 ? n : chunk_bytes;
    chunks_.emplace_back(new char[size]); // not zeroed: every byte is written before it is read
    next_ = chunks_.back().get();
    left_ = size;
    bytes_ += size;
  }
  static constexpr std::size_t chunk_bytes = 64u << 10;
  std::vector<std::unique_ptr<char[]>> chunks_;
  char* next_ = nullptr;
  std::size_t left_ = 0, bytes_ = 0;
};

} // namespace millrace::actors::transform
