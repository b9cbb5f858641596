#include "runtime/link/link_counters.hpp"

namespace millrace::runtime::link {

std::string_view name(refusal r) noexcept {
  constexpr std::array<std::string_view, refusals> names = {"handshake", "unknown_key", "revoked", "cluster",
                                                            "node",      "target",      "version", "replayed"};
  return names[static_cast<std::size_t>(r)];
}

std::string_view name(bad_frame b) noexcept {
  constexpr std::array<std::string_view, bad_frames> names = {"malformed",    "too_large",     "sizes",     "unexpected",
                                                              "before_hello", "stale_session", "duplicate", "gap"};
  return names[static_cast<std::size_t>(b)];
}

} // namespace millrace::runtime::link
