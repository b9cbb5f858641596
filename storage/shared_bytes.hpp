#pragma once
// Bytes that several hold and nobody changes any more.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace millrace::storage {

/// A pointer to bytes of a string, of a buffer of the network library, or of a piece of either: whatever owns them lives as long
/// as one of these does. Copies share. Empty when made without bytes; then only bool, == and assignment may be used.
/// A piece holds the whole: for what is kept long, a copy may cost less memory.
class shared_bytes {
public:
  shared_bytes() = default;
  shared_bytes(std::shared_ptr<const std::string> s)
      : bytes_(s ? std::string_view(*s) : std::string_view()), owner_(std::move(s)) {}
  shared_bytes(std::shared_ptr<std::string> s) : shared_bytes(std::shared_ptr<const std::string>(std::move(s))) {}
  shared_bytes(std::shared_ptr<const void> owner, std::string_view bytes) : bytes_(bytes), owner_(std::move(owner)) {}

  static shared_bytes copy_of(std::string_view bytes) { return std::make_shared<const std::string>(bytes); }

  explicit operator bool() const { return owner_ != nullptr; }
  std::string_view operator*() const { return bytes_; }
  const std::string_view* operator->() const { return &bytes_; }
  /// [from, from + size), which must lie within; not a copy.
  shared_bytes piece(std::size_t from, std::size_t size) const { return {owner_, bytes_.substr(from, size)}; }

private:
  std::string_view bytes_;
  std::shared_ptr<const void> owner_;
};

} // namespace millrace::storage
