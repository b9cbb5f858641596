#pragma once
// etcd of a test's own: one member or a cluster, on 127.0.0.1, free ports, a temporary folder. Links none of Millrace's code.

#include <string>
#include <sys/types.h>
#include <vector>

namespace millrace::testing {

/// Owner: one test, on one thread. The members are children of this process and die with the thread that started them, so that a
/// test that crashes leaves none behind; the folder goes with the object (MILLRACE_KEEP=1 keeps it and says where).
/// Needs etcd and etcdctl (Debian's etcd-server, etcd-client), and openssl for TLS.
/// Errors: std::runtime_error with etcd's own log.
class etcd_server {
public:
  struct options {
    int members = 1;
    bool tls = false;        ///< clients by https, with certificates of a CA of its own
    std::string password;    ///< not empty: authentication on, for users `root` and `millrace`
    std::string user_prefix; ///< what `millrace` may read and write
    int token_ttl_seconds = 300;
    std::string address = "127.0.0.1";  ///< where clients are listened to; members speak on 127.0.0.1
    std::vector<std::string> arguments; ///< more of etcd's own
  };
  etcd_server();
  explicit etcd_server(options o); ///< starts it and waits until it has a leader
  ~etcd_server();
  etcd_server(const etcd_server&) = delete;
  etcd_server& operator=(const etcd_server&) = delete;

  int members() const { return static_cast<int>(members_.size()); }
  std::string endpoint(int member = 0) const; ///< its client URL
  std::vector<std::string> endpoints() const;
  std::vector<int> ports() const;                        ///< for clients
  std::string ca() const { return folder_ + "/ca.pem"; } ///< with TLS

  void kill9(int member);  ///< SIGKILL; answers once it is gone
  void freeze(int member); ///< SIGSTOP
  void thaw(int member);   ///< SIGCONT
  void start(int member);  ///< again, with its data; answers once it listens
  void wipe(int member);   ///< its data, while it is gone
  bool running(int member) const { return members_[static_cast<std::size_t>(member)].pid > 0; }
  void kill9_all();
  void start_all(); ///< those that are not running; answers once there is a leader

  int leader() const; ///< the member that leads; throws if there is none within 20 s
  void compact();     ///< all history but the newest revision
  /// etcdctl (API 3) with `arguments`, as root if there is authentication; what it printed. Throws if it fails.
  std::string ctl(const std::string& arguments, int member = -1) const;
  std::string log(int member = 0) const;

private:
  struct member {
    std::string name, data;
    int client_port = 0, peer_port = 0;
    pid_t pid = -1;
  };
  void make_certificates() const;
  void launch(member& m);
  void wait_until_it_listens(const member& m) const;
  void reap(member& m);
  options options_;
  std::string folder_, initial_cluster_;
  std::vector<member> members_;
  bool authenticated_ = false;
};

} // namespace millrace::testing
