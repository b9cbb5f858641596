#include "storage/etcd/client.hpp"

#include <algorithm>
#include <map>
#include <thread>
#include <utility>

namespace millrace::storage::etcd {
namespace {

using clock = std::chrono::steady_clock;

// gRPC's status codes, as the gateway passes them on.
enum grpc : std::uint64_t {
  invalid_argument = 3,
  not_found = 5,
  permission_denied = 7,
  resource_exhausted = 8,
  failed_precondition = 9,
  out_of_range = 11,
  unauthenticated = 16,
};

bool has(const std::string& s, const char* words) { return s.find(words) != s.npos; }

} // namespace

client::client(const etcd_options& options) : options_(options), http_(options) {}

void client::say(const std::string& line) const {
  if (options_.log) options_.log(line);
}

std::string client::endpoint() const {
  std::lock_guard lock(mutex_);
  return options_.endpoints[current_];
}

void client::avoid(const std::string& endpoint, const std::string& why) { failed(endpoint, why); }

void client::failed(const std::string& endpoint, const std::string& why) {
  ++failures_;
  std::lock_guard lock(mutex_);
  last_error_ = endpoint + ": " + why;
  if (options_.endpoints[current_] == endpoint) current_ = (current_ + 1) % options_.endpoints.size();
}

// Not each lost answer is news: a change of the endpoint is, and that there is none.
void client::answered(const std::string& endpoint) {
  std::string line;
  {
    std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < options_.endpoints.size(); ++i)
      if (options_.endpoints[i] == endpoint) current_ = i;
    if (!reachable_ || answering_ != endpoint)
      line = "etcd answers at " + endpoint + (reachable_ ? ", no longer " + answering_ + " (" + last_error_ + ")" : "");
    answering_ = endpoint;
    reachable_ = true;
  }
  if (!line.empty()) say(line);
}

etcd_status client::status() const {
  std::lock_guard lock(mutex_);
  return {reachable_, options_.endpoints[current_], last_error_, questions_, failures_, watch_restarts_};
}

/// What the gateway said, sorted by what we do about it. Texts are those of etcd 3.4 to 3.6.
client::refusal client::understand(const http_answer& answer, json& parsed) {
  parsed = json::parse(answer.body, nullptr, false);
  if (parsed.is_object() && answer.status == 200 && !parsed.contains("error")) return {};
  if (!parsed.is_object())
    return {
        answer.status >= 500 || answer.status == 429 ? refusal::kind::retry : refusal::kind::final,
        failure{errc::invalid, "HTTP status " + std::to_string(answer.status) +
                                   " and no JSON: expected the gateway of etcd 3.4 or newer at /v3; is this etcd's client URL?"}};
  auto words = text(parsed, "message");
  if (words.empty()) words = text(parsed, "error");
  if (has(words, "invalid auth token") || has(words, "revision of auth store is old") || has(words, "user name is empty"))
    return {refusal::kind::token, {errc::invalid, words}};
  switch (number(parsed, "code")) {
  case not_found:
    return {refusal::kind::final, {errc::not_found, words}};
  case out_of_range:
    return {refusal::kind::final, {has(words, "compacted") ? errc::trimmed : errc::invalid, words}};
  case invalid_argument:
  case permission_denied:
  case failed_precondition:
  case unauthenticated:
    return {refusal::kind::final, {errc::invalid, words}};
  case resource_exhausted: // "database space exceeded", "too many requests": refused, not lost; not better at another endpoint
    return {refusal::kind::final,
            {errc::unavailable,
             has(words, "space exceeded") ? words + "; compact and defragment etcd, then disarm its alarm" : words}};
  default: // no leader, leader changed, timed out, stopped: the cluster is looking for its feet
    return {refusal::kind::retry, {errc::unavailable, words}};
  }
}

result<std::string> client::token() {
  if (options_.user.empty()) return std::string{};
  {
    std::lock_guard lock(mutex_);
    if (!token_.empty()) return token_;
  }
  std::string why;
  for (std::size_t i = 0; i < options_.endpoints.size(); ++i) {
    const auto at = endpoint();
    const auto answer =
        http_.post(at + "/v3/auth/authenticate", {}, json{{"name", options_.user}, {"password", options_.password}}.dump(),
                   options_.request_timeout);
    json parsed;
    if (answer.what != http_answer::outcome::answered) {
      why += (why.empty() ? "" : "; ") + at + ": " + answer.error;
      failed(at, answer.error);
      continue;
    }
    const auto refused = understand(answer, parsed);
    if (refused.what == refusal::kind::none) {
      std::lock_guard lock(mutex_);
      return token_ = text(parsed, "token");
    }
    if (refused.what == refusal::kind::final && refused.why.is(errc::invalid))
      return failure{errc::invalid, "etcd at " + at + " refuses user " + options_.user + ": " + refused.why.message};
    why += (why.empty() ? "" : "; ") + at + ": " + refused.why.message;
    failed(at, refused.why.message);
  }
  return failure{errc::unavailable, "etcd cannot be reached to authenticate: " + why};
}

