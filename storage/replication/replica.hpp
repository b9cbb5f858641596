#pragma once
// ONE replica of one partition: replication.md sections 2 to 10 as a state machine without threads, clocks, sockets or a disk.
//
//   record, members ─┐                                  ┌─> send            (transport)
//   messages ────────┤                                  ├─> append, truncate (disk) ──> synced()
//   appends here ────┼──> replica ──> take_actions() ───┼─> propose, read   (catalog) ──> proposed(), on_record()
//   tick ────────────┘                                  └─> advance, acknowledged, role (ingest, loads)
//
//   starting ──record read──> follower <──> candidate ──claim stored──> leader ──deposed, resigned──> follower
//
// How a partition begins: record.hpp. While the epoch is 0 nobody has led, so nothing was ever appended or acknowledged, and any
// in-sync set made of copies of this log is as good as any other: on_stores() lets a replica propose one where no controller
// does. From epoch 1 on the set changes by section 7 only.
//
// What the files hold: replica.cpp start, record and dispatch; follower.cpp section 5.2 and 6; leader.cpp 5 and 9; in_sync.cpp 7;
// election.cpp 8.

#include "storage/replication/actions.hpp"
#include "storage/replication/options.hpp"
#include "storage/replication/recent_entries.hpp"
#include "storage/replication/replica_storage.hpp"

#include <deque>
#include <map>
#include <set>

namespace millrace::storage::replication {

/// Number of a disk action, rising from 1.
using ticket = std::uint64_t;

/// What a leader knows of a follower, for status and metrics.
struct follower_status {
  std::string node;
  bool attached = false, in_sync = false;
  offset durable;
};

/// Owner:  the partition's one writer thread (in production its stage actor). Not thread safe, never blocks, never throws for
/// what
///         a peer sends. After EVERY input the owner does take_actions() in order; then, once the disk actions among them are
///         synced, calls synced(issued()).
/// Errors: none are returned: what goes wrong becomes an alarm. A failed disk action ends the process, so it has no answer here.
class replica {
public:
  /// `disk` must outlive it and must show the effect of an action as soon as the owner has done it.
  replica(options o, const replica_storage& disk);

  // ---- Inputs
  /// Once, first. Asks for the record: until it is read nothing is said or answered (section 4).
  void start(instant now);
  /// Every 50 ms or so. Between ticks time stands still.
  void tick(instant now);
  /// The partition's record; none: the partition was deleted. `fresh`: the answer to a read_record, which a watch never is.
  void on_record(const std::optional<partition_record>& record, bool fresh);
  /// Who is alive: node -> session, as of this revision of the catalog; and this process's own session, 0 while it has none.
  /// Old news does no harm: a session that began after `revision` is not taken for ended.
  void on_members(std::map<std::string, std::uint64_t> members, std::uint64_t revision, std::uint64_t own_session);
  /// store/UID/PARTITION/ as known. Only needed where nobody else fills the first in-sync set.
  void on_stores(const std::map<std::string, store_record>& stores);
  /// `from` is who the transport says it is.
  void on_message(const std::string& from, message m);
  enum class outcome : std::uint8_t { stored, conflict, unknown };
  /// `mod_revision`: of the record, if stored.
  void proposed(std::uint64_t id, outcome o, std::uint64_t mod_revision);
  /// All disk actions up to this ticket are durable (fdatasync returned success).
  void synced(ticket t);
  /// Leader: these entries are about to be written here (partition_log's before_write); followers get them now. Gives the ticket
  /// to name to synced(). Calling it while this replica does not lead is a bug: the log refuses such appends as fenced.
  ticket appending(std::span<const raw_entry> entries);
  /// Retention here dropped what is below `start` (13): only on a leader, only below what all destinations have.
  void trimmed(offset start);
  /// The disk took an append no more, and nothing of it was written: this copy takes no entries until room(), says so, and leads
  /// only if nobody else can. After a refused append_raw, before synced().
  void no_room();
  void room();
  /// Gives leadership up, for maintenance: the others elect, this node stands again only after lag_time. No effect on a follower.
  void resign();

