#pragma once
// Keys of rows as the bytes of their cells: hashing, equality, and a map from key to number. Pure.

#include "actors/transform/row_set.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace millrace::actors::load::bulk {

/// A key where it lies: cells[at[i]], or cells[i] if `at` is empty (a key before an update lies by itself).
struct key_ref {
  const transform::cell* cells = nullptr;
  std::span<const std::uint32_t> at;
  std::size_t size = 0;
  static key_ref in_row(const transform::cell* cells, std::span<const std::uint32_t> at) { return {cells, at, at.size()}; }
  static key_ref alone(const transform::cell* cells, std::size_t size) { return {cells, {}, size}; }
  const transform::cell& operator[](std::size_t i) const { return cells[at.empty() ? i : at[i]]; }
};

/// Same kind and same bytes. A destination may take more for equal (1.0 and 1.00, 'a' and 'A' under some collations): whoever
/// writes there has to see to it.
bool same(const transform::cell& a, const transform::cell& b) noexcept;
bool same(const key_ref& a, const key_ref& b) noexcept;
std::uint64_t hash_of(const key_ref& key) noexcept;

/// Open addressing over 32-bit values; remembers keys by reference. clear() keeps the memory.
class key_map {
public:
  static constexpr std::uint32_t none = ~std::uint32_t{0};
  /// The value of the key, or none.
  std::uint32_t find(const key_ref& key) const noexcept;
  /// The value's place: none if the key is new. Valid until the next call.
  std::uint32_t& at(const key_ref& key);
  void clear() noexcept;
  std::size_t size() const noexcept { return entries_.size(); }

private:
  struct entry {
    std::uint64_t hash;
    key_ref key;
    std::uint32_t value;
  };
  void grow();
  std::vector<entry> entries_;
  std::vector<std::uint32_t> slots_; ///< index into entries_ + 1; 0: free
};

} // namespace millrace::actors::load::bulk
