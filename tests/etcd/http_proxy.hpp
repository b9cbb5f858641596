#pragma once
// Between a client and etcd's gateway: passes HTTP requests on, loses some, loses some answers, holds some back. A listening port
// and a target; threads of its own.

#include <atomic>
#include <condition_variable>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace millrace::testing {

class http_proxy {
public:
  enum class fate {
    pass,
    lose_request, ///< never reaches etcd; the client's connection breaks
    lose_answer,  ///< etcd does it; the client's connection breaks
    hold_request, ///< the client's connection breaks; etcd gets it at release()
    swallow,      ///< etcd does it; no answer ever, the connection stays open
  };
  /// Called for each request with its first line and body, on a thread of the proxy, one after the other.
  using rule = std::function<fate(const std::string& line, const std::string& body)>;

  explicit http_proxy(int target_port);
  ~http_proxy();
  http_proxy(const http_proxy&) = delete;
  http_proxy& operator=(const http_proxy&) = delete;

  std::string endpoint() const { return "http://127.0.0.1:" + std::to_string(port_); }
  void set(rule r);
  /// Sends what was held, waits for etcd's answers; gives how many there were.
  int release();
  /// All connections stop carrying answers, without being closed: a link that died silently.
  void go_silent() { silent_ = true; }
  /// New ones work again.
  void speak() { silent_ = false; }
  int count(const std::string& path) const; ///< requests whose line contains it

private:
  struct connection;
  void accept_all();
  void serve(const std::shared_ptr<connection>& c);
  int dial() const;
  const int target_;
  int listener_ = -1, port_ = 0;
  std::atomic<bool> stop_{false}, silent_{false};
  mutable std::mutex mutex_;
  rule rule_;
  std::vector<std::string> held_, lines_;
  std::vector<std::shared_ptr<connection>> connections_;
  std::list<std::jthread> threads_;
  std::jthread acceptor_;
};

} // namespace millrace::testing
