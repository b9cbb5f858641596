#pragma once
// What a link refused, by reason: for metrics, and so that tests and operators see that nothing is dropped silently.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace millrace::runtime::link {

/// Why a peer was not let in, or was put out.
enum class refusal : std::uint8_t {
  handshake,   ///< no ZeroMQ peer, not CURVE, not our public key, or too slow
  unknown_key, ///< its key is in no line of the peers file
  revoked,     ///< its key was, and is no longer
  cluster,     ///< hello of another cluster
  node,        ///< hello of a node that the key does not belong to
  target,      ///< hello meant for another node
  version,     ///< no version of the protocol in common
  replayed,    ///< a session that its run has used before
};
inline constexpr std::size_t refusals = 8;
std::string_view name(refusal r) noexcept;

/// Why a message of an authenticated peer was thrown away. All of them end its session.
enum class bad_frame : std::uint8_t {
  malformed,     ///< the header is no message of ours
  too_large,     ///< head and parts together, or their number
  sizes,         ///< what stands behind the header is not what it announces
  unexpected,    ///< a kind that does not travel in this direction
  before_hello,  ///< data on a connection that has not said hello
  stale_session, ///< data of another session than the one that was greeted
  duplicate,     ///< a sequence that was delivered before
  gap,           ///< sequences are missing in between
};
inline constexpr std::size_t bad_frames = 8;
std::string_view name(bad_frame b) noexcept;

struct link_counters {
  std::array<std::uint64_t, refusals> refused{};
  std::array<std::uint64_t, bad_frames> bad{};
  std::uint64_t sessions_in = 0, sessions_out = 0; ///< hellos accepted, by us and by peers
  std::uint64_t frames_in = 0, frames_out = 0;     ///< delivered here; taken by peers
  std::uint64_t failed = 0;                        ///< sends that completed with outcome::failed

  std::uint64_t& of(refusal r) noexcept { return refused[static_cast<std::size_t>(r)]; }
  std::uint64_t& of(bad_frame b) noexcept { return bad[static_cast<std::size_t>(b)]; }
  std::uint64_t of(refusal r) const noexcept { return refused[static_cast<std::size_t>(r)]; }
  std::uint64_t of(bad_frame b) const noexcept { return bad[static_cast<std::size_t>(b)]; }
};

} // namespace millrace::runtime::link
