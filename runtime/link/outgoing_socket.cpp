#include "runtime/link/outgoing_socket.hpp"

#include <cstring>

namespace millrace::runtime::link {
namespace {

constexpr int watched = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                        ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_DISCONNECTED |
                        ZMQ_EVENT_CONNECT_RETRIED | ZMQ_EVENT_CLOSED;
constexpr int read_at_once = 1000;

zmq::socket_t make(zmq::context_t& context, const link_options& o, const curve_pair& self, const std::string& peer_key,
                   const std::string& endpoint) {
  namespace opt = zmq::sockopt;
  zmq::socket_t s(context, zmq::socket_type::dealer);
  set_common(s, o, 2 * max_header_bytes); // only headers come back, and libzmq counts their encryption too
  s.set(opt::curve_serverkey, peer_key);
  s.set(opt::curve_publickey, self.public_key);
  s.set(opt::curve_secretkey, self.secret_key);
  s.set(opt::immediate, true); // nothing is queued for a peer that is not there
  s.set(opt::sndhwm, static_cast<int>(o.window_bytes / frame_overhead_bytes) + 16);
  s.set(opt::rcvhwm, 10000);
  s.set(opt::connect_timeout, static_cast<int>((o.heartbeat_every + o.heartbeat_timeout).count()));
  s.set(opt::reconnect_ivl, static_cast<int>(o.reconnect_min.count()));
  s.set(opt::reconnect_ivl_max, static_cast<int>(o.reconnect_max.count()));
  if (endpoint.find('[') != std::string::npos) s.set(opt::ipv6, true);
  return s;
}

} // namespace

outgoing_socket::outgoing_socket(zmq::context_t& context, const link_options& o, const curve_pair& self,
                                 const std::string& peer_key, const std::string& endpoint)
    : socket_(make(context, o, self, peer_key, endpoint)), monitor_(context, socket_, watched) {
  socket_.connect(endpoint);
}

void outgoing_socket::push(std::vector<link_sender::outgoing> frames) {
  for (auto& f : frames) queue_.push_back(std::move(f));
}

std::uint64_t outgoing_socket::flush() {
  std::uint64_t bytes = 0;
  while (!queue_.empty()) {
    auto& f = queue_.front();
    const bool is_data = std::holds_alternative<data>(f.header);
    auto more = is_data ? zmq::send_flags::sndmore : zmq::send_flags::none;
    // ZMQ_EVENTS and not only the send's answer: sending looks at most once a millisecond whether libzmq has opened its pipe.
    if ((socket_.get(zmq::sockopt::events) & ZMQ_POLLOUT) == 0) break;
    if (!socket_.send(to_part(encode(f.header)), zmq::send_flags::dontwait | more)) break;
    if (is_data) {
      bytes += bytes_of(f.body);
      auto& parts = f.body.parts;
      (void)socket_.send(to_part(std::move(f.body.head)),
                         zmq::send_flags::dontwait | (parts.empty() ? zmq::send_flags::none : zmq::send_flags::sndmore));
      for (std::size_t i = 0; i < parts.size(); ++i)
        (void)socket_.send(to_part(std::move(parts[i])),
                           zmq::send_flags::dontwait | (i + 1 < parts.size() ? zmq::send_flags::sndmore : zmq::send_flags::none));
    }
    queue_.pop_front();
  }
  return bytes;
}

outgoing_socket::heard outgoing_socket::listen() {
  heard out;
  // Messages before reports: an acknowledgement that came before the connection broke counts.
  zmq::message_t part;
  for (int i = 0; i < read_at_once && socket_.recv(part, zmq::recv_flags::dontwait); ++i) {
    auto header = decode({static_cast<const char*>(part.data()), part.size()});
    bool more = part.more();
    while (part.more()) (void)socket_.recv(part, zmq::recv_flags::none);
    if (more && header) header = storage::failure(storage::errc::corrupt, "message parts behind a header that announces none");
    out.headers.push_back(std::move(header));
  }
  bool refused = false; // libzmq reports the end of the connection behind the reason
  while (auto r = monitor_.next()) {
    switch (r->event) {
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
      out.connected = true;
      break;
    case ZMQ_EVENT_DISCONNECTED:
      out.disconnected = true;
      if (!refused) out.reason = "the connection broke, or no heartbeat came";
      break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
      out.disconnected = refused = true;
      out.reason = "the peer refused this node's key; is this node's line in its peers file?";
      break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
      out.disconnected = refused = true;
      out.reason = "the handshake failed; does the peers file have the peer's present key, and does the peer have this node's?";
      break;
    default: // retried or closed before there was a connection: libzmq goes on trying
      if (out.reason.empty()) out.reason = "cannot connect: is the peer running, and is its address right?";
    }
  }
  return out;
}

} // namespace millrace::runtime::link
