#pragma once
// Hosts of a test's own: network namespaces on a bridge, and cuts between them. Links none of Millrace's code.
//
//   this process's namespace: bridge NET.1 (etcd, databases, proxies) <── veth ──> namespace of host i: NET.(10+i)

#include <string>
#include <vector>

namespace millrace::testing {

/// Owner: one test, one thread. Names hold this process's id, so that several tests stand beside each other; what a process left
/// that is gone is removed at the next start. Needs CAP_NET_ADMIN, iproute2 and nftables: available() is false without them, and
/// then every address is 127.0.0.1 and nothing can be cut.
class host_network {
public:
  explicit host_network(int hosts);
  ~host_network();
  host_network(const host_network&) = delete;
  host_network& operator=(const host_network&) = delete;

  bool available() const noexcept { return why_not_.empty(); }
  const std::string& why_not() const noexcept { return why_not_; }
  std::string outside() const { return available() ? net_ + ".1" : "127.0.0.1"; } ///< where hosts reach this process
  std::string address(int host) const;
  std::string subnet() const { return available() ? net_ + ".0/24" : "127.0.0.0/8"; }
  /// Words before a command that is to run on a host; none where there are no namespaces.
  std::vector<std::string> inside(int host) const;

  /// What a cut loses, seen from a host: what comes in, what goes out, or both.
  enum class way { both, in, out };
  /// Packets between `host` and these TCP ports of `address` (of either side; none: all traffic) are lost from now on.
  void cut(int host, const std::string& address, const std::vector<int>& ports = {}, way which = way::both);
  /// The host's cable: everything is lost.
  void unplug(int host);
  void heal(int host);
  void heal_all();

private:
  std::string make(int hosts);
  void remove(const std::string& prefix) const;
  void ip(std::vector<std::string> words) const;
  void nft(int host, const std::string& script) const;
  std::string ns(int host) const { return prefix_ + "n" + std::to_string(host); }
  std::string prefix_, net_, why_not_;
  int hosts_ = 0;
};

} // namespace millrace::testing
