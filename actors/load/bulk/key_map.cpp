#include "actors/load/bulk/key_map.hpp"

#include <algorithm>
#include <xxhash.h>

namespace millrace::actors::load::bulk {

using transform::cell;

bool same(const cell& a, const cell& b) noexcept {
  if (a.k != b.k) return false;
  switch (a.k) {
  case cell::kind::null:
  case cell::kind::missing:
    return true;
  case cell::kind::boolean:
  case cell::kind::int64:
  case cell::kind::float64:
    return a.i == b.i; // floats by their bits: NaN is itself
  default:
    return a.view() == b.view();
  }
}

bool same(const key_ref& a, const key_ref& b) noexcept {
  if (a.size != b.size) return false;
  for (std::size_t i = 0; i < a.size; ++i)
    if (!same(a[i], b[i])) return false;
  return true;
}

std::uint64_t hash_of(const key_ref& key) noexcept {
  std::uint64_t h = 0x9e3779b97f4a7c15u;
  for (std::size_t i = 0; i < key.size; ++i) {
    const auto& c = key[i];
    std::uint64_t v = 0;
    if (c.k == cell::kind::text || c.k == cell::kind::blob)
      v = XXH3_64bits(c.p, c.size);
    else if (c.k != cell::kind::null && c.k != cell::kind::missing)
      v = static_cast<std::uint64_t>(c.i);
    h = (h ^ v ^ (static_cast<std::uint64_t>(c.k) << 56)) * 0xbf58476d1ce4e5b9u;
    h ^= h >> 29;
    h *= 0x94d049bb133111ebu;
    h ^= h >> 32;
  }
  return h;
}

std::uint32_t key_map::find(const key_ref& key) const noexcept {
  if (slots_.empty()) return none;
  const auto h = hash_of(key);
  const auto mask = slots_.size() - 1;
  for (auto i = h & mask; slots_[i]; i = (i + 1) & mask) {
    const auto& e = entries_[slots_[i] - 1];
    if (e.hash == h && same(e.key, key)) return e.value;
  }
  return none;
}

std::uint32_t& key_map::at(const key_ref& key) {
  if (slots_.size() < 2 * (entries_.size() + 1)) grow();
  const auto h = hash_of(key);
  const auto mask = slots_.size() - 1;
  auto i = h & mask;
  for (; slots_[i]; i = (i + 1) & mask) {
    auto& e = entries_[slots_[i] - 1];
    if (e.hash == h && same(e.key, key)) return e.value;
  }
  entries_.push_back({h, key, none});
  slots_[i] = static_cast<std::uint32_t>(entries_.size());
  return entries_.back().value;
}

void key_map::grow() {
  slots_.assign(std::max<std::size_t>(64, slots_.size() * 2), 0);
  const auto mask = slots_.size() - 1;
  for (std::uint32_t n = 0; n < entries_.size(); ++n) {
    auto i = entries_[n].hash & mask;
    while (slots_[i]) i = (i + 1) & mask;
    slots_[i] = n + 1;
  }
}

void key_map::clear() noexcept {
  if (entries_.empty()) return;
  // A table that one large segment grew is not wiped again for each small one.
  if (slots_.size() > 64 * entries_.size())
    slots_.clear();
  else
    std::fill(slots_.begin(), slots_.end(), 0u);
  entries_.clear();
}

} // namespace millrace::actors::load::bulk
