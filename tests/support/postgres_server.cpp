#include "tests/support/postgres_server.hpp"

#include <arpa/inet.h>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <grp.h>
#include <iostream>
#include <pwd.h>
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
namespace fs = std::filesystem;

/// The newest version that is installed; MILLRACE_PG_BIN names another.
const std::string& programs() {
  static const std::string found = [] {
    if (const char* set = std::getenv("MILLRACE_PG_BIN")) return std::string(set);
    std::string best;
    int version = 0;
    std::error_code none;
    for (const auto& e : fs::directory_iterator("/usr/lib/postgresql", none)) {
      const int v = std::atoi(e.path().filename().c_str());
      if (v > version && fs::exists(e.path() / "bin/initdb")) version = v, best = e.path() / "bin";
    }
    if (best.empty()) throw std::runtime_error("no PostgreSQL server is installed; expected /usr/lib/postgresql/*/bin/initdb");
    return best;
  }();
  return found;
}

struct account {
  uid_t user;
  gid_t group;
  bool other; ///< we are root and must become it
};
account server_account() {
  if (geteuid() != 0) return {geteuid(), getegid(), false};
  const auto* p = getpwnam("postgres");
  if (!p) throw std::runtime_error("no user postgres; a PostgreSQL server does not run as root");
  return {p->pw_uid, p->pw_gid, true};
}

/// Between fork and exec: only what is safe there.
[[noreturn]] void become(const account& who, const std::vector<char*>& arguments, const char* log, bool die_with_us) {
  if (who.other && (setgroups(0, nullptr) != 0 || setgid(who.group) != 0 || setuid(who.user) != 0)) _exit(126);
  if (die_with_us) prctl(PR_SET_PDEATHSIG, SIGQUIT); // after the change of user, which would clear it
  const int out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (out < 0 || in < 0) _exit(125);
  dup2(in, 0);
  dup2(out, 1);
  dup2(out, 2);
  if (chdir("/") != 0) _exit(124);
  for (int s : {SIGINT, SIGTERM, SIGQUIT, SIGPIPE, SIGHUP}) std::signal(s, SIG_DFL);
  sigset_t nothing;
  sigemptyset(&nothing);
  sigprocmask(SIG_SETMASK, &nothing, nullptr);
  for (int fd = 3; fd < 1024; ++fd) fcntl(fd, F_SETFD, FD_CLOEXEC);
  execv(arguments[0], arguments.data());
  _exit(127);
}

pid_t launch(const std::vector<std::string>& command, const std::string& log, bool die_with_us) {
  const auto who = server_account();
  std::vector<char*> arguments;
  for (const auto& a : command) arguments.push_back(const_cast<char*>(a.c_str()));
  arguments.push_back(nullptr);
  const pid_t pid = fork();
  if (pid < 0) throw std::runtime_error("fork: " + std::string(std::strerror(errno)));
  if (pid == 0) become(who, arguments, log.c_str(), die_with_us);
  return pid;
}

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

std::string slurp(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

std::string run_all(PGconn* c, const std::string& sql) {
  if (!PQsendQuery(c, sql.c_str())) throw std::runtime_error(PQerrorMessage(c));
  std::string rows, why;
  while (auto* r = PQgetResult(c)) {
    const auto status = PQresultStatus(r);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_EMPTY_QUERY && why.empty())
      why = PQresultErrorMessage(r);
    rows.clear();
    for (int i = 0; i < PQntuples(r); ++i) {
      if (i) rows += '\n';
      for (int k = 0; k < PQnfields(r); ++k) {
        if (k) rows += '|';
        rows += PQgetisnull(r, i, k) ? "NULL" : PQgetvalue(r, i, k);
      }
    }
    PQclear(r);
    if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
      why = "COPY is not for query()";
      break;
    }
  }
  if (!why.empty()) throw std::runtime_error(sql.substr(0, 200) + ": " + why);
  return rows;
}

} // namespace

postgres_server::postgres_server() : postgres_server(options{}) {}

postgres_server::postgres_server(options o) : options_(std::move(o)) {
  const char* base = std::getenv("TMPDIR");
  folder_ = std::string(base && *base ? base : "/tmp") + "/mr-pg-XXXXXX"; // short: a socket's path has 107 bytes
  if (!mkdtemp(folder_.data())) throw std::runtime_error("mkdtemp " + folder_ + ": " + std::strerror(errno));
  const auto who = server_account();
  if (who.other && chown(folder_.c_str(), who.user, who.group) != 0) throw std::runtime_error("chown " + folder_);
  data_ = folder_ + "/data";
  const auto said = folder_ + "/initdb.log";
  const pid_t pid = launch({programs() + "/initdb", "-D", data_, "-U", "postgres", "-A", "trust", "-E", "UTF8",
                            "--locale=C.UTF-8", "--no-sync", "--no-instructions"},
                           said, true);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) throw std::runtime_error("initdb: " + slurp(said));
  port_ = free_port(options_.address);
  std::ofstream conf(data_ + "/postgresql.conf", std::ios::app);
  conf << "listen_addresses = '" << options_.address << "'\nunix_socket_directories = '" << folder_ << "'\nport = " << port_
       << "\nmax_connections = 60\nshared_buffers = 128MB\nlog_line_prefix = '%m [%p] '\n";
  if (!options_.durable) conf << "fsync = off\nfull_page_writes = off\n";
  for (const auto& line : options_.settings) conf << line << '\n';
  conf.close();
  if (!options_.network.empty())
    std::ofstream(data_ + "/pg_hba.conf", std::ios::app)
        << "host all all " << options_.network << " trust\nhost replication all " << options_.network << " trust\n";
  if (options_.auth != "trust") {
    std::ofstream hba(data_ + "/pg_hba.conf", std::ios::trunc);
    hba << "local all all trust\nlocal replication all trust\nhost all all 127.0.0.1/32 " << options_.auth
        << "\nhost replication all 127.0.0.1/32 " << options_.auth << '\n';
  }
}

