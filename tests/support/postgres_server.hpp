#pragma once
// A PostgreSQL server of a test's own: a cluster in a temporary folder, a free port, a socket directory of its own. Links none of
// Millrace's code.

#include <libpq-fe.h>

#include <filesystem>
#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

namespace millrace::testing {

/// Owner: one test. The server is a child of this process and dies with the thread that started it (PR_SET_PDEATHSIG), so that a
/// test that crashes leaves no server behind; its folder goes with the object (MILLRACE_KEEP=1 keeps it and says where).
/// PostgreSQL refuses to run as root: as root the server runs as user `postgres` (from the package).
/// Errors: std::runtime_error with the server's log.
class postgres_server {
public:
  struct options {
    std::vector<std::string> settings; ///< lines of postgresql.conf: "wal_level = logical"
    bool durable = false;              ///< fsync; a test that kills the server (not the machine) needs none
    std::string auth = "trust";        ///< for TCP, as pg_hba.conf names it: trust, scram-sha-256
    std::string address = "127.0.0.1"; ///< where it listens; conninfo() names it
    std::string network = {};          ///< not empty: who may come besides 127.0.0.1, "198.18.0.0/24"
  };
  enum class stop_mode { smart, fast, immediate };

  postgres_server(); ///< makes a cluster; starts nothing
  explicit postgres_server(options o);
  ~postgres_server();
  postgres_server(const postgres_server&) = delete;
  postgres_server& operator=(const postgres_server&) = delete;

  /// Answers once it takes connections.
  void start();
  /// Answers once it is gone.
  void stop(stop_mode mode = stop_mode::fast);
  /// The postmaster and every process of it, at once, by SIGKILL.
  void kill9();
  void restart(stop_mode mode = stop_mode::fast) {
    stop(mode);
    start();
  }
  /// SIGSTOP and SIGCONT to the postmaster and every process of it: a server that hangs.
  void freeze();
  void thaw();
  bool running() const noexcept { return pid_ > 0; }

  int port() const noexcept { return port_; }
  const std::string& data_dir() const noexcept { return data_; }
  const std::string& socket_dir() const noexcept { return folder_; }
  std::string log() const; ///< all that the server said
  /// "host=ADDRESS port=... dbname=... user=postgres"
  std::string conninfo(const std::string& dbname = "postgres", const std::string& user = "postgres") const;
  /// The same through the socket: faster, and no TCP.
  std::string socket_conninfo(const std::string& dbname = "postgres", const std::string& user = "postgres") const;

  /// Runs statements, one after the other; each row of the last one as "a|b|NULL", rows separated by newlines.
  /// Throws what the server said.
  std::string query(const std::string& sql, const std::string& dbname = "postgres") const;
  void create_database(const std::string& name) const { query("CREATE DATABASE \"" + name + "\""); }

private:
  std::vector<pid_t> family() const; ///< the postmaster and its children
  void reap();
  options options_;
  std::string folder_, data_;
  int port_ = 0;
  pid_t pid_ = -1;
};

/// A connection of somebody else.
class postgres_client {
public:
  explicit postgres_client(const std::string& conninfo);
  /// As postgres_server::query.
  std::string query(const std::string& sql);
  PGconn* get() const noexcept { return c_.get(); }

private:
  std::unique_ptr<PGconn, decltype(&PQfinish)> c_;
};

} // namespace millrace::testing
