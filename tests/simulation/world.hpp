#pragma once
// One run: nodes with the real replication state machine, and everything around them simulated from one seed.
//
//   faults.cpp   what goes wrong and when, within the limits of the promises
//   node.cpp     drives a replica as the stage actor does: disk, messages, registry
//   flow.cpp     the source and the destination (replication.md sections 11 and 12)
//   checker.cpp  the promises P1-P4 and invariants I5-I10, checked after every step

#include "disk.hpp"
#include "registry.hpp"

#include <memory>

namespace millrace::simulation {

/// Mistakes outside of the replica; those inside of it are rp::bugs.
struct world_bugs {
  rp::bugs replica;
  bool sink_blind = false;         ///< the destination's commit compares neither epoch nor offset
  bool sink_ignores_epoch = false; ///< ... compares the offset only
  bool keep_identity = false;      ///< an emptied disk keeps its store
};

struct settings {
  std::uint64_t seed = 0;
  world_bugs bugs;
  bool trace = false;
};

struct node {
  std::string name;
  unsigned index = 0;
  disk storage;
  std::unique_ptr<rp::replica> machine;
  std::uint64_t life = 0; ///< counts its processes: what was meant for an earlier one is dropped
  bool up = false, paused = false, registry_cut = false;
  std::vector<std::function<void()>> inbox; ///< while paused
  std::uint64_t session = 0;                ///< what it believes
  sim_time unreachable_since = 0, watch_time = 0;
  std::int64_t clock_offset_ms = 0;
  unsigned clock_percent = 100;
  sim_time sync_max = 2000;
  bool syncing = false;
  bool may_lead = false; ///< begin_epoch was done
  st::epoch log_epoch;
  bool dirty = false; ///< lost synced data and is not refilled
  bool stored_verified = false;
  st::offset hw_seen;
  st::epoch epoch_seen;
  std::set<rp::alarm_kind> alarms;
  std::vector<disk_image> backups;
  // The load that runs beside the leader
  enum class load_state : std::uint8_t { idle, claiming, ready, applying } load = load_state::idle;
  std::uint64_t load_number = 0;
  st::offset load_offset;
  sim_time load_since = 0;
};

/// The seam for the link's state machine: encoded messages between two nodes, with no promise at all.
class network {
public:
  virtual ~network() = default;
  virtual void send(unsigned from, unsigned to, rp::wire_message m) = 0;
};

class world final : network {
public:
  explicit world(settings s);
  /// Throws broken. Chaos, then everything heals, then all must flow again.
  void run();
  std::uint64_t steps() const { return time_.steps(); }
  std::uint64_t acknowledged() const { return acked_.size(); }
  std::uint64_t faults() const { return faults_; }
  bool stopped_for_operator() const { return stopped_; }

private:
  static constexpr sim_time ms = 1000;

  // world.cpp
  void trace(const std::string& text);
  template <class... Text>
  void note(const Text&... text) {
    if (settings_.trace) trace((std::string() + ... + text));
  }
  std::string state_of(const node& n) const;
  unsigned number_of(const std::string& name) const { return static_cast<unsigned>(name[0] - 'a'); }
  void send(unsigned from, unsigned to, rp::wire_message m) override;
  bool converged();
  bool needs_operator();
  void heal();

  // node.cpp
  void start(node& n);
  void crash(node& n, const char* why);
  template <class F>
  void later(node& n, sim_time delay, F f) {
    time_.after(delay, [this, &n, life = n.life, f = std::move(f)]() mutable { deliver(n, life, std::move(f)); });
  }
  void deliver(node& n, std::uint64_t life, std::function<void()> f);
  void tick(node& n);
  void drain(node& n);
  void carry_out(node& n, rp::action& a);
  void append(node& n, std::uint32_t records);
  void start_sync(node& n);
  void propose(node& n, const rp::actions::propose& p);
  void read_record(node& n);
  void watch(node& n, const registry::view& v, sim_time delay);
  void lease_tick(node& n);
  std::int64_t clock_of(const node& n) const;

  // flow.cpp
  void ingest(node& n);
  void load(node& n);
  void claim(node& n);
  void apply(node& n);
  void confirm(node& n);
  void trim(node& n);
  std::uint64_t position_at_end(const node& n) const;

  // checker.cpp
  void on_advance(node& n, st::offset hw);
  void on_acknowledged(node& n, st::offset hw);
  void on_leader(node& n, st::epoch e);
  void check_complete(const node& n, st::epoch e);
  void check_copies();
  void check_node(node& n);
  const st::raw_entry* acked_covering(st::offset o) const;
  st::offset acked_end() const { return acked_.empty() ? st::offset{} : acked_.back().end(); }
  unsigned damaged(const node* besides) const;
  bool outside(const node& n) const;

  // faults.cpp
  void next_fault();
  void inject();
  void damage(node& n);
  void cut_links();
  node& any() { return nodes_[random_.below(nodes_.size())]; }
  node& leader_or_any();

  const settings settings_;
  random_source random_;
  scheduler time_;
  std::vector<node> nodes_;
  std::unique_ptr<registry> registry_;
  rp::limits limits_;
  bool chaos_ = true, registry_up_ = true, stopped_ = false;
  bool wipe_any_ = false; ///< any disks may be replaced at once: data may be lost then, but never silently
  std::uint64_t faults_ = 0, unique_ = 0;
  std::vector<bool> cut_; ///< from * n + to
  unsigned loss_ = 0, delay_max_ = 3, repeat_ = 0;

  // The world's own memory of what was promised
  std::vector<st::raw_entry> acked_;
  std::map<std::uint64_t, std::pair<std::string, std::uint64_t>> leaders_; ///< epoch -> who, in which life

  struct {
    std::uint64_t limit = 0, confirmed = 0;
  } source_;
  struct {
    std::uint64_t epoch = 0;
    st::offset next;
    std::uint64_t position = 0; ///< of the last record that was applied
  } destination_;
};

} // namespace millrace::simulation
