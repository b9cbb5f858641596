#include "runtime/link/incoming_socket.hpp"

#include "runtime/link/zap_handler.hpp"

#include <algorithm>
#include <atomic>

namespace millrace::runtime::link {
namespace {

// Not HANDSHAKE_FAILED_AUTH: the ZAP handler has counted those.
constexpr int watched = ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_ACCEPT_FAILED;
constexpr std::uint64_t curve_overhead_bytes = 256; // of a message on the wire: nonce, authenticator, command name
// What libzmq decrypts ahead of us for one connection, in messages: we read as fast as they come, this is for the moments
// between. A peer's window bounds their bytes.
constexpr int read_ahead = 512;

zmq::socket_t make(zmq::context_t& context, const link_options& o, const curve_pair& self, const std::string& endpoint) {
  namespace opt = zmq::sockopt;
  zmq::socket_t s(context, zmq::socket_type::router);
  // A part alone may be as large as a whole frame.
  set_common(s, o, std::max<std::uint64_t>(o.max_frame_bytes, max_header_bytes) + curve_overhead_bytes);
  s.set(opt::curve_server, true);
  s.set(opt::curve_secretkey, self.secret_key);
  s.set(opt::zap_domain, zap_domain);
  s.set(opt::router_mandatory, true);
  s.set(opt::router_handover, true);
  s.set(opt::rcvhwm, read_ahead);
  s.set(opt::sndhwm, 1000); // acknowledgements; they are cumulative, so one that finds no room is repeated later
  s.set(opt::backlog, 128);
  if (endpoint.find('[') != std::string::npos) s.set(opt::ipv6, true);
  return s;
}

std::string property(zmq::message_t& m, const char* name) {
  const char* value = zmq_msg_gets(m.handle(), name); // cppzmq's gets throws for one that is not there
  return value ? value : "";
}

} // namespace

incoming_socket::incoming_socket(zmq::context_t& context, const link_options& o, const curve_pair& self,
                                 const std::string& endpoint)
    : context_(context), socket_(make(context, o, self, endpoint)), monitor_(context, socket_, watched) {
  static std::atomic<std::uint64_t> count{0};
  socket_.bind(endpoint);
  address_ = socket_.get(zmq::sockopt::last_endpoint).substr(std::string("tcp://").size());
  own_endpoint_ = "inproc://millrace-link-close-" + std::to_string(++count);
  socket_.bind(own_endpoint_);
}

bool incoming_socket::receive(message& into) {
  zmq::message_t part;
  if (!socket_.recv(part, zmq::recv_flags::dontwait)) return false;
  into.connection = part.to_string();
  into.parts.clear();
  for (bool more = part.more(); more;) { // a message's parts come together
    zmq::message_t next;
    (void)socket_.recv(next, zmq::recv_flags::none);
    more = next.more();
    // One more than a frame may have is enough to see that it has too many.
    if (into.parts.size() < max_parts + 3) into.parts.push_back(std::move(next));
  }
  if (into.parts.empty()) return true;
  into.node = property(into.parts.front(), "User-Id");
  into.key = property(into.parts.front(), key_property);
  return true;
}

incoming_socket::written incoming_socket::write(const std::string& connection, const link_header& h) {
  try {
    if (!socket_.send(zmq::buffer(connection), zmq::send_flags::dontwait | zmq::send_flags::sndmore)) return written::later;
    auto sent = socket_.send(zmq::buffer(encode(h)), zmq::send_flags::dontwait);
    return sent ? written::yes : written::gone;
  } catch (const zmq::error_t&) { // EHOSTUNREACH, from MANDATORY: the connection is no longer there
    return written::gone;
  }
}

void incoming_socket::close(const std::string& connection) {
  zmq::socket_t successor(context_, zmq::socket_type::dealer);
  successor.set(zmq::sockopt::linger, 0);
  successor.set(zmq::sockopt::routing_id, connection);
  successor.connect(own_endpoint_);
  (void)socket_.get(zmq::sockopt::events); // makes the ROUTER look at its new peer, while it is there
}

std::uint64_t incoming_socket::failed_handshakes() {
  std::uint64_t failed = 0;
  while (auto r = monitor_.next()) failed += r->event != ZMQ_EVENT_ACCEPT_FAILED;
  return failed;
}

} // namespace millrace::runtime::link
