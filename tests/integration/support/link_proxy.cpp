#include "tests/integration/support/link_proxy.hpp"

#include <arpa/inet.h>
#include <cerrno>
#include <chrono>
#include <deque>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdexcept>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace millrace::testing {
namespace {

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

sockaddr_in place(const std::string& host, int port) {
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(static_cast<std::uint16_t>(port));
  if (inet_pton(AF_INET, host.c_str(), &a.sin_addr) != 1) throw std::runtime_error("no address: " + host);
  return a;
}

void close_with_reset(int fd) {
  const linger at_once{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close(fd);
}

struct piece {
  std::int64_t due;
  std::string bytes;
};

struct direction {
  int from = -1, to = -1;
  std::deque<piece> waiting;
  std::size_t held = 0;
};

} // namespace

struct link_proxy::pipe {
  direction up, down;
  std::uint64_t left = ~std::uint64_t{0}; ///< bytes until the reset
};

link_proxy::link_proxy(const std::string& address, std::uint64_t seed) : state_(seed | 1) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  auto a = place(address, 0);
  socklen_t size = sizeof a;
  if (listener_ < 0 || bind(listener_, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0 || listen(listener_, 64) != 0 ||
      getsockname(listener_, reinterpret_cast<sockaddr*>(&a), &size) != 0)
    throw std::runtime_error("the proxy cannot listen on " + address);
  port_ = ntohs(a.sin_port);
  thread_ = std::thread([this] { serve(); });
}

link_proxy::~link_proxy() {
  stop_ = true;
  thread_.join();
  close(listener_);
}

void link_proxy::forward_to(std::string host, int port) {
  target_host_ = std::move(host); // the port, which is read first, publishes it
  target_port_ = port;
}

void link_proxy::open(int client) {
  if (target_port_ == 0) return close_with_reset(client);
  const auto a = place(target_host_, target_port_);
  const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (server < 0 || (connect(server, reinterpret_cast<const sockaddr*>(&a), sizeof a) != 0 && errno != EINPROGRESS)) {
    if (server >= 0) close(server);
    return close_with_reset(client);
  }
  const int on = 1;
  for (const int fd : {client, server}) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  pipe p;
  p.up = {client, server, {}, 0};
  p.down = {server, client, {}, 0};
  if (const auto within = reset_within_.load()) {
    state_ ^= state_ << 13, state_ ^= state_ >> 7, state_ ^= state_ << 17; // xorshift: repeats with the seed
    p.left = 1 + state_ % within;
  }
  pipes_.emplace(client, std::move(p));
}

/// Moves what can be moved; false when the connection is over. `wait` becomes smaller if a piece is due sooner.
bool link_proxy::step(pipe& p, std::int64_t now, int& wait) {
  constexpr std::size_t most = std::size_t{4} << 20;
  char buffer[65536];
  if (reset_within_ == 0) p.left = ~std::uint64_t{0};
  for (auto* d : {&p.up, &p.down}) {
    while (d->held < most) {
      const auto got = recv(d->from, buffer, sizeof buffer, 0);
      if (got == 0) return false;
      if (got < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ENOTCONN) return false;
        break;
      }
      d->waiting.push_back({now + delay_ms_, std::string(buffer, static_cast<std::size_t>(got))});
      d->held += static_cast<std::size_t>(got);
    }
    while (!d->waiting.empty()) {
      auto& first = d->waiting.front();
      if (first.due > now) {
        wait = std::min(wait, static_cast<int>(first.due - now));
        break;
      }
      const auto size = std::min<std::uint64_t>(first.bytes.size(), p.left);
      const auto sent = size ? send(d->to, first.bytes.data(), size, MSG_NOSIGNAL) : 0;
      if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ENOTCONN) return false;
        wait = std::min(wait, 2);
        break;
      }
      const auto done = static_cast<std::size_t>(sent);
      bytes_ += done;
      d->held -= done;
      p.left -= done;
      if (p.left == 0) return ++resets_, false; // in the middle of whatever this was
      if (done == first.bytes.size())
        d->waiting.pop_front();
      else
        first.bytes.erase(0, done);
    }
  }
  return true;
}

void link_proxy::serve() {
  std::uint64_t resets_done = 0;
  int wait = 20;
  while (!stop_) {
    std::vector<pollfd> watched{{listener_, POLLIN, 0}};
    for (const auto& [client, p] : pipes_)
      for (const auto* d : {&p.up, &p.down})
        if (d->held < (std::size_t{4} << 20)) watched.push_back({d->from, POLLIN, 0});
    (void)poll(watched.data(), watched.size(), std::max(1, wait));
    wait = 20;
    for (int client; (client = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) open(client);
    const auto wanted = resets_wanted_.load();
    const bool all = wanted != resets_done;
    resets_done = wanted;
    for (auto it = pipes_.begin(); it != pipes_.end();) {
      if (!all && step(it->second, now_ms(), wait)) {
        ++it;
        continue;
      }
      if (all) ++resets_;
      close_with_reset(it->second.up.to);
      close_with_reset(it->first);
      it = pipes_.erase(it);
    }
  }
  for (const auto& [client, p] : pipes_) close(p.up.to), close(client);
}

} // namespace millrace::testing
