// How much of bare ZeroMQ's throughput is left with sessions, acknowledgements and checks: the same frames through a node_link
// and through a DEALER and a ROUTER, both with CURVE over 127.0.0.1, both ends in this process.
//   link_bench [MEGABYTES]   bytes for each measurement, default 512

#include "runtime/link/curve_keys.hpp"
#include "runtime/link/node_link.hpp"

#include <zmq.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <sys/resource.h>

namespace {

using namespace millrace;
using namespace millrace::runtime::link;
using actors::cluster::channel;
using clock_type = std::chrono::steady_clock;

constexpr int io_threads = 2;
constexpr int pairs = 11;

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "link_bench: %s\n", what.c_str());
  std::exit(1);
}

/// Of this process so far, both ends of a link and libzmq's threads.
double cpu_seconds() {
  rusage u{};
  ::getrusage(RUSAGE_SELF, &u);
  const auto in_seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6; };
  return in_seconds(u.ru_utime) + in_seconds(u.ru_stime);
}

double seconds_since(clock_type::time_point t) { return std::chrono::duration<double>(clock_type::now() - t).count(); }

struct folder {
  std::filesystem::path path;
  folder() {
    std::string name = "/tmp/millrace-link-bench-XXXXXX";
    if (!::mkdtemp(name.data())) die("cannot make a folder below /tmp");
    path = name;
    std::ofstream peers(path / "peers");
    for (auto node : {"a", "b"}) {
      auto keys = make_key_files(path, node);
      if (!keys) die(keys.error().message);
      peers << node << " " << keys.value().public_key << "\n";
    }
  }
  ~folder() { std::filesystem::remove_all(path); }
};

link_options options(const folder& in, const std::string& node) {
  link_options o;
  o.cluster_id = "bench";
  o.node = node;
  o.listen = "127.0.0.1:0";
  o.key_file = in.path / (node + ".key");
  o.peers_file = in.path / "peers";
  o.io_threads = io_threads;
  return o;
}

/// Bytes a second.
double ours(const folder& in, std::size_t frame_bytes, std::size_t frames) {
  node_link a(options(in, "a")), b(options(in, "b"));
  std::atomic<std::uint64_t> received{0}, done{0}, failed{0};
  b.receive(channel::replication, [&](const std::string&, actors::cluster::frame f) { received += f.parts[0]->size(); });
  for (auto* l : {&b, &a})
    if (auto r = l->start(); !r) die(r.error().message);
  if (auto r = a.set_peer("b", b.address()); !r) die(r.error().message);
  while (a.credit("b") == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  auto part = std::make_shared<const std::string>(frame_bytes, 'x');
  auto begin = clock_type::now();
  for (std::size_t sent = 0; sent < frames;) {
    const auto seen = done.load();
    if (a.credit("b") < frame_bytes + 8) {
      done.wait(seen);
      continue;
    }
    a.send("b", {channel::replication, "head of", {part}}, [&](node_link::outcome o) {
      failed += o != node_link::outcome::delivered;
      ++done;
      done.notify_one();
    });
    ++sent;
  }
  for (auto seen = done.load(); seen < frames; seen = done.load()) done.wait(seen);
  auto took = seconds_since(begin);
  if (failed != 0) die("a frame failed");
  if (received != frames * frame_bytes) die("bytes are missing");
  return static_cast<double>(frames * frame_bytes) / took;
}

/// The same without us: no acknowledgements, but the same number of bytes under way at most (by HWM), copied out at the receiver.
double bare(std::size_t frame_bytes, std::size_t frames) {
  char server_public[41], server_secret[41], client_public[41], client_secret[41];
  zmq_curve_keypair(server_public, server_secret);
  zmq_curve_keypair(client_public, client_secret);
  zmq::context_t at_server(io_threads), at_client(io_threads);
  zmq::socket_t router(at_server, zmq::socket_type::router), dealer(at_client, zmq::socket_type::dealer);
  auto hwm = static_cast<int>((64u << 20) / frame_bytes);
  router.set(zmq::sockopt::curve_server, true);
  router.set(zmq::sockopt::curve_secretkey, server_secret);
  router.set(zmq::sockopt::rcvhwm, hwm);
  router.bind("tcp://127.0.0.1:*");
  dealer.set(zmq::sockopt::curve_serverkey, server_public);
  dealer.set(zmq::sockopt::curve_publickey, client_public);
  dealer.set(zmq::sockopt::curve_secretkey, client_secret);
  dealer.set(zmq::sockopt::sndhwm, hwm);
  dealer.connect(router.get(zmq::sockopt::last_endpoint));
  auto part = std::make_shared<const std::string>(frame_bytes, 'x');
  (void)dealer.send(zmq::str_buffer("hello"));
  std::uint64_t received = 0;
  zmq::message_t m;
  for (bool more = true; more; more = m.more()) (void)router.recv(m);
  auto begin = clock_type::now();
  std::thread sender([&] {
    for (std::size_t i = 0; i < frames; ++i) {
      (void)dealer.send(zmq::str_buffer("a header of some sixty bytes, as the link puts before frames"),
                        zmq::send_flags::sndmore);
      (void)dealer.send(zmq::str_buffer("head of"), zmq::send_flags::sndmore);
      (void)dealer.send(zmq::message_t(const_cast<char*>(part->data()), part->size(), [](void*, void*) {}),
                        zmq::send_flags::none);
    }
  });
  std::string taken;
  for (std::size_t i = 0; i < frames; ++i) {
    do {
      (void)router.recv(m);
    } while (m.more());
    taken = m.to_string();
    received += taken.size();
  }
  auto took = seconds_since(begin);
  sender.join();
  if (received != frames * frame_bytes) die("bare ZeroMQ: bytes are missing");
  dealer.set(zmq::sockopt::linger, 0);
  return static_cast<double>(frames * frame_bytes) / took;
}

} // namespace

