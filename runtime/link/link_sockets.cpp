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

zmq::message_t to_part(storage::shared_bytes bytes) {
  if (!bytes) return {};
  if (bytes->size() < copied_below) return zmq::message_t(bytes->data(), bytes->size());
  auto* data = const_cast<char*>(bytes->data()); // libzmq's interface; it only reads what is sent
  const auto size = bytes->size();
  auto holder = std::make_unique<storage::shared_bytes>(std::move(bytes));
  zmq::message_t m(
      data, size, [](void*, void* hint) { delete static_cast<storage::shared_bytes*>(hint); }, holder.get());
  (void)holder.release();
  return m;
}

zmq::message_t to_part(std::string bytes) {
  if (bytes.size() < copied_below) return zmq::message_t(bytes.data(), bytes.size());
  return to_part(storage::shared_bytes(std::make_shared<const std::string>(std::move(bytes))));
}

storage::shared_bytes from_part(zmq::message_t part) {
  if (part.size() < copied_below) return storage::shared_bytes::copy_of({static_cast<const char*>(part.data()), part.size()});
  auto owner = std::make_shared<zmq::message_t>(std::move(part));
  const std::string_view bytes(static_cast<const char*>(owner->data()), owner->size());
  return {std::move(owner), bytes};
}

} // namespace millrace::runtime::link
