#include "tests/integration/support/http.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <curl/curl.h>
#include <memory>
#include <netinet/in.h>
#include <stdexcept>
#include <sys/socket.h>
#include <unistd.h>

namespace millrace::testing {
namespace {

std::size_t keep(char* data, std::size_t size, std::size_t count, void* into) {
  static_cast<std::string*>(into)->append(data, size * count);
  return size * count;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

http_answer perform(const std::string& url, const std::string* body, const http_headers& headers, seconds limit) {
  static const bool ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  std::unique_ptr<CURL, void (*)(CURL*)> curl(ready ? curl_easy_init() : nullptr, curl_easy_cleanup);
  if (!curl) throw std::runtime_error("libcurl does not start");
  std::string head, text;
  curl_slist* list = nullptr;
  for (const auto& header : headers) list = curl_slist_append(list, header.c_str());
  std::unique_ptr<curl_slist, void (*)(curl_slist*)> owned(list, curl_slist_free_all);
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, static_cast<long>(limit.count()));
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_PROXY, "");
  curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, list);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, keep);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &text);
  curl_easy_setopt(curl.get(), CURLOPT_HEADERFUNCTION, keep);
  curl_easy_setopt(curl.get(), CURLOPT_HEADERDATA, &head);
  if (body) {
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, body->data());
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body->size()));
  }
  http_answer answer;
  const auto code = curl_easy_perform(curl.get());
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &answer.status);
  if (code != CURLE_OK && answer.status == 0) text = curl_easy_strerror(code);
  answer.body = std::move(text);
  for (std::size_t at = 0; at < head.size();) {
    const auto end = std::min(head.find("\r\n", at), head.size());
    const auto line = head.substr(at, end - at);
    if (const auto colon = line.find(": "); colon != std::string::npos)
      answer.headers[lower(line.substr(0, colon))] = line.substr(colon + 2);
    at = end + 2;
  }
  return answer;
}

} // namespace

http_answer http_get(const std::string& url, seconds limit) { return perform(url, nullptr, {}, limit); }
http_answer http_post(const std::string& url, const std::string& body, const http_headers& headers, seconds limit) {
  return perform(url, &body, headers, limit);
}

webhook_server::webhook_server() {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener_, 16) != 0 ||
      ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    throw std::runtime_error("cannot listen on 127.0.0.1");
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { serve(); });
}

webhook_server::~webhook_server() {
  stop_ = true;
  thread_.join();
  ::close(listener_);
}

std::vector<std::string> webhook_server::bodies() const {
  std::lock_guard lock(guard_);
  return bodies_;
}

void webhook_server::serve() {
  while (!stop_) {
    pollfd watched{listener_, POLLIN, 0};
    if (::poll(&watched, 1, 50) != 1) continue;
    const int peer = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (peer < 0) continue;
    const timeval limit{5, 0};
    ::setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    answer(peer);
    ::close(peer);
  }
}

void webhook_server::answer(int peer) {
  std::string request;
  char block[65536];
  const auto more = [&] {
    const auto got = ::recv(peer, block, sizeof block, 0);
    if (got > 0) request.append(block, static_cast<std::size_t>(got));
    return got > 0;
  };
  const auto say = [&](const std::string& text) { (void)!::send(peer, text.data(), text.size(), MSG_NOSIGNAL); };
  std::size_t head = std::string::npos;
  while ((head = request.find("\r\n\r\n")) == std::string::npos)
    if (!more()) return;
  const auto fields = lower(request.substr(0, head));
  std::size_t length = 0;
  if (const auto at = fields.find("content-length:"); at != std::string::npos) length = std::stoull(fields.substr(at + 15));
  if (fields.find("100-continue") != std::string::npos) say("HTTP/1.1 100 Continue\r\n\r\n");
  while (request.size() < head + 4 + length)
    if (!more()) return;
  ++requests_;
  const int status = status_;
  if (status == 200) {
    std::lock_guard lock(guard_);
    bodies_.push_back(request.substr(head + 4, length));
  }
  say("HTTP/1.1 " + std::to_string(status) + " x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

} // namespace millrace::testing