int main(int argc, char** argv) {
  const std::size_t bytes = (argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 512) << 20;
  if (bytes == 0) die("usage: link_bench [MEGABYTES]");
  folder keys;
  // The machine's pace changes within seconds: a ratio is of two runs that follow each other, each first in every other pair.
  std::printf("%-10s %14s %14s %8s %14s %22s   medians of %d pairs\n", "frame", "link MB/s", "bare MB/s", "ratio",
              "its quartiles", "CPU s per GB, of each", pairs);
  for (std::size_t frame_bytes : {std::size_t(1) << 20, std::size_t(64) << 10}) {
    const auto frames = bytes / frame_bytes;
    const auto gigabytes = static_cast<double>(frames * frame_bytes) / 1e9;
    std::vector<double> link_rates, bare_rates, link_cpu, bare_cpu, ratios;
    const auto measure = [&](bool link) {
      const auto before = cpu_seconds();
      const auto rate = link ? ours(keys, frame_bytes, frames) : bare(frame_bytes, frames);
      (link ? link_rates : bare_rates).push_back(rate);
      (link ? link_cpu : bare_cpu).push_back((cpu_seconds() - before) / gigabytes);
    };
    for (int i = 0; i < pairs; ++i) {
      measure(i % 2 == 0);
      measure(i % 2 != 0);
      ratios.push_back(link_rates.back() / bare_rates.back());
    }
    const auto quantile = [](std::vector<double>& v, double q) {
      std::sort(v.begin(), v.end());
      return v[static_cast<std::size_t>(static_cast<double>(v.size() - 1) * q + 0.5)];
    };
    std::printf("%6zu KiB %14.0f %14.0f %8.2f %8.2f-%.2f %12.2f  %10.2f\n", frame_bytes >> 10, quantile(link_rates, 0.5) / 1e6,
                quantile(bare_rates, 0.5) / 1e6, quantile(ratios, 0.5), quantile(ratios, 0.25), quantile(ratios, 0.75),
                quantile(link_cpu, 0.5), quantile(bare_cpu, 0.5));
  }
}