postgres_server::~postgres_server() {
  try {
    if (running()) stop(stop_mode::immediate);
  } catch (const std::exception& e) {
    std::cerr << "stopping PostgreSQL: " << e.what() << '\n';
  }
  if (std::getenv("MILLRACE_KEEP")) {
    std::cerr << "kept: " << folder_ << '\n';
    return;
  }
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

void postgres_server::start() {
  if (running()) throw std::runtime_error("the server runs already");
  const auto deadline = std::chrono::steady_clock::now() + 60s;
  const auto where = socket_conninfo();
  for (;;) {
    pid_ = launch({programs() + "/postgres", "-D", data_}, folder_ + "/server.log", true);
    for (;;) {
      int status = 0;
      const pid_t ended = waitpid(pid_, &status, WNOHANG);
      if (ended == pid_) { // orphans of a killed postmaster hold the shared memory for a moment
        pid_ = -1;
        break;
      }
      if (PQping(where.c_str()) == PQPING_OK) return;
      if (std::chrono::steady_clock::now() > deadline) throw std::runtime_error("PostgreSQL did not start in 60 s: " + log());
      std::this_thread::sleep_for(10ms);
    }
    if (std::chrono::steady_clock::now() > deadline) throw std::runtime_error("PostgreSQL does not start: " + log());
    std::this_thread::sleep_for(50ms);
  }
}

void postgres_server::reap() {
  const auto deadline = std::chrono::steady_clock::now() + 60s;
  int status = 0;
  while (waitpid(pid_, &status, WNOHANG) != pid_) {
    if (std::chrono::steady_clock::now() > deadline) throw std::runtime_error("PostgreSQL did not stop in 60 s: " + log());
    std::this_thread::sleep_for(5ms);
  }
  pid_ = -1;
}

void postgres_server::stop(stop_mode mode) {
  if (!running()) return;
  thaw();
  ::kill(pid_, mode == stop_mode::smart ? SIGTERM : mode == stop_mode::fast ? SIGINT : SIGQUIT);
  reap();
}

std::vector<pid_t> postgres_server::family() const {
  std::vector<pid_t> out{pid_};
  for (const auto& e : fs::directory_iterator("/proc")) {
    const auto name = e.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const auto stat = slurp(e.path() / "stat"); // PID (NAME) STATE PARENT
    const auto close = stat.rfind(')');
    int parent = 0;
    if (close != std::string::npos && std::sscanf(stat.c_str() + close + 1, " %*c %d", &parent) == 1 && parent == pid_)
      out.push_back(std::atoi(name.c_str()));
  }
  return out;
}

void postgres_server::kill9() {
  if (!running()) return;
  ::kill(pid_, SIGSTOP); // it makes no new children while we look
  for (const auto p : family())
    if (p != pid_) ::kill(p, SIGKILL);
  ::kill(pid_, SIGKILL);
  reap();
}

void postgres_server::freeze() {
  if (!running()) return;
  ::kill(pid_, SIGSTOP);
  for (const auto p : family()) ::kill(p, SIGSTOP);
}

void postgres_server::thaw() {
  if (!running()) return;
  for (const auto p : family()) ::kill(p, SIGCONT);
}

std::string postgres_server::log() const { return slurp(folder_ + "/server.log"); }

std::string postgres_server::conninfo(const std::string& dbname, const std::string& user) const {
  return "host=" + options_.address + " port=" + std::to_string(port_) + " dbname=" + dbname + " user=" + user;
}

std::string postgres_server::socket_conninfo(const std::string& dbname, const std::string& user) const {
  return "host=" + folder_ + " port=" + std::to_string(port_) + " dbname=" + dbname + " user=" + user;
}

std::string postgres_server::query(const std::string& sql, const std::string& dbname) const {
  return postgres_client(socket_conninfo(dbname)).query(sql);
}

postgres_client::postgres_client(const std::string& conninfo) : c_(PQconnectdb(conninfo.c_str()), &PQfinish) {
  if (PQstatus(c_.get()) != CONNECTION_OK) throw std::runtime_error(PQerrorMessage(c_.get()));
  PQsetNoticeProcessor(
      c_.get(), [](void*, const char*) {}, nullptr);
}

std::string postgres_client::query(const std::string& sql) { return run_all(c_.get(), sql); }

} // namespace millrace::testing
