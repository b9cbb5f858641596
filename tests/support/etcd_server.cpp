#include "tests/support/etcd_server.hpp"

#include <arpa/inet.h>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace millrace::testing {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

int free_port(const std::string& address) {
  const int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  socklen_t size = sizeof a;
  if (s < 0 || inet_pton(AF_INET, address.c_str(), &a.sin_addr) != 1 || bind(s, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0 ||
      getsockname(s, reinterpret_cast<sockaddr*>(&a), &size) != 0)
    throw std::runtime_error("no free port");
  close(s);
  return ntohs(a.sin_port);
}

bool listens(const std::string& address, int port) {
  const int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  inet_pton(AF_INET, address.c_str(), &a.sin_addr);
  a.sin_port = htons(static_cast<std::uint16_t>(port));
  const bool ok = s >= 0 && connect(s, reinterpret_cast<sockaddr*>(&a), sizeof a) == 0;
  if (s >= 0) close(s);
  return ok;
}

std::string slurp(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

std::string shell(const std::string& command) {
  std::string out;
  auto* pipe = popen((command + " 2>&1").c_str(), "r");
  if (!pipe) throw std::runtime_error("popen: " + std::string(std::strerror(errno)));
  char buffer[4096];
  while (const auto n = fread(buffer, 1, sizeof buffer, pipe)) out.append(buffer, n);
  if (const int status = pclose(pipe); status != 0) throw std::runtime_error(command + ": " + out);
  return out;
}

} // namespace

etcd_server::etcd_server() : etcd_server(options{}) {}

etcd_server::etcd_server(options o) : options_(std::move(o)) {
  const char* base = std::getenv("TMPDIR");
  folder_ = std::string(base && *base ? base : "/tmp") + "/mr-etcd-XXXXXX";
  if (!mkdtemp(folder_.data())) throw std::runtime_error("mkdtemp " + folder_ + ": " + std::strerror(errno));
  if (options_.tls) make_certificates();
  for (int i = 0; i < options_.members; ++i) {
    auto& m = members_.emplace_back();
    m.name = "e" + std::to_string(i);
    m.data = folder_ + "/" + m.name;
    m.client_port = free_port(options_.address);
    m.peer_port = free_port("127.0.0.1");
    initial_cluster_ += (i ? "," : "") + m.name + "=http://127.0.0.1:" + std::to_string(m.peer_port);
  }
  start_all();
  if (options_.password.empty()) return;
  ctl("user add root:" + options_.password);
  ctl("user grant-role root root");
  ctl("user add millrace:" + options_.password);
  ctl("role add millrace");
  ctl("role grant-permission millrace readwrite --prefix=true " + options_.user_prefix);
  ctl("user grant-role millrace millrace");
  ctl("auth enable");
  authenticated_ = true;
}

etcd_server::~etcd_server() {
  try {
    kill9_all();
  } catch (const std::exception& e) {
    std::cerr << "stopping etcd: " << e.what() << '\n';
  }
  if (std::getenv("MILLRACE_KEEP")) {
    std::cerr << "kept: " << folder_ << '\n';
    return;
  }
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void etcd_server::make_certificates() const {
  shell("cd '" + folder_ +
        "' && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=millrace-test-ca -keyout ca.key -out ca.pem && "
        "openssl req -newkey rsa:2048 -nodes -subj /CN=etcd -keyout server.key -out server.csr && "
        "printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\\nextendedKeyUsage=serverAuth,clientAuth\\n' > server.ext && "
        "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile server.ext -out server.pem");
}

void etcd_server::launch(member& m) {
  const auto client = endpoint(static_cast<int>(&m - members_.data()));
  const auto peer = "http://127.0.0.1:" + std::to_string(m.peer_port);
  std::vector<std::string> words{"etcd",
                                 "--name=" + m.name,
                                 "--data-dir=" + m.data,
                                 "--listen-client-urls=" + client,
                                 "--advertise-client-urls=" + client,
                                 "--listen-peer-urls=" + peer,
                                 "--initial-advertise-peer-urls=" + peer,
                                 "--initial-cluster=" + initial_cluster_,
                                 "--initial-cluster-token=" + folder_,
                                 "--log-level=warn",
                                 "--auth-token-ttl=" + std::to_string(options_.token_ttl_seconds)};
  if (options_.tls) {
    words.push_back("--cert-file=" + folder_ + "/server.pem");
    words.push_back("--key-file=" + folder_ + "/server.key");
  }
  words.insert(words.end(), options_.arguments.begin(), options_.arguments.end());
  std::vector<char*> arguments;
  for (auto& w : words) arguments.push_back(w.data());
  arguments.push_back(nullptr);
  const auto log = folder_ + "/" + m.name + ".log";
  m.pid = fork();
  if (m.pid < 0) throw std::runtime_error("fork: " + std::string(std::strerror(errno)));
  if (m.pid > 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL); // between fork and exec: only what is safe there
  const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (out < 0 || in < 0) _exit(125);
  dup2(in, 0);
  dup2(out, 1);
  dup2(out, 2);
  for (int s : {SIGINT, SIGTERM, SIGQUIT, SIGPIPE, SIGHUP}) std::signal(s, SIG_DFL);
  sigset_t nothing;
  sigemptyset(&nothing);
  sigprocmask(SIG_SETMASK, &nothing, nullptr);
  for (int fd = 3; fd < 1024; ++fd) fcntl(fd, F_SETFD, FD_CLOEXEC);
  execvp(arguments[0], arguments.data());
  _exit(127);
}

void etcd_server::wait_until_it_listens(const member& m) const {
  for (const auto deadline = clock::now() + 30s; !listens(options_.address, m.client_port); std::this_thread::sleep_for(10ms)) {
    int status = 0;
    if (waitpid(m.pid, &status, WNOHANG) == m.pid) {
      const_cast<member&>(m).pid = -1;
      throw std::runtime_error("etcd ended at its start (is etcd-server installed?): " + slurp(folder_ + "/" + m.name + ".log"));
    }
    if (clock::now() > deadline)
      throw std::runtime_error("etcd did not listen within 30 s: " + slurp(folder_ + "/" + m.name + ".log"));
  }
}

void etcd_server::reap(member& m) {
  int status = 0;
  while (waitpid(m.pid, &status, 0) < 0 && errno == EINTR) {
  }
  m.pid = -1;
}

std::string etcd_server::endpoint(int member) const {
  return (options_.tls ? "https://" : "http://") + options_.address + ":" +
         std::to_string(members_[static_cast<std::size_t>(member)].client_port);
}

std::vector<std::string> etcd_server::endpoints() const {
  std::vector<std::string> all;
  for (int i = 0; i < members(); ++i) all.push_back(endpoint(i));
  return all;
}

std::vector<int> etcd_server::ports() const {
  std::vector<int> all;
  for (const auto& m : members_) all.push_back(m.client_port);
  return all;
}

void etcd_server::kill9(int member) {
  auto& m = members_[static_cast<std::size_t>(member)];
  if (m.pid <= 0) return;
  ::kill(m.pid, SIGKILL);
  reap(m);
}
void etcd_server::freeze(int member) { ::kill(members_[static_cast<std::size_t>(member)].pid, SIGSTOP); }
void etcd_server::thaw(int member) { ::kill(members_[static_cast<std::size_t>(member)].pid, SIGCONT); }

void etcd_server::start(int member) {
  auto& m = members_[static_cast<std::size_t>(member)];
  if (m.pid > 0) return;
  launch(m);
  wait_until_it_listens(m);
}

void etcd_server::wipe(int member) { std::filesystem::remove_all(members_[static_cast<std::size_t>(member)].data); }

void etcd_server::kill9_all() {
  for (int i = 0; i < members(); ++i) kill9(i);
}

void etcd_server::start_all() {
  for (auto& m : members_)
    if (m.pid <= 0) launch(m);
  for (auto& m : members_) wait_until_it_listens(m); // a member of a new cluster listens once there is a leader
  (void)leader();
}

int etcd_server::leader() const {
  for (const auto deadline = clock::now() + 20s;; std::this_thread::sleep_for(20ms)) {
    for (int i = 0; i < members(); ++i) {
      if (!running(i)) continue;
      try {
        // endpoint, id, version, size, leader?, learner?, ...
        const auto line = ctl("endpoint status", i);
        std::istringstream in(line);
        std::string field;
        for (int k = 0; k < 5; ++k) std::getline(in, field, ',');
        if (field.find("true") != field.npos) return i;
      } catch (const std::runtime_error&) {
        if (clock::now() > deadline) throw;
      }
    }
    if (clock::now() > deadline) throw std::runtime_error("etcd has no leader after 20 s");
  }
}

void etcd_server::compact() {
  const auto line = ctl("endpoint status -w json");
  const auto at = line.find("\"revision\":");
  if (at == line.npos) throw std::runtime_error("no revision in: " + line);
  ctl("compaction " + std::to_string(std::atoll(line.c_str() + at + 11)));
}

std::string etcd_server::ctl(const std::string& arguments, int member) const {
  auto at = member;
  for (int i = 0; at < 0 && i < members(); ++i)
    if (running(i)) at = i;
  if (at < 0) throw std::runtime_error("no member of etcd is running");
  auto command = "ETCDCTL_API=3 etcdctl --dial-timeout=2s --command-timeout=5s --endpoints=" + endpoint(at);
  if (options_.tls) command += " --cacert=" + ca();
  if (authenticated_) command += " --user=root:" + options_.password;
  return shell(command + " " + arguments);
}

std::string etcd_server::log(int member) const {
  return slurp(folder_ + "/" + members_[static_cast<std::size_t>(member)].name + ".log");
}

} // namespace millrace::testing
