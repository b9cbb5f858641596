#pragma once
// Links on 127.0.0.1 with keys of their own, what they deliver and complete, and waiting for it.

#include "runtime/link/curve_keys.hpp"
#include "runtime/link/link_sender.hpp"
#include "runtime/link/node_link.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <mutex>
#include <random>
#include <thread>

namespace millrace::testing {

using namespace runtime::link;
using namespace std::chrono_literals;
using actors::cluster::channel;
using actors::cluster::peer_status;
using outcome = transport::outcome;

inline std::uint64_t seed() {
  static const std::uint64_t value = [] {
    const char* given = std::getenv("MILLRACE_SEED");
    auto s = given ? std::strtoull(given, nullptr, 10) : std::random_device()();
    std::cout << "MILLRACE_SEED=" << s << "\n";
    return s;
  }();
  return value;
}

/// Until `condition` holds.
inline bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds limit = 20s) {
  auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

struct temp_folder {
  std::filesystem::path path;
  temp_folder() {
    std::string name = "/tmp/millrace-link-XXXXXX";
    BOOST_REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  temp_folder(const temp_folder&) = delete;
  temp_folder& operator=(const temp_folder&) = delete;
  ~temp_folder() { std::filesystem::remove_all(path); }
};

/// The words of a failure; Boost.Test asks for them whether it failed or not.
template <class T>
std::string why(const result<T>& r) {
  return r ? "" : r.error().message;
}

inline void write_file(const std::filesystem::path& file, const std::string& text) { std::ofstream(file) << text; }
inline std::string read_file(const std::filesystem::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline frame make_frame(std::string head, const std::vector<std::string>& parts = {}) {
  frame f{channel::replication, std::move(head), {}};
  for (const auto& p : parts) f.parts.push_back(std::make_shared<const std::string>(p));
  return f;
}

/// What came in, in order, as "NODE:HEAD", and how sends ended. Thread safe.
class recorder {
  template <class F>
  auto locked(F read) const {
    std::lock_guard hold(lock_);
    return read();
  }

public:
  void took(const std::string& from, const frame& f) {
    std::lock_guard hold(lock_);
    heads_.push_back(from + ":" + f.head);
    bytes_ += bytes_of(f);
    last_ = f;
  }
  std::function<void(outcome)> done(const std::string& head) {
    return [this, head](outcome o) {
      std::lock_guard hold(lock_);
      ++ended_[head][o];
      ++(o == outcome::delivered ? delivered_ : failed_);
    };
  }
  std::vector<std::string> heads() const {
    return locked([&] { return heads_; });
  }
  frame last() const {
    return locked([&] { return last_; });
  }
  std::size_t received() const {
    return locked([&] { return heads_.size(); });
  }
  std::size_t delivered() const {
    return locked([&] { return delivered_; });
  }
  std::size_t failed() const {
    return locked([&] { return failed_; });
  }
  std::size_t completed() const {
    return locked([&] { return delivered_ + failed_; });
  }
  std::map<std::string, std::map<outcome, int>> ended() const {
    return locked([&] { return ended_; });
  }

private:
  mutable std::mutex lock_;
  std::vector<std::string> heads_;
  frame last_;
  std::uint64_t bytes_ = 0;
  std::size_t delivered_ = 0, failed_ = 0;
  std::map<std::string, std::map<outcome, int>> ended_;
};

/// A folder with the keys of some nodes and one peers file for all.
class key_ring {
public:
  explicit key_ring(const std::vector<std::string>& nodes) {
    for (const auto& n : nodes) make(n);
    write_peers(nodes);
  }
  curve_pair make(const std::string& node) {
    auto keys = make_key_files(folder_.path, node);
    BOOST_REQUIRE_MESSAGE(keys, why(keys));
    return keys.value();
  }
  void write_peers(const std::vector<std::string>& nodes, const std::string& more = {}) const {
    std::string text = "# NAME KEY\n" + more;
    for (const auto& n : nodes) text += read_file(folder_.path / (n + ".pub"));
    // By another name first: a reader never sees half of it, as an operator's editor does it.
    write_file(folder_.path / "peers.new", text);
    std::filesystem::rename(folder_.path / "peers.new", peers());
  }
  std::filesystem::path key(const std::string& node) const { return folder_.path / (node + ".key"); }
  std::filesystem::path peers() const { return folder_.path / "peers"; }
  std::filesystem::path folder() const { return folder_.path; }

private:
  temp_folder folder_;
};

struct log_lines {
  mutable std::mutex lock;
  std::vector<std::string> lines;
  actors::log_sink sink() {
    return [this](std::string_view, std::string_view, std::string_view line) {
      std::lock_guard hold(lock);
      lines.emplace_back(line);
    };
  }
  std::string all() const {
    std::lock_guard hold(lock);
    std::string out;
    for (const auto& l : lines) out += l + "\n";
    return out;
  }
  bool has(const std::string& words) const {
    std::lock_guard hold(lock);
    for (const auto& l : lines)
      if (l.find(words) != std::string::npos) return true;
    return false;
  }
};

inline link_options options_of(const key_ring& keys, const std::string& node, const std::string& listen = "127.0.0.1:0") {
  link_options o;
  o.cluster_id = "test";
  o.node = node;
  o.listen = listen;
  o.key_file = keys.key(node);
  o.peers_file = keys.peers();
  o.reload_every = 20ms;
  o.io_threads = 1;
  return o;
}

/// A node's link, started, that records what it takes.
class test_node {
public:
  explicit test_node(link_options o) : link_((o.log = log.sink(), o)) {
    for (auto c : {channel::replication, channel::admin})
      link_.receive(c, [this](const std::string& from, frame f) { took.took(from, f); });
    auto started = link_.start();
    BOOST_REQUIRE_MESSAGE(started, why(started));
  }
  node_link* operator->() { return &link_; }
  void connect(const std::string& node, const std::string& address) {
    auto set = link_.set_peer(node, address);
    BOOST_REQUIRE_MESSAGE(set, why(set));
  }
  peer_status status(const std::string& node) const {
    for (auto& p : link_.peers())
      if (p.node == node) return p;
    return {};
  }
  bool reaches(const std::string& node, std::chrono::milliseconds limit = 20s) {
    auto reached = eventually([&] { return status(node).connected; }, limit);
    if (!reached) BOOST_TEST_MESSAGE("not connected to " << node << ": " << status(node).last_error << "\n" << log.all());
    return reached;
  }
  void send(const std::string& node, const std::string& head, const std::vector<std::string>& parts = {}) {
    link_.send(node, make_frame(head, parts), took.done(head));
  }
  log_lines log;
  recorder took;

private:
  node_link link_;
};

} // namespace millrace::testing
