#include "storage/etcd/watch_streams.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <stdexcept>

namespace millrace::storage::etcd {
namespace {
constexpr std::chrono::milliseconds retry_delay_min{20}, retry_delay_max{1000};
}

struct watch_streams::stream {
  stream(std::string p, std::uint64_t a, catalog::watcher w, std::function<void()> t)
      : prefix(std::move(p)), on_change(std::move(w)), on_trimmed(std::move(t)), after(a) {}
  const std::string prefix; ///< without the catalog's own
  const catalog::watcher on_change;
  const std::function<void()> on_trimmed;
  std::atomic<bool> ended{false}; ///< also read while a call runs without the lock
  bool running = false;

  // The streams' thread only.
  std::uint64_t after;    ///< delivered, all of it
  std::uint64_t seen = 0; ///< this stream's member was at least here
  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
  std::string endpoint, token, request, incoming;
  bool created = false, finished = false;
  std::string finished_why;
  clock::time_point opened, retry_at;
  std::chrono::milliseconds delay = retry_delay_min;
};

struct watch_streams::handle final : catalog::watch_handle {
  handle(watch_streams& o, stream_ptr s) : owner(o), watched(std::move(s)) {}
  ~handle() override { owner.end(watched); }
  watch_streams& owner;
  const stream_ptr watched;
};

watch_streams::watch_streams(client& c, const etcd_options& options, std::string prefix, std::string hidden)
    : client_(c), options_(options), prefix_(std::move(prefix)), hidden_(std::move(hidden)) {
  http_client::initialize();
  multi_ = curl_multi_init();
  if (!multi_) throw std::runtime_error("libcurl has no memory");
  thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
  progress_ = std::jthread([this](std::stop_token stop) { run_progress(stop); });
}

watch_streams::~watch_streams() {
  thread_.request_stop();
  progress_.request_stop();
  curl_multi_wakeup(static_cast<CURLM*>(multi_));
  thread_.join();
  progress_.join();
  for (auto& s : streams_) close(*s);
  curl_multi_cleanup(static_cast<CURLM*>(multi_));
}

result<std::unique_ptr<catalog::watch_handle>> watch_streams::add(std::string_view prefix, std::uint64_t after,
                                                                  catalog::watcher on_change, std::function<void()> on_trimmed) {
  // A read at a revision that was compacted is refused, and so would be a watch from there.
  client::call_options o;
  o.linear = true;
  auto there = client_.ask(
      "/v3/kv/range",
      {{"key", to_base64(prefix_)}, {"count_only", true}, {"revision", std::to_string(std::max<std::uint64_t>(after, 1))}}, o);
  if (!there && there.error().is(errc::trimmed))
    return failure{errc::trimmed, "etcd's history no longer goes back to revision " + std::to_string(after) +
                                      ", a watch after it would miss changes: take a snapshot and watch from there (" +
                                      there.error().message + ")"};
  if (!there) return there.error();
  auto made = std::make_shared<stream>(std::string(prefix), after, std::move(on_change), std::move(on_trimmed));
  {
    std::lock_guard lock(mutex_);
    streams_.push_back(made);
    wanted_.notify_all();
  }
  curl_multi_wakeup(static_cast<CURLM*>(multi_));
  return std::unique_ptr<catalog::watch_handle>(std::make_unique<handle>(*this, std::move(made)));
}

void watch_streams::end(const stream_ptr& s) {
  std::unique_lock lock(mutex_);
  s->ended = true;
  curl_multi_wakeup(static_cast<CURLM*>(multi_));
  if (std::this_thread::get_id() != thread_.get_id()) idle_.wait(lock, [&] { return !s->running; });
}

template <class Call>
void watch_streams::call(stream& s, Call&& f) {
  {
    std::lock_guard lock(mutex_);
    if (s.ended) return;
    s.running = true;
  }
  f();
  std::lock_guard lock(mutex_);
  s.running = false;
  idle_.notify_all();
}

void watch_streams::open(const stream_ptr& s) {
  auto token = client_.token();
  if (!token) return retry(*s, token.error().message);
  s->token = token.value();
  s->endpoint = client_.endpoint();
  s->request = json{{"create_request",
                     {{"key", to_base64(prefix_ + s->prefix)},
                      {"range_end", to_base64(range_end(prefix_ + s->prefix))},
                      {"start_revision", std::to_string(s->after + 1)},
                      {"progress_notify", true}}}}
                   .dump();
  s->easy = curl_easy_init();
  if (!s->easy) return retry(*s, "libcurl has no memory");
  auto* h = s->easy;
  http_client::configure(h, options_);
  s->headers = static_cast<curl_slist*>(http_client::headers(s->token));
  curl_easy_setopt(h, CURLOPT_URL, (s->endpoint + "/v3/watch").c_str());
  curl_easy_setopt(h, CURLOPT_HTTPHEADER, s->headers);
  curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(s->request.size()));
  curl_easy_setopt(h, CURLOPT_POSTFIELDS, s->request.c_str());
  curl_easy_setopt(h, CURLOPT_WRITEDATA, &s->incoming);
  curl_easy_setopt(
      h, CURLOPT_WRITEFUNCTION, +[](char* data, std::size_t, std::size_t size, void* to) -> std::size_t {
        static_cast<std::string*>(to)->append(data, size);
        return size;
      });
  curl_easy_setopt(h, CURLOPT_PRIVATE, s.get());
  s->incoming.clear();
  s->created = s->finished = false;
  s->seen = 0;
  s->opened = clock::now();
  curl_multi_add_handle(static_cast<CURLM*>(multi_), h);
}

