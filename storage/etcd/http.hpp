#pragma once
// POST to etcd's gateway, one at a time and blocking. Watches, which stream, use configure() on handles of their own.

#include "storage/etcd/etcd_catalog.hpp"

#include <mutex>

namespace millrace::storage::etcd {

struct http_answer {
  enum class outcome : std::uint8_t {
    answered, ///< there is a status and a body
    not_sent, ///< nothing was sent: it did not happen
    lost,     ///< it may have happened
  };
  outcome what = outcome::not_sent;
  long status = 0;
  std::string body;
  std::string error; ///< without the endpoint's name
};

/// Thread safe. Keeps connections for later.
class http_client {
public:
  explicit http_client(const etcd_options& options);
  ~http_client();
  http_client(const http_client&) = delete;
  http_client& operator=(const http_client&) = delete;

  http_answer post(const std::string& url, const std::string& token, const std::string& body, std::chrono::milliseconds timeout);

  /// What every connection to etcd has; `easy` is a CURL*.
  static void configure(void* easy, const etcd_options& options);
  /// A curl_slist* of the headers, for the caller to free.
  static void* headers(const std::string& token);
  static void initialize(); ///< libcurl, once a process

private:
  const etcd_options& options_;
  std::mutex mutex_;
  std::vector<void*> idle_;
};

} // namespace millrace::storage::etcd
