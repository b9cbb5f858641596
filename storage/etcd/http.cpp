#include "storage/etcd/http.hpp"

#include <curl/curl.h>

#include <stdexcept>

namespace millrace::storage::etcd {
namespace {

constexpr std::size_t answer_bytes_max = 256u << 20;

std::size_t collect(char* data, std::size_t, std::size_t size, void* to) {
  auto& body = *static_cast<std::string*>(to);
  if (body.size() + size > answer_bytes_max) return 0;
  body.append(data, size);
  return size;
}

} // namespace

void http_client::initialize() {
  // Once a process and never undone: curl_global_cleanup() while another thread holds a handle is undefined.
  static const bool done = [] {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) throw std::runtime_error("libcurl cannot be initialized");
    return true;
  }();
  (void)done;
}

http_client::http_client(const etcd_options& options) : options_(options) { initialize(); }

http_client::~http_client() {
  for (auto* h : idle_) curl_easy_cleanup(h);
}

void http_client::configure(void* easy, const etcd_options& o) {
  auto* h = static_cast<CURL*>(easy);
  curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(h, CURLOPT_PROXY, ""); // the environment's proxy is not for a cluster's own servers
  curl_easy_setopt(h, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1)); // a stream is a connection: simple to cut
  curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(h, CURLOPT_TCP_KEEPIDLE, 5L);
  curl_easy_setopt(h, CURLOPT_TCP_KEEPINTVL, 2L);
  curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(o.request_timeout.count()));
  if (!o.ca.empty()) curl_easy_setopt(h, CURLOPT_CAINFO, o.ca.c_str());
  if (!o.cert.empty()) curl_easy_setopt(h, CURLOPT_SSLCERT, o.cert.c_str());
  if (!o.key.empty()) curl_easy_setopt(h, CURLOPT_SSLKEY, o.key.c_str());
}

void* http_client::headers(const std::string& token) {
  curl_slist* list = curl_slist_append(nullptr, "Content-Type: application/json");
  list = curl_slist_append(list, "Expect:"); // a large transaction does not wait for "100 Continue"
  if (!token.empty()) list = curl_slist_append(list, ("Authorization: " + token).c_str());
  return list;
}

http_answer http_client::post(const std::string& url, const std::string& token, const std::string& body,
                              std::chrono::milliseconds timeout) {
  CURL* h = nullptr;
  {
    std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      h = idle_.back();
      idle_.pop_back();
    }
  }
  if (!h) h = curl_easy_init();
  if (!h) return {http_answer::outcome::not_sent, 0, {}, "libcurl has no memory"};
  curl_easy_reset(h); // the connection stays
  configure(h, options_);
  auto* list = static_cast<curl_slist*>(headers(token));
  http_answer answer;
  char words[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(h, CURLOPT_URL, url.c_str());
  curl_easy_setopt(h, CURLOPT_HTTPHEADER, list);
  curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  curl_easy_setopt(h, CURLOPT_POSTFIELDS, body.c_str());
  curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, static_cast<long>(timeout.count()));
  curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, collect);
  curl_easy_setopt(h, CURLOPT_WRITEDATA, &answer.body);
  curl_easy_setopt(h, CURLOPT_ERRORBUFFER, words);
  const auto code = curl_easy_perform(h);
  long sent = 0;
  curl_easy_getinfo(h, CURLINFO_REQUEST_SIZE, &sent);
  curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &answer.status);
  curl_slist_free_all(list);
  if (code == CURLE_OK) {
    answer.what = http_answer::outcome::answered;
  } else {
    answer.what = sent == 0 ? http_answer::outcome::not_sent : http_answer::outcome::lost;
    answer.error = words[0] ? words : curl_easy_strerror(code);
  }
  curl_easy_setopt(h, CURLOPT_ERRORBUFFER, nullptr);
  std::lock_guard lock(mutex_);
  idle_.push_back(h);
  return answer;
}

} // namespace millrace::storage::etcd
