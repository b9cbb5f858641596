#pragma once
// Routes and answers. Lives on the HTTP server's loop thread.

#include "runtime/event_loop.hpp"
#include "runtime/http/http_server.hpp"
#include "runtime/http/metrics_text.hpp"

#include <kj/compat/http.h>
#include <kj/timer.h>

#include <nlohmann/json.hpp>

namespace millrace::runtime::http {

/// Every header that we read or write, registered once.
struct header_names {
  kj::HttpHeaderId producer, sequence, authorization, retry_after, allow, authenticate, content_encoding, location, expect;
  kj::Own<kj::HttpHeaderTable> table;
  header_names();
};

class http_service {
public:
  http_service(actors::node& node, const http_server_options& options, const header_names& names, kj::Timer& timer,
               const unsigned& connections)
      : node_(node), options_(options), names_(names), timer_(timer), connections_(connections) {}

  using Response = kj::HttpService::Response;
  /// `connection`: below the request. Only what HTTP has for before an answer may be written to it.
  kj::Promise<void> request(kj::HttpMethod method, kj::StringPtr url, const kj::HttpHeaders& headers, kj::AsyncInputStream& body,
                            Response& response, kj::AsyncOutputStream& connection);

private:
  struct answer {
    int status = 200;
    std::string content_type = "application/json";
    std::string body;
    int retry_after_seconds = 0;
    const char* allow = nullptr;
    bool authenticate = false;
    std::string location;
  };
  struct upload;

  static answer failure(int status, std::string message, int retry_after_seconds = 0);
  static answer refusal(const std::string& pipeline, const actors::push_reply& why);
  kj::Promise<void> send(const char* route, bool head_only, answer what, Response& response);

  kj::Promise<answer> metrics();
  kj::Promise<answer> health();
  kj::Promise<answer> readiness();
  kj::Promise<answer> take_push(std::string pipeline, const kj::HttpHeaders& headers, kj::AsyncInputStream& body,
                                kj::AsyncOutputStream& connection);
  kj::Promise<void> ask_for_body(const kj::HttpHeaders& headers, kj::AsyncOutputStream& connection);
  /// Reads on until the end or a limit; none when all is there.
  kj::Promise<kj::Maybe<answer>> read_body(upload& u);

  actors::node& node_;
  const http_server_options& options_;
  const header_names& names_;
  kj::Timer& timer_;
  const unsigned& connections_;
  request_counts counts_;
  std::uint64_t bodies_bytes_ = 0; ///< of all uploads now
};

/// The requests of one connection.
class connection_service final : public kj::HttpService {
public:
  connection_service(http_service& all, kj::AsyncOutputStream& connection) : all_(all), connection_(connection) {}
  kj::Promise<void> request(kj::HttpMethod method, kj::StringPtr url, const kj::HttpHeaders& headers, kj::AsyncInputStream& body,
                            Response& response) override {
    return all_.request(method, url, headers, body, response, connection_);
  }

private:
  http_service& all_;
  kj::AsyncOutputStream& connection_;
};

} // namespace millrace::runtime::http
