#include "actors/dead_letter/webhook.hpp"

#include "actors/dead_letter/letter_json.hpp"

#include <algorithm>
#include <curl/curl.h>
#include <mutex>
#include <stdexcept>

namespace millrace::actors::dead_letter {
namespace {

constexpr std::size_t answer_bytes_max = 300; // enough for a receiver's complaint
constexpr std::chrono::seconds retry_after_max{3600};

void init_curl() {
  // Once a process and never undone: curl_global_cleanup() while another thread holds a handle is undefined.
  static std::once_flag once;
  std::call_once(once, [] {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) throw std::runtime_error("libcurl cannot be initialized");
  });
}

std::size_t keep_start(char* data, std::size_t, std::size_t n, void* to) {
  auto& text = *static_cast<std::string*>(to);
  text.append(data, std::min(n, answer_bytes_max - std::min(answer_bytes_max, text.size())));
  return n; // the rest is read and dropped, so that the connection can be used again
}

std::string host_of(const std::string& url) {
  const auto scheme = url.find("://");
  const auto from = scheme == std::string::npos ? 0 : scheme + 3;
  auto host = url.substr(from, url.find_first_of("/?#", from) - from);
  if (const auto user = host.rfind('@'); user != std::string::npos) host.erase(0, user + 1);
  return (scheme == std::string::npos ? "" : url.substr(0, from)) + host;
}

std::string dumped(const nlohmann::ordered_json& document) {
  return document.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

} // namespace

std::string webhook_body(const alert& what, const std::string& node) {
  nlohmann::ordered_json out;
  out["pipeline"] = what.pipeline;
  out["load"] = what.load;
  out["reason"] = what.reason;
  out["count"] = what.count;
  out["first_time"] = time_text(what.first_time);
  out["last_time"] = time_text(what.last_time);
  auto sample =
      what.sample.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json::parse(what.sample, nullptr, false);
  if (sample.is_discarded()) sample = what.sample;
  out["sample"] = std::move(sample);
  out["node"] = node;
  return dumped(out);
}

std::string alertmanager_body(const alert& what, const std::string& node, storage::timestamp ends) {
  nlohmann::ordered_json one;
  // Labels are the alert's identity for Alertmanager: what changes from one to the next belongs into annotations.
  one["labels"] = {{"alertname", "MillraceDeadLetters"},
                   {"severity", "warning"},
                   {"pipeline", what.pipeline},
                   {"load", what.load},
                   {"reason", what.reason},
                   {"node", node}};
  one["annotations"] = {{"summary", std::to_string(what.count) + " change" + (what.count == 1 ? "" : "s") + " of " +
                                        what.pipeline + '/' + what.load + " quarantined: " + what.reason},
                        {"count", std::to_string(what.count)},
                        {"first_time", time_text(what.first_time)},
                        {"last_time", time_text(what.last_time)},
                        {"sample", what.sample}};
  one["startsAt"] = time_text(what.first_time);
  one["endsAt"] = time_text(std::max(ends, what.first_time));
  return dumped(nlohmann::ordered_json::array({std::move(one)}));
}

std::string alertmanager_url(const std::string& base) {
  auto end = base.size();
  while (end > 0 && base[end - 1] == '/') --end;
  return base.substr(0, end) + "/api/v2/alerts";
}

struct webhook::handle {
  CURL* curl = nullptr;
  curl_slist* headers = nullptr;
  ~handle() {
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
  }
};

webhook::webhook() {
  init_curl();
  handle_ = std::make_unique<handle>();
  handle_->curl = curl_easy_init();
  for (const auto* line : {"Content-Type: application/json", "Expect:"}) { // no 100-continue: many receivers never answer it
    auto* longer = curl_slist_append(handle_->headers, line);
    if (!handle_->curl || !longer) throw std::runtime_error("libcurl has no memory for a handle");
    handle_->headers = longer;
  }
}

webhook::~webhook() = default;

post_outcome webhook::post(const std::string& url, const std::string& json, std::chrono::milliseconds timeout) {
  auto* curl = handle_->curl;
  std::string answer;
  char why[CURL_ERROR_SIZE] = {};
  curl_easy_reset(curl); // keeps connections and forgets pointers into the last call's stack
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, handle_->headers);
  curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(json.size()));
  curl_easy_setopt(curl, CURLOPT_POSTFIELDS, json.data());
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(timeout.count()));
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(timeout.count()));
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L); // signals and threads do not mix
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "millrace");
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &keep_start);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
  const auto code = curl_easy_perform(curl);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, nullptr);

  post_outcome out;
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  out.status = static_cast<int>(status);
  const std::string where = "webhook " + host_of(url) + ": ";
  if (code != CURLE_OK) {
    const bool wrong_url = code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL;
    out.retry = !wrong_url;
    out.message = where + curl_easy_strerror(code) + (wrong_url ? "; expected http://HOST/... or https://HOST/..." : "");
    // libcurl's longer text may repeat a URL that it could not use; of one that it could, it names host and port.
    if (*why && !wrong_url) out.message += std::string(" (") + why + ")";
    return out;
  }
  out.delivered = status >= 200 && status < 300;
  if (out.delivered) return out;
  out.retry = status == 408 || status == 425 || status == 429 || status >= 500;
  curl_off_t wait = 0;
  if (out.retry && curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &wait) == CURLE_OK)
    out.retry_after = std::min(retry_after_max, std::chrono::seconds(wait));
  out.message = where + "status " + std::to_string(status) +
                (status >= 300 && status < 400 ? " (redirects are not followed: name the final URL)" : "");
  if (!answer.empty()) out.message += ": " + answer;
  return out;
}

} // namespace millrace::actors::dead_letter