void watch_streams::close(stream& s) {
  if (!s.easy) return;
  curl_multi_remove_handle(static_cast<CURLM*>(multi_), s.easy);
  curl_easy_cleanup(s.easy);
  curl_slist_free_all(s.headers);
  s.easy = nullptr;
  s.headers = nullptr;
}

void watch_streams::retry(stream& s, const std::string& why) {
  close(s);
  client_.count_watch_restart();
  if (!s.created && !s.endpoint.empty()) client_.avoid(s.endpoint, "watch: " + why);
  s.retry_at = clock::now() + (s.created ? std::chrono::milliseconds(0) : s.delay);
  s.delay = s.created ? retry_delay_min : std::min(s.delay * 2, retry_delay_max);
  s.created = false;
}

void watch_streams::collect_finished() {
  int left = 0;
  while (auto* m = curl_multi_info_read(static_cast<CURLM*>(multi_), &left)) {
    if (m->msg != CURLMSG_DONE) continue;
    char* owner = nullptr;
    curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &owner);
    auto& s = *reinterpret_cast<stream*>(owner);
    s.finished = true;
    s.finished_why = m->data.result == CURLE_OK ? "the stream ended" : curl_easy_strerror(m->data.result);
  }
}

void watch_streams::read_lines(const stream_ptr& s) {
  if (s->finished && !s->incoming.empty() && s->incoming.back() != '\n') s->incoming += '\n'; // an error may come without one
  std::size_t from = 0;
  for (std::size_t at; s->easy && !s->ended && (at = s->incoming.find('\n', from)) != std::string::npos; from = at + 1) {
    if (at == from) continue;
    const auto line = json::parse(std::string_view(s->incoming).substr(from, at - from), nullptr, false);
    if (line.is_object())
      understand(s, line);
    else if (!s->finished)
      return retry(*s, "it does not speak JSON");
  }
  if (s->easy) s->incoming.erase(0, from);
}