  // ---- Outputs
  std::vector<action> take_actions();
  ticket issued() const { return issued_; }

  // ---- For the owner: may ingest append, and what to show
  replication::role role() const { return role_; }
  storage::epoch epoch() const { return seen_epoch_; }
  offset end() const { return end_; }
  offset durable() const { return durable_; }
  offset high_watermark() const { return hw_; }
  bool verified() const { return verified_; }
  bool attached() const { return following_.attached; }
  std::uint64_t run() const { return run_; }
  const std::optional<partition_record>& record() const { return record_; }
  /// Leader, and less than limits.unacknowledged_bytes wait for the in-sync set.
  bool may_append() const { return role_ == role::leader && unacknowledged_ < limits_.unacknowledged_bytes; }
  std::uint64_t unacknowledged_bytes() const { return unacknowledged_; }
  std::vector<follower_status> followers() const;

private:
  struct in_flight {
    offset end;
    std::size_t bytes = 0;
  };
  /// What a leader knows of one follower: of its present attachment, which an Attach begins anew.
  struct progress {
    std::uint64_t run = 0, store = 0;
    bool attached = false; ///< its prefix was compared
    bool told_verified = false;
    bool full = false;                    ///< it says that it has no room
    std::optional<instant> unheard_since; ///< since when it says that it hears nothing from here
    offset durable, sent;
    std::uint64_t round = 0, credit = 0;
    std::deque<in_flight> flying;
    std::size_t flying_bytes = 0;
    std::size_t message_bytes = 0; ///< what one message carries: less after each that was lost, more after each that came
    instant heard{}, said{};
    instant caught_up{}, moved{}; ///< when it last had all that there was; when `durable` last rose
    instant asked{};              ///< its last fetch ...
    offset end_then;              ///< ... and this log's end at that time
  };
  struct proposal {
    std::uint64_t id = 0;
    enum class kind : std::uint8_t { claim, disown, bootstrap, in_sync, resign } kind{};
    partition_record record;
    std::vector<session_guard> guards;
    const char* why = "";
    instant sent{};
    bool unknown = false, decided = false; ///< decided: only the record can tell how
  };
  struct disk_write {
    replication::ticket ticket = 0;
    offset end;
    std::size_t bytes = 0;
  };

  // replica.cpp
  template <class Action>
  void act(Action a) {
    actions_.emplace_back(std::move(a));
  }
  template <class Body>
  void say(const std::string& to, Body body) {
    act(actions::send{to, {options_.partition, seen_epoch_, options_.node, run_, store_, std::move(body)}});
  }
  std::uint64_t random();
  instant random_wait(instant longest) { return instant{static_cast<std::int64_t>(random() % (longest.count() + 1))}; }
  /// A disk action after which nothing is said until it is synced.
  template <class Action>
  void barrier(Action a) {
    act(std::move(a));
    barrier_ = ++issued_;
  }
  bool settled() const { return synced_ >= barrier_; }
  void read_disk();
  void set_role(replication::role r);
  void raise(alarm_kind k, const std::string& text);
  void clear(alarm_kind k);
  void halt(const std::string& text);
  std::string where() const;
  void ask_for_record();
  void adopt_record();
  void check_log_id();
  void on_refuse(const std::string& from, const refuse& m);
  void go_on();
  bool dead() const;
  bool listed() const { return record_ && is_listed(options_.node, store_); }
  bool is_listed(const std::string& node, std::uint64_t store) const;
  void note_append(std::span<const raw_entry> entries);
  void learn_high_watermark(offset hw);

  // proposals (in_sync.cpp)
  void propose(enum proposal::kind kind, partition_record record, std::vector<session_guard> guards, const char* why);
  void repeat_proposal();
  void review_bootstrap();
  void review_in_sync();
  bool add_or_swap();
  bool remove();
  bool lags(const isr_member& m);
  bool works(const isr_member& m) const;
  bool could_lead(const isr_member& m, bool never_heard) const;
  bool cut_off(const progress& p, instant more = instant{0}) const;
  bool others_may_follow(const isr_member& m) const;
  void disown(const char* why);
  std::uint64_t session_of(const std::string& node) const;

