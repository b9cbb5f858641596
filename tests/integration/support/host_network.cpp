#include "tests/integration/support/host_network.hpp"

#include "tests/integration/support/process.hpp"
#include "tests/integration/support/temp_dir.hpp"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <unistd.h>

namespace millrace::testing {
namespace {

constexpr const char* family = "mrh"; // an interface's name has 15 bytes: mrhPID, then a letter and a number

std::string program(const char* name) {
  for (const auto* folder : {"/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"})
    if (const auto path = std::string(folder) + name; std::filesystem::exists(path)) return path;
  return {};
}

} // namespace

host_network::host_network(int hosts) : hosts_(hosts) {
  // What a killed test left: its process is gone.
  std::error_code none;
  for (const auto& e : std::filesystem::directory_iterator("/run/netns", none)) {
    const auto name = e.path().filename().string();
    if (!name.starts_with(family)) continue;
    const auto pid = std::atoi(name.c_str() + 3);
    if (pid > 0 && ::kill(pid, 0) != 0 && errno == ESRCH) remove(family + std::to_string(pid));
  }
  prefix_ = family + std::to_string(::getpid());
  why_not_ = std::getenv("MILLRACE_NO_NAMESPACES") ? "MILLRACE_NO_NAMESPACES is set" : make(hosts);
  if (!available()) remove(prefix_);
}

host_network::~host_network() { remove(prefix_); }

std::string host_network::make(int hosts) {
  if (program("ip").empty() || program("nft").empty()) return "no iproute2 or no nftables";
  try {
    // 198.18.0.0/15 is for benchmarks of networks: nobody's. Another test's network is passed over.
    for (int i = 0;; ++i) {
      const auto number = (::getpid() + i * 7) & 511;
      net_ = "198." + std::to_string(18 + (number >> 8)) + "." + std::to_string(number & 255);
      const auto taken = run({.argv = {program("ip"), "-o", "addr", "show", "to", net_ + ".0/24"}}, seconds{10});
      if (taken.status == 0 && taken.out.empty()) break;
      if (i == 20) return "no free network: " + taken.err;
    }
    const auto bridge = prefix_ + "b";
    ip({"link", "add", bridge, "type", "bridge"});
    ip({"addr", "add", net_ + ".1/24", "dev", bridge});
    ip({"link", "set", bridge, "up"});
    for (int i = 0; i < hosts; ++i) {
      const auto outer = prefix_ + "v" + std::to_string(i);
      ip({"netns", "add", ns(i)});
      ip({"link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", ns(i)});
      ip({"link", "set", outer, "master", bridge, "up"});
      ip({"-n", ns(i), "addr", "add", net_ + "." + std::to_string(10 + i) + "/24", "dev", "eth0"});
      ip({"-n", ns(i), "link", "set", "eth0", "up"});
      ip({"-n", ns(i), "link", "set", "lo", "up"});
      heal(i);
    }
  } catch (const std::runtime_error& e) {
    return e.what();
  }
  return {};
}

void host_network::remove(const std::string& prefix) const {
  const auto tool = program("ip");
  if (tool.empty()) return;
  std::error_code none;
  std::vector<std::string> names;
  for (const auto& e : std::filesystem::directory_iterator("/run/netns", none))
    if (const auto name = e.path().filename().string(); name.starts_with(prefix + "n")) names.push_back(name);
  for (const auto& name : names) (void)run({.argv = {tool, "netns", "del", name}}, seconds{10}); // its veths go with it
  if (std::filesystem::exists("/sys/class/net/" + prefix + "b"))
    (void)run({.argv = {tool, "link", "del", prefix + "b"}}, seconds{10});
}

void host_network::ip(std::vector<std::string> words) const {
  words.insert(words.begin(), program("ip"));
  const auto done = run({.argv = words}, seconds{10});
  if (done.status != 0) throw std::runtime_error("ip: " + done.err);
}

void host_network::nft(int host, const std::string& script) const {
  const auto done = run({.argv = {program("ip"), "netns", "exec", ns(host), program("nft"), script}}, seconds{10});
  if (done.status != 0) throw std::runtime_error("nft " + script + ": " + done.err);
}

std::string host_network::address(int host) const { return available() ? net_ + "." + std::to_string(10 + host) : "127.0.0.1"; }

std::vector<std::string> host_network::inside(int host) const {
  if (!available()) return {};
  return {program("ip"), "netns", "exec", ns(host)};
}

void host_network::cut(int host, const std::string& address, const std::vector<int>& ports, way which) {
  if (!available()) throw std::runtime_error("nothing can be cut: " + why_not_);
  std::string list;
  for (const auto port : ports) list += (list.empty() ? "" : ", ") + std::to_string(port);
  std::string script;
  auto rule = [&](const std::string& chain, const std::string& side) {
    if (ports.empty()) script += "add rule inet faults " + chain + " ip " + side + " " + address + " drop\n";
    for (const auto* end : {"sport", "dport"})
      if (!ports.empty())
        script += "add rule inet faults " + chain + " ip " + side + " " + address + " tcp " + end + " { " + list + " } drop\n";
  };
  if (which != way::out) rule("incoming", "saddr");
  if (which != way::in) rule("outgoing", "daddr");
  nft(host, script);
}

void host_network::unplug(int host) {
  if (!available()) throw std::runtime_error("nothing can be cut: " + why_not_);
  nft(host, "add rule inet faults incoming iifname eth0 drop\nadd rule inet faults outgoing oifname eth0 drop\n");
}

void host_network::heal(int host) {
  if (net_.empty()) return;
  nft(host, "add table inet faults\nflush table inet faults\n"
            "add chain inet faults incoming { type filter hook input priority 0; }\n"
            "add chain inet faults outgoing { type filter hook output priority 0; }\n");
}

void host_network::heal_all() {
  for (int i = 0; available() && i < hosts_; ++i) heal(i);
}

} // namespace millrace::testing