void watch_streams::understand(const stream_ptr& s, const json& line) {
  const auto result = line.find("result");
  if (result == line.end()) {
    client_.forget_token(s->token); // the likeliest reason, and costs little if it is another
    const auto error = line.value("error", json());
    return retry(*s, error.is_string() ? error.get<std::string>() : text(error, "message"));
  }
  const auto header = result->value("header", json::object());
  if (auto ok = client_.check_history(header, 0, false); !ok) {
    client_.say("a watch is refused: " + ok.error().message);
    s->created = false;
    return retry(*s, ok.error().message);
  }
  if (result->value("canceled", false)) {
    if (number(*result, "compact_revision") > 0) {
      close(*s);
      call(*s, [&] {
        if (s->on_trimmed) s->on_trimmed();
      });
      s->ended = true;
      return;
    }
    client_.forget_token(s->token);
    s->created = false;
    return retry(*s, text(*result, "cancel_reason"));
  }
  if (result->value("created", false)) {
    s->created = true;
    s->delay = retry_delay_min;
  }
  s->seen = std::max(s->seen, number(header, "revision"));
  const auto events = result->find("events");
  if (events == result->end() || events->empty()) {
    // A progress message: all up to its revision was delivered.
    if (!result->value("created", false)) s->after = std::max(s->after, number(header, "revision"));
    return;
  }
  // A revision's events are never split between messages, so `after` moves only when all of them were delivered.
  auto newest = s->after;
  for (const auto& event : *events) {
    const auto kv = event.value("kv", json::object());
    auto key = bytes(kv, "key");
    const auto revision = number(kv, "mod_revision");
    if (revision <= s->after || !key.starts_with(prefix_)) continue;
    newest = std::max(newest, revision);
    key.erase(0, prefix_.size());
    if (key.starts_with(hidden_)) continue;
    const auto value = text(event, "type") == "DELETE" ? std::nullopt : std::optional<std::string>(bytes(kv, "value"));
    call(*s, [&] { s->on_change(revision, key, value); });
    if (s->ended) return;
  }
  s->after = newest;
}

void watch_streams::check(const stream_ptr& s) {
  if (s->finished) return retry(*s, s->finished_why);
  if (!s->created) {
    if (clock::now() - s->opened > options_.request_timeout)
      retry(*s, "no answer within " + std::to_string(options_.request_timeout.count()) + " ms");
    return;
  }
  std::unique_lock lock(mutex_);
  const bool behind = s->seen < observed_before_ && s->opened < observed_before_at_ && s->easy;
  lock.unlock();
  if (behind) retry(*s, "behind etcd's revision");
}

void watch_streams::run(std::stop_token stop) {
  while (!stop.stop_requested()) {
    std::vector<stream_ptr> all;
    {
      std::lock_guard lock(mutex_);
      std::erase_if(streams_, [&](const stream_ptr& s) {
        if (!s->ended) return false;
        close(*s);
        return true;
      });
      all = streams_;
    }
    auto now = clock::now();
    auto next = now + std::chrono::seconds(1);
    for (const auto& s : all) {
      if (!s->easy && !s->ended && s->retry_at <= now) open(s);
      if (!s->easy) next = std::min(next, std::max(s->retry_at, now));
      if (s->easy && !s->created) next = std::min(next, s->opened + options_.request_timeout + std::chrono::milliseconds(1));
    }
    int running = 0;
    curl_multi_perform(static_cast<CURLM*>(multi_), &running);
    collect_finished();
    for (const auto& s : all) {
      if (s->easy && !s->ended) read_lines(s);
      if (s->easy && !s->ended) check(s);
      if (!s->easy && !s->ended) next = std::min(next, s->retry_at);
      if (s->ended) next = clock::now();
    }
    now = clock::now();
    const auto wait = next <= now ? 0 : std::chrono::ceil<std::chrono::milliseconds>(next - now).count();
    if (!stop.stop_requested()) curl_multi_poll(static_cast<CURLM*>(multi_), nullptr, 0, static_cast<int>(wait), nullptr);
  }
}

void watch_streams::run_progress(std::stop_token stop) {
  std::string said;
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    wanted_.wait(lock, stop, [&] { return !streams_.empty(); });
    wanted_.wait_for(lock, stop, options_.watch_check, [] { return false; });
    if (stop.stop_requested()) return;
    lock.unlock();
    client::call_options o;
    o.linear = true;
    auto answer = client_.ask("/v3/kv/range", {{"key", to_base64(prefix_)}, {"count_only", true}}, o);
    if (!answer && answer.error().is(errc::corrupt) && said != answer.error().message) client_.say(said = answer.error().message);
    lock.lock();
    if (!answer) continue;
    observed_before_ = observed_;
    observed_before_at_ = observed_at_;
    observed_ = number(answer.value()["header"], "revision");
    observed_at_ = clock::now();
    curl_multi_wakeup(static_cast<CURLM*>(multi_));
  }
}

} // namespace millrace::storage::etcd
