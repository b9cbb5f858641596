#pragma once
// Which guard of a commit does not hold, in the same words for every catalog.

#include "storage/catalog.hpp"

namespace millrace::storage {

/// `now` is the key's entry, null if it is absent. None: the guard holds.
inline std::optional<std::string> broken_guard(const catalog_guard& guard, const catalog_entry* now) {
  const auto mod = now ? now->mod_revision : 0, created = now ? now->create_revision : 0;
  const auto key = "catalog key " + guard.key;
  switch (guard.how) {
  case catalog_guard::compare::mod_equal:
    if (mod == guard.revision) return std::nullopt;
    return key + " is at revision " + std::to_string(mod) + ", expected " + std::to_string(guard.revision);
  case catalog_guard::compare::create_equal:
    if (created == guard.revision) return std::nullopt;
    return key + " was created at revision " + std::to_string(created) + ", expected " + std::to_string(guard.revision);
  case catalog_guard::compare::create_not_equal:
    if (created != guard.revision) return std::nullopt;
    return key + " is still the one created at revision " + std::to_string(created);
  }
  return key + ": unknown guard";
}

} // namespace millrace::storage