  // follower.cpp
  void follow();
  void detach();
  void ask_to_attach();
  void on_attach_reply(const message& m, const attach_reply& r);
  void cut(offset to);
  void begin_anew(offset log_start);
  void on_data(const message& m, data& d);
  void say_fetch();
  void follower_tick();

  // leader.cpp
  void lead();
  void step_down(const char* why);
  void on_attach(const message& m, const attach& a);
  void on_fetch(const message& m, const fetch& f);
  void count(progress& p, const message& m, const fetch& f);
  bool same_prefix(const fetch& f);
  bool verified_news(const progress& p) const;
  std::optional<hash128> hash_before(offset at);
  void feed(const std::string& node, progress& p);
  result<std::vector<raw_entry>> entries_for(progress& p, std::size_t bytes);
  void say_data(const std::string& node, progress& p, std::vector<raw_entry> entries);
  void move_high_watermark();
  offset counted(const isr_member& m) const;
  void leader_tick();

  // election.cpp
  void election_tick();
  void stand_for_election();
  void campaign();
  void claim();
  void on_query(const message& m, const query& q);
  void answer_queries();
  void on_report(const message& m, const report& r);
  void on_stand(const stand& s);

  const options options_;
  const limits& limits_;
  const bugs& bugs_;
  const replica_storage& disk_;
  std::vector<action> actions_;
  std::set<alarm_kind> alarms_;
  std::uint64_t random_state_;
  const std::uint64_t run_;
  instant now_{}, last_tick_{};
  replication::role role_ = role::starting;

  // The disk, as it will be once the actions are done
  std::uint64_t store_ = 0;
  log_id id_;
  storage::epoch seen_epoch_, last_epoch_;
  offset start_, end_, durable_, hw_;
  hash128 last_hash_;
  std::vector<epoch_start> epochs_;
  ticket issued_ = 0, synced_ = 0, barrier_ = 0;
  std::deque<disk_write> writes_; ///< not synced yet
  std::size_t unsynced_bytes_ = 0;
  bool stale_facts_ = false; ///< a truncation or reset is under way: read the facts when it is synced
  std::uint64_t announced_store_ = 0;
  instant announced_{};
  bool full_ = false;     ///< no room for entries
  bool damaged_ = false;  ///< refill this copy before it counts again
  bool verified_ = false; ///< has held, since the process started, all that could be acknowledged (6.5)

  // The registry
  std::optional<partition_record> record_;
  bool reading_ = false;
  instant read_asked_{};
  std::map<std::string, std::uint64_t> members_;
  std::uint64_t members_revision_ = 0; ///< 0: never heard
  std::uint64_t own_session_ = 0;
  std::map<std::string, store_record> stores_;
  std::optional<instant> stores_since_;
  std::optional<proposal> pending_;
  std::uint64_t proposals_ = 0;

  struct {
    bool attached = false;
    std::uint64_t nonce = 0, round = 0;
    instant asked{}, heard{}, since{};
    bool unheard = false;
    offset leader_hw;
  } following_;

  struct {
    storage::epoch epoch;
    std::uint64_t session = 0;
    offset start;
    recent_entries recent;
    std::map<std::string, progress> followers;
    std::optional<isr_member> adding;    ///< counted from the moment that its proposal is sent
    std::optional<std::string> removing; ///< only with bugs.shrink_early
    double catch_up_bytes = 0;           ///< may be read from the disk for followers now
    instant ticked{}, appended{};
    bool resigning = false;
  } leading_;
  std::deque<in_flight> unacknowledged_entries_; ///< above the high watermark
  std::uint64_t unacknowledged_ = 0;

  struct {
    std::optional<instant> stand_at;
    storage::epoch target;
    std::uint64_t nonce = 0;
    std::map<std::string, std::pair<storage::epoch, offset>> reports;
    instant asked{}, since{}, dead_since{};
    instant not_before{}; ///< after resign()
  } election_;
  struct owed_report {
    storage::epoch target;
    std::uint64_t nonce = 0;
  };
  std::map<std::string, owed_report> owed_;
};

} // namespace millrace::storage::replication