void client::forget_token(const std::string& token) {
  std::lock_guard lock(mutex_);
  if (token_ == token) token_.clear();
}

result<void> client::check_history(const json& header, std::uint64_t floor, bool linear) {
  const auto id = text(header, "cluster_id");
  const auto revision = number(header, "revision");
  {
    std::lock_guard lock(mutex_);
    if (cluster_.empty()) cluster_ = id;
    if (!id.empty() && id != cluster_)
      return failure{errc::corrupt, "etcd is cluster " + id + ", it was " + cluster_ +
                                        ": its data was replaced or an endpoint belongs to another cluster; nothing is written. "
                                        "Correct the endpoints, or restart the node if the new cluster is meant"};
  }
  if (linear && revision < floor)
    return failure{errc::corrupt, "etcd is at revision " + std::to_string(revision) + ", this node has seen " +
                                      std::to_string(floor) +
                                      ": etcd's data was lost or restored from a backup; nothing is written. Restore etcd, or "
                                      "restart the node if the older state is meant"};
  if (linear)
    for (auto seen = newest_.load(); seen < revision && !newest_.compare_exchange_weak(seen, revision);) {
    }
  return success();
}

result<json> client::ask(const char* path, const json& body, call_options o) {
  const auto text_of_body = body.dump(-1, ' ', false, json::error_handler_t::replace);
  const auto timeout = o.timeout.count() > 0 ? o.timeout : options_.request_timeout;
  const auto began = clock::now();
  const auto count = options_.endpoints.size();
  bool ignored = false;
  bool& maybe_done = o.maybe_done ? *o.maybe_done : ignored;
  int tokens = 0;
  std::map<std::string, std::string> said; // endpoint -> why not
  ++questions_;
  for (std::size_t tries = 0;;) {
    if (tries >= count) {
      // What may have been done is worth a second look: the caller would rather wait than not know.
      if (clock::now() - began >= options_.request_timeout * (maybe_done ? 2 : 1)) break;
      // Nobody there at all is said at once; an election is waited for.
      if (!maybe_done && std::none_of(said.begin(), said.end(), [](const auto& s) { return s.second.starts_with("etcd"); }))
        break;
      if (tries % count == 0) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    auto token = this->token();
    if (!token) {
      if (!maybe_done || !token.error().is(errc::unavailable)) return token.error();
      said[endpoint()] = token.error().message;
      ++tries;
      continue;
    }
    const auto at = endpoint();
    const auto floor = newest_.load();
    const auto answer = http_.post(at + path, token.value(), text_of_body, timeout);
    if (answer.what != http_answer::outcome::answered) {
      maybe_done |= answer.what == http_answer::outcome::lost;
      said[at] = answer.error;
      failed(at, answer.error);
      ++tries;
      continue;
    }
    json parsed;
    auto refused = understand(answer, parsed);
    switch (refused.what) {
    case refusal::kind::none:
      if (auto ok = check_history(parsed.value("header", json::object()), floor, o.linear); !ok) return ok.error();
      answered(at);
      return parsed;
    case refusal::kind::token:
      forget_token(token.value());
      if (++tokens > 3) return failure{errc::invalid, "etcd at " + at + " refuses a fresh token: " + refused.why.message};
      continue; // a token that has expired is no try: it must not use up the only endpoint
    case refusal::kind::final:
      answered(at);
      refused.why.message = "etcd at " + at + ": " + refused.why.message;
      return refused.why;
    case refusal::kind::retry:
      maybe_done = true;
      said[at] = "etcd says: " + refused.why.message;
      failed(at, refused.why.message);
      ++tries;
      continue;
    }
  }
  std::string all;
  for (const auto& [at, why] : said) all += (all.empty() ? "" : "; ") + at + ": " + why;
  bool news = false;
  {
    std::lock_guard lock(mutex_);
    news = std::exchange(reachable_, false);
  }
  if (news) say("etcd cannot be reached: " + all);
  if (maybe_done && o.maybe_done) return failure{errc::unknown_outcome, "etcd took the request but no answer came: " + all};
  return failure{errc::unavailable, "etcd cannot be reached: " + all};
}

} // namespace millrace::storage::etcd
