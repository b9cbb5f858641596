#pragma once
// Who is in the cluster, and this node's own place in it.
//
//   thread: grant lease ──> node/ID created under it (its create revision is the session) ──> keep alive every lease/3
//              ^                                                                                   │
//              └────────────────── the lease has ended, or the key is gone <───────────────────────┘
//
// Nothing is safe because of this: a lease that ends causes an election, epochs protect (replication.md section 2). So a node
// that cannot reach the catalog goes on with what it leads, says so, and tries again.

#include "actors/cluster/node_record.hpp"
#include "storage/catalog_mirror.hpp"

#include <condition_variable>
#include <thread>

namespace millrace::actors::cluster {

struct member {
  std::string node;
  bool alive = false;
  std::uint64_t session = 0; ///< of an alive one
  node_record record;        ///< of a dead one: the last known
  bool draining = false, leaving = false;
};

/// From the catalog's node/, host/, drain/, leave/; by name.
std::vector<member> members_of(const storage::catalog_mirror& mirror);

struct membership_options {
  std::string node;
  node_record record; ///< `process` 0: one is drawn; `lease` is filled in
  std::chrono::milliseconds lease{5000};
  std::function<void(const std::string& line)> log;
  /// A session began: at the start, and after a lost lease. What this node led under an older one is over. On membership's
  /// thread; must not block, nor destroy the membership.
  std::function<void(std::uint64_t session)> on_session;
};

struct membership_status {
  enum class state : std::uint8_t {
    joining,     ///< no session yet, or it has just ended
    member,      ///< the lease was kept alive in time
    unreachable, ///< the catalog does not answer; the session may be over
    refused,     ///< another process with this node's id is alive
  } state = state::joining;
  std::uint64_t session = 0;                          ///< the present or last one
  std::chrono::milliseconds since_alive{};            ///< since the lease was last kept alive
  std::string reason;                                 ///< of unreachable and refused, for an operator
  std::uint64_t sessions = 0, keepalive_failures = 0; ///< since the start
};
const char* to_string(enum membership_status::state s);

/// Owner: runtime. Thread safe.
class membership {
public:
  /// Both must outlive it; the mirror covers all of the catalog (or the prefixes above). Begins to join at once.
  membership(storage::catalog& catalog, storage::catalog_mirror& mirror, membership_options options);
  /// Gives the session back, if the catalog answers, so that others need not wait for the lease's end.
  ~membership();
  membership(const membership&) = delete;
  membership& operator=(const membership&) = delete;

  /// The session. Errors: conflict if another process uses this id (known after it has outlived its lease: a killed predecessor's
  /// lease ends by itself); unavailable if there is none yet after `within`. Joining goes on in any case.
  storage::result<std::uint64_t> wait_joined(std::chrono::milliseconds within);
  /// 0 while there is none that we know to be alive.
  std::uint64_t session() const;
  /// What keys of this session are written under; 0 without a session.
  std::uint64_t lease() const;
  membership_status status() const;
  std::vector<member> members() const { return members_of(mirror_); }
  const std::string& node() const { return options_.node; }

private:
  using clock = std::chrono::steady_clock;
  void run(std::stop_token stop);
  /// Gives how long to wait before the next step.
  std::chrono::milliseconds join(std::stop_token stop);
  std::chrono::milliseconds keep_alive();
  std::chrono::milliseconds occupied(const storage::catalog_entry& entry);
  void began(std::uint64_t session);
  void ended(const std::string& why);
  void cannot(const storage::failure& why);
  void say(const std::string& line) const;

  storage::catalog& catalog_;
  storage::catalog_mirror& mirror_;
  membership_options options_;
  const std::string key_;

  mutable std::mutex mutex_;
  mutable std::condition_variable_any changed_;
  membership_status status_;
  bool has_session_ = false;
  std::uint64_t lease_ = 0;
  clock::time_point alive_at_ = clock::now();

  // The thread's own.
  std::uint64_t occupant_ = 0; ///< create revision of somebody else's key
  clock::time_point occupied_since_;

  std::unique_ptr<storage::catalog_mirror::listener> listener_;
  std::jthread thread_; ///< last: it uses everything above
};

} // namespace millrace::actors::cluster
