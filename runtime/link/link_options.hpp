#pragma once

#include "actors/node.hpp"
#include "runtime/link/link_session.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>

namespace millrace::runtime::link {

struct link_options {
  std::string cluster_id, node;
  std::string listen; ///< "IP:PORT", "[IPv6]:PORT" or "*:PORT"; port 0 takes a free one
  std::filesystem::path key_file, peers_file;
  std::uint64_t window_bytes = 64u << 20; ///< unacknowledged, for each peer; each frame costs 1 KiB more than its bytes
  std::uint64_t max_frame_bytes = (8u << 20) + (64u << 10); ///< head and parts of one frame; the largest record must fit
  /// Without progress while something is unacknowledged. A dead host or process is noticed by heartbeats; this is for one that
  /// lives and takes nothing, so it is long enough for a full frame over a slow network.
  milliseconds ack_timeout{5000};
  milliseconds hello_timeout{5000};
  milliseconds handshake_timeout{3000}; ///< from TCP's connection to the end of CURVE's handshake; then the peer is dropped
  milliseconds heartbeat_every{500}, heartbeat_timeout{1500};
  milliseconds reconnect_min{100}, reconnect_max{1000};
  milliseconds reload_every{1000}; ///< how often the peers file is looked at
  int io_threads = 2;              ///< encryption runs there; one is busy at about 0.5 GB/s
  actors::log_sink log;
};

} // namespace millrace::runtime::link
