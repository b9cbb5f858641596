#pragma once
// Entries of simulated logs: as small as they can be and still be what replication needs, hash and chain included.

#include "storage/replica_log.hpp"

#include <cstring>

namespace millrace::simulation {

namespace st = storage;

/// Where the source's stream stands after an entry; markers of epochs take an offset and no position.
struct entry_text {
  std::uint64_t base, count, epoch, prev_low, prev_high, position, unique, hash_low, hash_high;
};

inline st::hash128 hash_of(const entry_text& t) {
  std::uint64_t words[7];
  std::memcpy(words, &t, sizeof words);
  st::hash128 h{0x1234567, 0x89abcdef};
  for (const auto w : words) {
    h.low = (h.low ^ w) * 0x9e3779b97f4a7c15;
    h.low ^= h.low >> 29;
    h.high = (h.high + h.low + w) * 0xbf58476d1ce4e5b9;
    h.high ^= h.high >> 31;
  }
  return h;
}

inline st::raw_entry parsed(const entry_text& t, st::shared_bytes value) {
  return {{t.base},        static_cast<std::uint32_t>(t.count), {t.epoch}, {t.prev_low, t.prev_high}, {t.hash_low, t.hash_high},
          std::move(value)};
}

/// `unique`: two entries are equal only if they are the same one.
inline st::raw_entry make_entry(st::offset base, std::uint32_t count, st::epoch epoch, st::hash128 prev, std::uint64_t position,
                                std::uint64_t unique) {
  entry_text t{base.value, count, epoch.value, prev.low, prev.high, position, unique, 0, 0};
  const auto h = hash_of(t);
  t.hash_low = h.low;
  t.hash_high = h.high;
  auto value = std::make_shared<std::string>(reinterpret_cast<const char*>(&t), sizeof t);
  return parsed(t, std::move(value));
}

inline st::result<st::raw_entry> parse_entry(st::shared_bytes value) {
  entry_text t;
  if (value->size() != sizeof t)
    return st::failure{st::errc::corrupt,
                       "an entry of " + std::to_string(value->size()) + " bytes; expected " + std::to_string(sizeof t)};
  std::memcpy(&t, value->data(), sizeof t);
  if (!(hash_of(t) == st::hash128{t.hash_low, t.hash_high})) return st::failure{st::errc::corrupt, "the hash does not match"};
  return parsed(t, std::move(value));
}

inline std::uint64_t position_of(const st::raw_entry& e) {
  entry_text t;
  std::memcpy(&t, e.value->data(), sizeof t);
  return t.position;
}

} // namespace millrace::simulation
