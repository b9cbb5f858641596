#pragma once
// Both ends of HTTP for tests: a client on libcurl and a tiny server that remembers what it was sent.

#include "tests/integration/support/eventually.hpp"

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace millrace::testing {

struct http_answer {
  long status = 0;                            ///< 0: no answer; `body` says why
  std::map<std::string, std::string> headers; ///< names in lower case
  std::string body;
};
using http_headers = std::vector<std::string>; ///< "Name: value"
http_answer http_get(const std::string& url, seconds limit = seconds{10});
http_answer http_post(const std::string& url, const std::string& body, const http_headers& headers = {},
                      seconds limit = seconds{30});

/// Listens on a free port of 127.0.0.1; answers each POST with status() and keeps the body.
class webhook_server {
public:
  webhook_server();
  ~webhook_server();
  webhook_server(const webhook_server&) = delete;
  webhook_server& operator=(const webhook_server&) = delete;
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/hook"; }
  int port() const noexcept { return port_; }
  /// What to answer from now on; 200 at first.
  void answer_with(int status) { status_ = status; }
  std::vector<std::string> bodies() const;
  std::size_t requests() const { return requests_; }

private:
  void serve();
  void answer(int peer);
  int listener_ = -1;
  int port_ = 0;
  std::atomic<int> status_{200};
  std::atomic<std::size_t> requests_{0};
  std::atomic<bool> stop_{false};
  mutable std::mutex guard_;
  std::vector<std::string> bodies_; ///< of requests answered with 200
  std::thread thread_;
};

} // namespace millrace::testing
