#pragma once
// A node that answers what a test tells it to, a folder that goes away, a raw socket.

#include "actors/node.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

namespace millrace::test {

class temporary_folder {
public:
  temporary_folder() {
    auto pattern = (std::filesystem::temp_directory_path() / "millrace-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) throw std::runtime_error("no temporary folder");
    path = pattern;
  }
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::filesystem::path path;
};

/// Waits for a condition, not for a time.
template <class Condition>
bool eventually(Condition condition, std::chrono::milliseconds limit = std::chrono::seconds{60}) {
  auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds{2});
  }
  return true;
}

/// Answers on a thread of its own, as the real one does.
class fake_node final : public actors::node {
public:
  std::function<actors::admin_reply(const actors::admin_call&)> on_call = [](const actors::admin_call&) {
    return document("[]");
  };
  std::function<actors::push_reply(const actors::push_request&)> on_push = [](const actors::push_request& r) {
    actors::push_reply out;
    out.status = 200;
    out.accepted = static_cast<std::uint64_t>(std::count(r.body.begin(), r.body.end(), '\n'));
    return out;
  };
  std::function<actors::push_reply(const actors::push_request&, std::uint64_t)> on_may_push = [](const actors::push_request&,
                                                                                                 std::uint64_t) {
    actors::push_reply out;
    out.status = 0;
    return out;
  };
  std::atomic<bool> silent{false}; ///< takes questions and never answers
  std::atomic<bool> failed{false};

  static actors::admin_reply document(std::string json) {
    actors::admin_reply out;
    out.ok = true;
    out.document = std::move(json);
    return out;
  }
  static actors::admin_reply error(std::string code, std::string message) {
    actors::admin_reply out;
    out.code = std::move(code);
    out.message = std::move(message);
    return out;
  }

  fake_node() : worker_([this] { work(); }) {}
  ~fake_node() override {
    {
      std::lock_guard lock(mutex_);
      over_ = true;
    }
    wake_.notify_one();
    worker_.join();
  }
  void call(actors::admin_call what, std::function<void(actors::admin_reply)> done) override {
    add([this, what = std::move(what), done = std::move(done)] { done(on_call(what)); });
  }
  void push(actors::push_request what, std::function<void(actors::push_reply)> done) override {
    add([this, what = std::move(what), done = std::move(done)] { done(on_push(what)); });
  }
  actors::push_reply may_push(const actors::push_request& head, std::uint64_t bytes) override { return on_may_push(head, bytes); }
  bool drain(std::chrono::milliseconds) override { return true; }
  bool storage_failed() const override { return failed; }

private:
  void add(std::function<void()> job) {
    std::lock_guard lock(mutex_);
    if (silent)
      silenced_.push_back(std::move(job)); // kept, as a node that hangs would keep it
    else
      jobs_.push_back(std::move(job));
    wake_.notify_one();
  }
  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [this] { return over_ || !jobs_.empty(); });
      if (over_) return;
      auto job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      job();
      lock.lock();
    }
  }
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> jobs_, silenced_;
  bool over_ = false;
  std::thread worker_;
};

/// A TCP client that sends what no library would.
class raw_client {
public:
  explicit raw_client(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) throw std::runtime_error("cannot connect");
  }
  ~raw_client() { ::close(fd_); }
  raw_client(const raw_client&) = delete;
  /// False once the other side is gone.
  bool send(std::string_view text) {
    while (!text.empty()) {
      auto n = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      text.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  /// What came until the other side closed, a whole answer (by its Content-Length) is there, or the limit passed.
  std::string receive(std::chrono::milliseconds limit = std::chrono::seconds{60}) {
    std::string out;
    auto deadline = std::chrono::steady_clock::now() + limit;
    char buffer[4096];
    while (!whole(out)) {
      auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
      pollfd p{fd_, POLLIN, 0};
      if (left <= 0 || ::poll(&p, 1, static_cast<int>(left)) <= 0) break;
      auto n = ::recv(fd_, buffer, sizeof buffer, 0);
      if (n <= 0) {
        closed = true;
        break;
      }
      out.append(buffer, static_cast<std::size_t>(n));
    }
    return out;
  }
  bool closed = false;

private:
  static bool whole(const std::string& text) {
    auto head = text.find("\r\n\r\n");
    auto length = text.find("Content-Length: ");
    if (head != std::string::npos && text.starts_with("HTTP/1.1 1")) return true; // no answer yet: it has a head alone
    if (head == std::string::npos || length == std::string::npos || length > head) return false;
    return text.size() >= head + 4 + std::stoul(text.substr(length + 16));
  }
  int fd_;
};

} // namespace millrace::test
