#pragma once
// The first part of every message of a link, as values. Encoding and decoding only: no sockets, no state.
// Source: schemas/link.capnp.

#include "runtime/link/link_counters.hpp"
#include "storage/result.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace millrace::runtime::link {

using storage::result;

/// What this build speaks: [version_min, version_max], both included. A rolling upgrade raises version_max first.
/// 2: small entries share a part of a replication message (1 was never released).
inline constexpr std::uint16_t version_min = 2, version_max = 2;

/// Bounds on what a peer may make us read, whatever it says. A frame has at most max_parts parts, so that its header fits.
inline constexpr std::size_t max_header_bytes = 16 * 1024;
inline constexpr std::size_t max_parts = 1024;
inline constexpr std::size_t max_text_bytes = 512; ///< of each text in a header; longer ones are cut when sent, refused when read

struct hello {
  std::uint16_t version_min = 0, version_max = 0;
  std::string cluster, node, target;
  std::uint64_t run = 0, session = 0, window_bytes = 0, max_frame_bytes = 0;
  friend bool operator==(const hello&, const hello&) = default;
};
struct hello_reply {
  std::uint16_t version = 0;
  std::optional<link::refusal> refusal; ///< empty: accepted
  std::string reason, node;
  std::uint64_t run = 0, session = 0, window_bytes = 0, max_frame_bytes = 0;
  friend bool operator==(const hello_reply&, const hello_reply&) = default;
};
struct data {
  std::uint64_t session = 0, sequence = 0;
  std::uint8_t channel = 0;
  std::uint32_t head_bytes = 0;
  std::vector<std::uint32_t> part_bytes;
  friend bool operator==(const data&, const data&) = default;
};
struct ack {
  std::uint64_t session = 0, next = 0, credit_bytes = 0;
  friend bool operator==(const ack&, const ack&) = default;
};
struct goodbye {
  std::uint64_t session = 0;
  std::string reason;
  friend bool operator==(const goodbye&, const goodbye&) = default;
};
using link_header = std::variant<hello, hello_reply, data, ack, goodbye>;

std::string encode(const link_header& h);

/// Never throws, whatever the bytes are; they need no alignment. Errors: corrupt, with what is wrong.
result<link_header> decode(std::string_view bytes);

struct frame_mistake {
  bad_frame reason = bad_frame::malformed;
  std::string text;
};
/// What is wrong with the message parts behind a data header, `sizes` as they came; nothing if they are as announced and together
/// at most `max_frame_bytes`.
std::optional<frame_mistake> check_parts(const data& d, std::span<const std::size_t> sizes, std::uint64_t max_frame_bytes);

} // namespace millrace::runtime::link
