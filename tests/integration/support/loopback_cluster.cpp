#include "tests/integration/support/loopback_cluster.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <stdexcept>

namespace millrace::testing {
namespace {

/// Free now; held together until all are known, so that no two are the same.
class free_ports {
public:
  ~free_ports() {
    for (const int fd : held_) ::close(fd);
  }
  int take() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    if (fd < 0 || ::bind(fd, reinterpret_cast<sockaddr*>(&at), size) != 0 ||
        ::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) != 0)
      throw std::runtime_error("no free port");
    held_.push_back(fd);
    return ntohs(at.sin_port);
  }

private:
  std::vector<int> held_;
};

} // namespace

loopback_cluster::loopback_cluster(int nodes, bool advertised) {
  free_ports free;
  const auto keys = dir_ / "keys";
  std::filesystem::create_directories(keys);
  std::string peers;
  for (int i = 0; i < nodes; ++i) {
    ports_.push_back({free.take(), free.take()});
    const auto made = run({.argv = {binary(), "keygen", (keys / name(i)).string()}});
    if (made.status != 0) throw std::runtime_error("keygen: " + made.err);
    peers += read_file(keys / (name(i) + ".pub"));
  }
  write_file(keys / "peers", peers);
  for (int i = 0; i < nodes; ++i) {
    auto node = std::make_unique<test_node>(dir_ / name(i));
    const auto http = "127.0.0.1:" + std::to_string(http_port(i));
    write_file(node->config(),
               "node: " + name(i) + "\ndata_dir: " + node->data().string() + "\nhttp: { listen: \"" + http + "\"" +
                   (advertised ? ", advertise: \"" + http + "\"" : "") +
                   " }\nlimits: { disk_reserve: 1MiB }\ncluster:\n  id: test\n" + "  etcd: { endpoints: [\"" + etcd_.endpoint() +
                   "\"] }\n  link: { listen: \"127.0.0.1:" + std::to_string(ports_[static_cast<std::size_t>(i)].link) +
                   "\", key: " + (keys / (name(i) + ".key")).string() + ", peers: " + (keys / "peers").string() +
                   " }\n  lease: 3s\n  labels: { zone: rack-" + name(i) + " }\n");
    nodes_.push_back(std::move(node));
  }
}

void loopback_cluster::start() {
  for (auto& n : nodes_) n->launch();
  for (auto& n : nodes_) n->wait_ready();
  for (int i = 0; i < static_cast<int>(nodes_.size()); ++i)
    eventually(
        "node " + name(i) + " reaches all others",
        [&] {
          const auto rows = status(i).at("nodes");
          std::size_t well = 0;
          for (const auto& n : rows)
            well += n.at("alive").get<bool>() && n.value("answers", false) && n.value("connected", n.at("node") == name(i));
          return well == nodes_.size();
        },
        seconds{60}, [this] { return logs(); });
}

void loopback_cluster::start(int i) { node(i).start(); }

json loopback_cluster::partition(const std::string& pipeline, int at) {
  const auto all = status(at); // named: at() keeps no temporary alive
  for (const auto& p : all.at("partitions"))
    if (p.at("pipeline") == pipeline) return p;
  return json::object();
}

json loopback_cluster::node_row(const std::string& node, int at) {
  const auto all = status(at);
  for (const auto& n : all.at("nodes"))
    if (n.at("node") == node) return n;
  return json::object();
}

std::string loopback_cluster::led(const std::string& pipeline, std::size_t copies, seconds limit) {
  std::string leader;
  eventually(
      "pipeline " + pipeline + " is led with " + std::to_string(copies) + " copies in sync",
      [&] {
        for (int i = 0; i < static_cast<int>(nodes_.size()); ++i) {
          if (!node(i).running()) continue;
          const auto p = partition(pipeline, i);
          leader = text_in(p, "/leader");
          return !leader.empty() && in(p, "/in_sync").size() >= copies && in(p, "/high_watermark") != 0;
        }
        return false;
      },
      limit, [this] { return logs(); });
  return leader;
}

std::string loopback_cluster::logs() {
  std::string out;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    const auto log = nodes_[i]->log();
    out += "---- " + name(static_cast<int>(i)) + "\n" + log.substr(log.size() > 3000 ? log.size() - 3000 : 0);
  }
  return out;
}

} // namespace millrace::testing
