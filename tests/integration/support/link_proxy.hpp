#pragma once
// A TCP proxy between two nodes: delays, cuts connections in the middle of a frame, or lets nothing through.

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <thread>

namespace millrace::testing {

/// Listens on a free port of `address` from the start; forwards once it was told where. Thread safe.
class link_proxy {
public:
  link_proxy(const std::string& address, std::uint64_t seed);
  ~link_proxy();
  link_proxy(const link_proxy&) = delete;
  link_proxy& operator=(const link_proxy&) = delete;
  int port() const noexcept { return port_; }
  void forward_to(std::string host, int port);

  /// Each piece of bytes waits this long; order is kept.
  void delay(int milliseconds) { delay_ms_ = milliseconds; }
  /// Each connection made from now on is reset after a random number of bytes below this; 0: none is, of those that are open
  /// either.
  void reset_within(std::uint64_t bytes) { reset_within_ = bytes; }
  void reset_all() { ++resets_wanted_; }
  std::uint64_t resets() const { return resets_; }
  std::uint64_t bytes() const { return bytes_; }

private:
  struct pipe;
  void serve();
  void open(int client);
  bool step(pipe& p, std::int64_t now, int& wait);
  int listener_ = -1, port_ = 0;
  std::string target_host_;
  std::atomic<int> target_port_{0}, delay_ms_{0};
  std::atomic<std::uint64_t> reset_within_{0}, resets_{0}, bytes_{0}, resets_wanted_{0};
  std::atomic<bool> stop_{false};
  std::uint64_t state_;
  std::map<int, pipe> pipes_; ///< by the client's socket; the thread's own
  std::thread thread_;
};

} // namespace millrace::testing
