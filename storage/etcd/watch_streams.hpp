#pragma once
// Watches over etcd: one thread, a stream each, resumed at the revision after the last one that was delivered.
//
//   streams' thread:  open ──created──> lines ──> watchers ──broken──> open again, at the next endpoint, from `after` + 1
//   progress thread:  asks for etcd's revision; a stream that has been behind it since the question before is opened again
//
// A stream may die without a word (a cut link, a member in a minority serving its own old state), and etcd's progress messages
// come every ten minutes. Comparing with a linearizable revision notices both. A stream whose prefix is quiet looks the same and
// is opened again for nothing, which costs one small request.

#include "storage/etcd/client.hpp"

#include <condition_variable>
#include <set>
#include <thread>

namespace millrace::storage::etcd {

/// Thread safe.
class watch_streams {
public:
  /// `prefix` ends with '/'. `hidden`: keys below it that no watcher sees.
  watch_streams(client& c, const etcd_options& options, std::string prefix, std::string hidden);
  ~watch_streams();
  result<std::unique_ptr<catalog::watch_handle>> add(std::string_view prefix, std::uint64_t after, catalog::watcher on_change,
                                                     std::function<void()> on_trimmed);

private:
  using clock = std::chrono::steady_clock;
  struct stream;
  struct handle;
  using stream_ptr = std::shared_ptr<stream>;

  void run(std::stop_token stop);
  void run_progress(std::stop_token stop);
  void open(const stream_ptr& s);
  void close(stream& s);
  /// Closes and opens again, after a pause that grows while it fails.
  void retry(stream& s, const std::string& why);
  void collect_finished();
  void read_lines(const stream_ptr& s);
  void understand(const stream_ptr& s, const json& line);
  void check(const stream_ptr& s);
  template <class Call>
  void call(stream& s, Call&& f);
  void end(const stream_ptr& s);

  client& client_;
  const etcd_options& options_;
  const std::string prefix_, hidden_;
  void* multi_ = nullptr; ///< CURLM; the streams' thread's, but for wake-ups

  std::mutex mutex_; ///< of what follows, and of stream::running
  std::vector<stream_ptr> streams_;
  std::condition_variable_any idle_, wanted_;
  /// etcd's revision when last asked and the time before, and when that was.
  std::uint64_t observed_ = 0, observed_before_ = 0;
  clock::time_point observed_before_at_, observed_at_;

  std::jthread thread_, progress_; ///< last: they use everything above
};

} // namespace millrace::storage::etcd
