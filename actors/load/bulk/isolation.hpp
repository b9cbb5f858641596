#pragma once
// Finding the bad ones among many by applying ranges: pure, driven by whoever can try a range and undo it.

#include <algorithm>
#include <cstddef>
#include <optional>

namespace millrace::actors::load::bulk {

enum class attempt : unsigned char {
  done,   ///< the range is in
  failed, ///< something in the range is bad; nothing of it is in
  stop,   ///< trouble of another kind: give up
};

/// Applies [0, n) in order: `try_range(first, end, hint)` all or nothing; `reject(i)` says that i alone failed, false stops.
/// What is good is applied once more or twice for each bad one near it, not one by one: a failed range is halved, or cut where
/// `hint` (the one that is to blame, if the destination named it) stands; after a failure the next range is about as long as the
/// good stretch before it was. False: stopped.
template <class Try, class Reject>
bool apply_isolated(std::size_t n, const Try& try_range, const Reject& reject) {
  constexpr std::size_t none = ~std::size_t{0}; // of the two that may not be known
  std::size_t at = 0, size = n, last_bad = 0;
  std::size_t bad_end = none; // something in [at, bad_end) is bad, as far as we know
  std::size_t suspect = none; // and this one was named
  while (at < n) {
    std::size_t end = bad_end != none ? at + std::max<std::size_t>(1, (bad_end - at) / 2) : std::min(n, at + size);
    if (suspect != none) end = suspect > at ? suspect : at + 1;
    std::optional<std::size_t> hint;
    const auto outcome = try_range(at, end, hint);
    if (outcome == attempt::stop) return false;
    if (outcome == attempt::failed && end - at > 1) {
      bad_end = end;
      suspect = hint && *hint >= at && *hint < end ? *hint : none;
      continue;
    }
    if (outcome == attempt::failed) {
      if (!reject(at)) return false;
      size = std::clamp<std::size_t>(2 * (at + 1 - last_bad), 16, std::max<std::size_t>(n, 16));
      last_bad = at + 1;
      bad_end = none;
    } else if (bad_end == none) {
      size = std::min(n, size * 2);
    }
    at = end;
    if (suspect != none && at > suspect) suspect = bad_end = none;
    if (bad_end != none && at >= bad_end) bad_end = none;
  }
  return true;
}

} // namespace millrace::actors::load::bulk
