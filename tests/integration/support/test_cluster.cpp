#include "tests/integration/support/test_cluster.hpp"

#include <arpa/inet.h>
#include <csignal>
#include <fstream>
#include <iostream>
#include <sys/socket.h>
#include <unistd.h>

namespace millrace::testing {
namespace {

etcd_server::options etcd_options(const cluster_options& o, const host_network& network) {
  etcd_server::options etcd;
  etcd.members = o.etcd_members;
  etcd.address = network.outside();
  return etcd;
}

postgres_server::options postgres_options(const host_network& network) {
  postgres_server::options o;
  o.settings = {"wal_level = logical",  "max_wal_senders = 20",     "max_replication_slots = 20",
                "max_connections = 80", "wal_sender_timeout = 10s", "max_wal_size = 2GB",
                "autovacuum = off"};
  o.address = network.outside();
  if (network.available()) o.network = network.subnet();
  return o;
}

int free_port() {
  const int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof a;
  if (s < 0 || bind(s, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0 ||
      getsockname(s, reinterpret_cast<sockaddr*>(&a), &size) != 0)
    throw std::runtime_error("no free port");
  close(s);
  return ntohs(a.sin_port);
}

#ifdef MILLRACE_CLOCK_SHIM
const std::string clock_shim = MILLRACE_CLOCK_SHIM;
#else
const std::string clock_shim;
#endif

} // namespace

test_cluster::test_cluster(cluster_options options)
    : options_(std::move(options)), network_(options_.nodes), etcd_(etcd_options(options_, network_)),
      postgres_(postgres_options(network_)) {
  if (!network_.available())
    std::cerr << "NO NAMESPACES (" << network_.why_not() << "): all nodes share 127.0.0.1, nothing can be cut\n";
  postgres_.start();
  std::string peers, endpoints;
  for (int i = 0; i < options_.nodes; ++i) {
    const auto made = run({.argv = {binary(), "keygen", name(i)}, .directory = dir_.path()});
    if (made.status != 0) throw std::runtime_error("keygen: " + made.err);
    peers += read_file(dir_ / (name(i) + ".pub"));
  }
  write_file(dir_ / "peers", peers);
  for (const auto& e : etcd_.endpoints()) endpoints += (endpoints.empty() ? "\"" : ", \"") + e + "\"";
  for (int i = 0; i < options_.nodes; ++i) {
    const auto host = network_.address(i);
    link_ports_.push_back(network_.available() ? 7072 : free_port());
    auto advertised = host + ":" + std::to_string(link_ports_.back());
    if (options_.proxies) {
      auto& p =
          *proxies_.emplace_back(std::make_unique<link_proxy>(network_.outside(), options_.seed + static_cast<std::uint64_t>(i)));
      p.forward_to(host, link_ports_.back());
      advertised = network_.outside() + ":" + std::to_string(p.port());
    }
    node_settings s;
    s.name = name(i);
    s.http_host = host;
    s.limits = options_.limits;
    s.before = network_.inside(i);
    if (has_clocks()) {
      set_clock(i, seconds{0});
      s.before.insert(s.before.end(),
                      {"/usr/bin/env", "LD_PRELOAD=" + clock_shim, "MILLRACE_TEST_CLOCK=" + clock_file(i).string()});
    }
    s.more = "cluster:\n  id: chaos\n  etcd: { endpoints: [" + endpoints + "] }\n  link: { listen: \"" + host + ":" +
             std::to_string(link_ports_.back()) + "\", advertise: \"" + advertised +
             "\", key: " + (dir_ / (name(i) + ".key")).string() + ", peers: " + (dir_ / "peers").string() +
             " }\n  lease: " + std::to_string(options_.lease.count()) + "s\n";
    if (options_.small_disk_mb && i == options_.nodes - 1) {
      small_disk_ = std::make_unique<tmpfs>(dir_ / "small", options_.small_disk_mb);
      if (small_disk_->mounted()) s.data = dir_ / "small/data";
    }
    nodes_.push_back(std::make_unique<test_node>(dir_ / name(i), std::move(s)));
    frozen_.push_back(false);
  }
}

test_cluster::~test_cluster() {
  for (auto& n : nodes_)
    if (n->running()) n->kill9(); // also a frozen one
}

void test_cluster::start() {
  for (int i = 0; i < size(); ++i) node(i).launch();
  for (int i = 0; i < size(); ++i) node(i).wait_ready();
  eventually(
      "all nodes are alive",
      [this] {
        const auto s = status();
        int alive = 0;
        if (!s.is_null())
          for (const auto& n : s.at("nodes")) alive += n.at("alive") == true;
        return alive == size();
      },
      seconds{30}, [this] { return status().dump(2) + logs(); });
}

void test_cluster::kill9(int i) {
  node(i).kill9();
  frozen_[static_cast<std::size_t>(i)] = false;
}
void test_cluster::freeze(int i) {
  node(i).process().signal(SIGSTOP);
  frozen_[static_cast<std::size_t>(i)] = true;
}
void test_cluster::thaw(int i) {
  node(i).process().signal(SIGCONT);
  frozen_[static_cast<std::size_t>(i)] = false;
}
bool test_cluster::has_clocks() const { return options_.clocks && !clock_shim.empty(); }
void test_cluster::set_clock(int i, seconds ahead) {
  const auto value = std::chrono::duration_cast<std::chrono::nanoseconds>(ahead).count();
  // Over what is there: the node has mapped it.
  std::fstream file(clock_file(i), std::ios::in | std::ios::out | std::ios::binary);
  if (!file) file.open(clock_file(i), std::ios::out | std::ios::binary);
  file.write(reinterpret_cast<const char*>(&value), sizeof value);
}
void test_cluster::launch(int i) { node(i).launch(); }
void test_cluster::wipe(int i) {
  for (const auto& e : std::filesystem::directory_iterator(node(i).data())) std::filesystem::remove_all(e.path());
}

void test_cluster::cut_peers(int i, host_network::way way) {
  for (int k = 0; k < size(); ++k)
    if (k != i) network_.cut(i, network_.address(k), {}, way);
  if (proxies_.empty()) return;
  std::vector<int> ports{link_ports_[static_cast<std::size_t>(i)]}; // what proxies bring
  for (const auto& p : proxies_) ports.push_back(p->port());
  network_.cut(i, network_.outside(), ports, way);
}
void test_cluster::cut_links_out(int i) {
  std::vector<int> ports;
  for (const auto& p : proxies_) ports.push_back(p->port());
  network_.cut(i, network_.outside(), ports);
}
void test_cluster::cut_etcd(int i, host_network::way way) { network_.cut(i, network_.outside(), etcd_.ports(), way); }

void test_cluster::heal() {
  network_.heal_all();
  for (int i = 0; i < etcd_.members(); ++i)
    if (etcd_.running(i)) etcd_.thaw(i);
  etcd_.start_all();
  for (auto& p : proxies_) p->delay(0), p->reset_within(0);
  if (small_disk_ && small_disk_->mounted()) small_disk_->make_room();
  for (int i = 0; i < size(); ++i) {
    if (!node(i).running())
      launch(i);
    else
      thaw(i);
  }
}

std::optional<json> test_cluster::asked(int i, std::vector<std::string> words, milliseconds limit) {
  try {
    return node(i).ask(std::move(words), limit);
  } catch (const std::runtime_error&) {
    return std::nullopt;
  }
}

json test_cluster::status(int i) {
  for (int k = i < 0 ? 0 : i; k < (i < 0 ? size() : i + 1); ++k)
    if (usable(k))
      if (auto found = asked(k, {"cluster", "status"}, seconds{5})) return *found;
  return {};
}

int test_cluster::leader(const std::string& pipeline, int except) {
  for (int k = 0; k < size(); ++k) {
    if (k == except || !usable(k)) continue;
    const auto s = asked(k, {"cluster", "status"}, seconds{3});
    if (!s) continue;
    for (const auto& p : s->at("partitions"))
      if (p.at("pipeline") == pipeline)
        if (const auto who = p.at("leader").get<std::string>(); who.size() == 1) return who[0] - 'a';
    return -1;
  }
  return -1;
}

int test_cluster::await_leader(const std::string& pipeline, int not_this, seconds limit) {
  int found = -1;
  eventually(
      "another node leads " + pipeline,
      [&] {
        found = leader(pipeline, not_this);
        return found >= 0 && found != not_this;
      },
      limit, [&] { return status().dump(2) + logs(); });
  return found;
}

void test_cluster::await_in_sync(const std::string& pipeline, seconds limit) {
  json last;
  int at = 0;
  eventually(
      "every node sees all replicas of " + pipeline + " in sync",
      [&] {
        for (at = 0; at < size(); ++at) {
          last = status(at);
          if (last.is_null()) return false;
          std::size_t alive = 0, in_sync = 0;
          for (const auto& n : last.at("nodes")) alive += n.at("alive") == true;
          for (const auto& p : last.at("partitions"))
            if (p.at("pipeline") == pipeline && !p.at("leader").get<std::string>().empty()) in_sync = p.at("in_sync").size();
          if (alive != nodes_.size() || in_sync != nodes_.size()) return false;
        }
        return true;
      },
      limit, [&] { return "node " + name(std::min(at, size() - 1)) + " says " + last.dump(2) + logs(); });
}

json test_cluster::ask(const std::vector<std::string>& words, milliseconds limit) {
  std::string why;
  for (int k = 0; k < size(); ++k) {
    if (!usable(k)) continue;
    try {
      return node(k).ask(words, limit);
    } catch (const std::runtime_error& e) {
      why += name(k) + ": " + e.what() + "\n";
    }
  }
  throw std::runtime_error("no node could do it:\n" + why);
}

std::string test_cluster::logs(std::size_t bytes) {
  std::string all;
  for (int i = 0; i < size(); ++i) {
    const auto text = node(i).log();
    all += "\n--- node " + name(i) + (node(i).running() ? "" : " (not running)") + "\n" +
           (text.size() > bytes ? text.substr(text.size() - bytes) : text);
  }
  return all;
}

} // namespace millrace::testing
