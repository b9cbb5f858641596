#include "runtime/link/link_sockets.hpp"

#include <atomic>
#include <cstring>

namespace millrace::runtime::link {
namespace {

constexpr std::size_t copied_below = 1024; // cheaper than an allocation that libzmq's thread gives back

int ms(milliseconds t) { return static_cast<int>(t.count()); }

} // namespace

void set_common(zmq::socket_t& socket, const link_options& o, std::uint64_t max_part_bytes) {
  namespace opt = zmq::sockopt;
  socket.set(opt::linger, 0); // what was not acknowledged has been reported as failed: nothing to wait for
  socket.set(opt::maxmsgsize, static_cast<std::int64_t>(max_part_bytes));
  socket.set(opt::handshake_ivl, ms(o.handshake_timeout));
  socket.set(opt::heartbeat_ivl, ms(o.heartbeat_every));
  socket.set(opt::heartbeat_timeout, ms(o.heartbeat_timeout));
  socket.set(opt::heartbeat_ttl, ms(o.heartbeat_every + o.heartbeat_timeout));
  // Heartbeats find a silent peer; these find one whose kernel no longer answers while our data is on the way.
  socket.set(opt::tcp_maxrt, ms(o.heartbeat_every + o.heartbeat_timeout));
  socket.set(opt::tcp_keepalive, 1);
  socket.set(opt::tcp_keepalive_idle, 5);
  socket.set(opt::tcp_keepalive_intvl, 1);
  socket.set(opt::tcp_keepalive_cnt, 3);
}

socket_monitor::socket_monitor(zmq::context_t& context, zmq::socket_t& socket, int events)
    : monitored_(socket), socket_(context, zmq::socket_type::pair) {
  static std::atomic<std::uint64_t> count{0};
  auto address = "inproc://millrace-link-monitor-" + std::to_string(++count);
  // libzmq's I/O thread BLOCKS when nobody reads its reports: room for far more than a storm of connections makes between two
  // reads.
  socket_.set(zmq::sockopt::rcvhwm, 100000);
  socket_.set(zmq::sockopt::linger, 0);
  if (zmq_socket_monitor(socket.handle(), address.c_str(), events) != 0) throw zmq::error_t();
  socket_.connect(address);
}

socket_monitor::~socket_monitor() { (void)zmq_socket_monitor(monitored_.handle(), nullptr, 0); }

std::optional<socket_monitor::report> socket_monitor::next() {
  zmq::message_t part;
  if (!socket_.recv(part, zmq::recv_flags::dontwait)) return std::nullopt;
  report r;
  if (part.size() >= 6) {
    const auto* bytes = static_cast<const char*>(part.data());
    std::memcpy(&r.event, bytes, sizeof r.event);
    std::memcpy(&r.value, bytes + sizeof r.event, sizeof r.value);
  }
  while (part.more()) (void)socket_.recv(part, zmq::recv_flags::none); // the address
  return r;
}

zmq::message_t shared_part(std::shared_ptr<const std::string> of) {
  if (!of) return {};
  if (of->size() < copied_below) return zmq::message_t(of->data(), of->size());
  auto* bytes = const_cast<char*>(of->data()); // libzmq's interface; it only reads what is sent
  auto size = of->size();
  auto holder = std::make_unique<std::shared_ptr<const std::string>>(std::move(of));
  zmq::message_t m(
      bytes, size, [](void*, void* hint) { delete static_cast<std::shared_ptr<const std::string>*>(hint); }, holder.get());
  (void)holder.release();
  return m;
}

zmq::message_t owned_part(std::string of) {
  if (of.size() < copied_below) return zmq::message_t(of.data(), of.size());
  return shared_part(std::make_shared<const std::string>(std::move(of)));
}

} // namespace millrace::runtime::link
