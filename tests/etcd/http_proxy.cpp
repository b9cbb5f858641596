#include "tests/etcd/http_proxy.hpp"

#include <arpa/inet.h>
#include <cstring>
#include <netinet/in.h>
#include <poll.h>
#include <stdexcept>
#include <sys/socket.h>
#include <unistd.h>

namespace millrace::testing {
namespace {

bool write_all(int fd, const std::string& bytes) {
  for (std::size_t at = 0; at < bytes.size();) {
    const auto n = ::send(fd, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
    if (n <= 0) return false;
    at += static_cast<std::size_t>(n);
  }
  return true;
}

/// A whole request at the beginning of `in`, taken out of it; empty: not yet.
std::string take_request(std::string& in) {
  const auto end = in.find("\r\n\r\n");
  if (end == in.npos) return {};
  std::size_t length = 0;
  auto at = in.find("Content-Length: ");
  if (at != in.npos && at < end) length = static_cast<std::size_t>(std::atol(in.c_str() + at + 16));
  if (in.size() < end + 4 + length) return {};
  auto request = in.substr(0, end + 4 + length);
  in.erase(0, request.size());
  return request;
}

} // namespace

struct http_proxy::connection {
  int client = -1, server = -1;
  bool muted = false;
  ~connection() {
    if (client >= 0) ::close(client);
    if (server >= 0) ::close(server);
  }
};

http_proxy::http_proxy(int target_port) : target_(target_port) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof a;
  if (listener_ < 0 || ::bind(listener_, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0 || ::listen(listener_, 64) != 0 ||
      ::getsockname(listener_, reinterpret_cast<sockaddr*>(&a), &size) != 0)
    throw std::runtime_error("a proxy cannot listen");
  port_ = ntohs(a.sin_port);
  acceptor_ = std::jthread([this] { accept_all(); });
}

http_proxy::~http_proxy() {
  stop_ = true;
  acceptor_.join();
  threads_.clear();
  ::close(listener_);
}

void http_proxy::set(rule r) {
  std::lock_guard lock(mutex_);
  rule_ = std::move(r);
}

int http_proxy::count(const std::string& path) const {
  std::lock_guard lock(mutex_);
  int n = 0;
  for (const auto& l : lines_) n += l.find(path) != l.npos;
  return n;
}

int http_proxy::dial() const {
  const int s = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  a.sin_port = htons(static_cast<std::uint16_t>(target_));
  if (::connect(s, reinterpret_cast<sockaddr*>(&a), sizeof a) == 0) return s;
  ::close(s);
  return -1;
}

int http_proxy::release() {
  std::vector<std::string> held;
  {
    std::lock_guard lock(mutex_);
    held.swap(held_);
  }
  for (const auto& request : held) {
    const int s = dial();
    char answer[4096];
    if (s >= 0 && write_all(s, request)) (void)!::read(s, answer, sizeof answer);
    if (s >= 0) ::close(s);
  }
  return static_cast<int>(held.size());
}

void http_proxy::accept_all() {
  while (!stop_) {
    pollfd p{listener_, POLLIN, 0};
    if (::poll(&p, 1, 20) <= 0) continue;
    auto c = std::make_shared<connection>();
    c->client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (c->client < 0) continue;
    c->server = dial();
    if (c->server < 0) continue; // closed: as if nobody listened
    std::lock_guard lock(mutex_);
    threads_.emplace_back([this, c] { serve(c); });
  }
}

void http_proxy::serve(const std::shared_ptr<connection>& c) {
  std::string in;
  char buffer[16384];
  bool lose_answer = false;
  bool was_silent = silent_;
  while (!stop_) {
    pollfd p[2]{{c->client, POLLIN, 0}, {c->server, POLLIN, 0}};
    if (::poll(p, 2, 20) < 0) return;
    was_silent |= silent_;
    if (p[1].revents) {
      const auto n = ::read(c->server, buffer, sizeof buffer);
      if (n <= 0 && !c->muted && !was_silent) return;
      if (n <= 0) p[1].fd = -1;
      if (lose_answer) return;
      if (n > 0 && !c->muted && !was_silent && !write_all(c->client, {buffer, static_cast<std::size_t>(n)})) return;
    }
    if (!p[0].revents) continue;
    const auto n = ::read(c->client, buffer, sizeof buffer);
    if (n <= 0) return;
    in.append(buffer, static_cast<std::size_t>(n));
    for (auto request = take_request(in); !request.empty(); request = take_request(in)) {
      const auto line = request.substr(0, request.find("\r\n"));
      auto what = fate::pass;
      {
        std::lock_guard lock(mutex_); // one after the other: a rule may have a state
        lines_.push_back(line);
        if (rule_) what = rule_(line, request.substr(request.find("\r\n\r\n") + 4));
      }
      if (what == fate::lose_request) return;
      if (what == fate::hold_request) {
        std::lock_guard lock(mutex_);
        held_.push_back(request);
        return;
      }
      lose_answer |= what == fate::lose_answer;
      c->muted |= what == fate::swallow;
      if (!write_all(c->server, request)) return;
    }
  }
}

} // namespace millrace::testing
