#pragma once
// What the two ends of a one-way link share. Both are plain state machines: no sockets, no threads, told the time.
//
//        link_sender (one for each peer)                       link_receiver (one, for all peers)
//   hello{versions, cluster, node, run, session} ───────────>  checks them against the key; forgets an older session
//        <─────────────────────────── hello_reply{version, window} or the refusal's reason, then the connection ends
//   data{session, sequence 1, 2, ...} + head + parts ───────>  in order, each once; anything else ends the session
//        <────────────────────────────────────────── ack{session, next, credit}   cumulative, after the handler
//   goodbye ────────────────────────────────────────────────>  either way
//
// Nothing is sent again: a frame whose session ended is reported as failed, and what it meant is the business of those above, who
// must live with lost messages anyway (design/replication.md, section 4). Lost: redelivery here, with its copies, its second
// window and its own duplicates after a restart.

#include "runtime/link/link_header.hpp"

#include <chrono>
#include <cstdint>
#include <string>

namespace millrace::runtime::link {

using link_time = std::chrono::steady_clock::time_point;
using std::chrono::milliseconds;

/// Who we are and what we agree to; the same for all sessions of a process.
struct link_identity {
  std::string cluster, node;
  std::uint64_t run = 0; ///< random, one for each start of the process
  std::uint64_t window_bytes = 64u << 20;
  std::uint64_t max_frame_bytes = (8u << 20) + (64u << 10);
};

/// What a frame costs of a window beside its bytes: bounds the number of small frames that wait, and what ZeroMQ keeps for them.
inline constexpr std::uint64_t frame_overhead_bytes = 1024;

} // namespace millrace::runtime::link
