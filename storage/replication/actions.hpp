#pragma once
// What a replica wants done. Its driver does these in order, then tells the outcome of those that have one.

#include "storage/replication/message.hpp"

namespace millrace::storage::replication {

enum class role : std::uint8_t {
  starting,  ///< waits for the partition's record: says and answers nothing
  follower,  ///< of the record's leader, or idle
  candidate, ///< stands for election
  leader,
  halted, ///< going on could destroy acknowledged data: an alarm says what an operator must do
};
const char* to_string(role r);

/// A guard of a proposal besides the record's mod revision: node/<node> exists with this create revision; 0: does not exist.
struct session_guard {
  std::string node;
  std::uint64_t session = 0;
  friend bool operator==(const session_guard&, const session_guard&) = default;
};

enum class alarm_kind : std::uint8_t {
  data_lost,        ///< a member of the in-sync set came back with less than was acknowledged
  damaged,          ///< this copy is damaged; it is refilled from the leader
  under_replicated, ///< the high watermark stands still: too few members
  election_stuck,   ///< too few members report
  cannot_attach,    ///< the leader is known, and this replica cannot follow it
  unsafe,           ///< the replica has halted
  handover,         ///< resign() found nobody to hand over to
};
const char* to_string(alarm_kind k);

namespace actions {
/// To another node. May be lost, repeated or delayed without harm.
struct send {
  std::string to;
  message what;
};

// ---- The disk. Each has a ticket; see replica::synced().
struct append_raw {
  std::vector<raw_entry> entries;
};
struct truncate {
  offset end;
  epoch seen;
};
struct see_epoch {
  storage::epoch epoch;
};
struct reset {
  log_id id;
  offset start;
};

// ---- Leadership here
/// replica_log::begin_epoch; its marker comes back through replica::appending() like every append.
struct begin_epoch {
  storage::epoch epoch;
};
struct end_epoch {};
/// replica_log::advance: readers of this node may go up to it.
struct advance {
  offset high_watermark;
};
/// Follower only: partition_log::trim. The leader's retention dropped what is below, all of it acknowledged.
struct trim {
  offset start;
};
/// Leader only, after advance: sources may be told. What is below is never lost.
struct acknowledged {
  offset high_watermark;
};

// ---- The registry
/// Store `record` if its mod_revision is still the stored one's and all guards hold. Answer: replica::proposed(). Repeating the
/// same one is allowed and is what happens when an outcome was not known.
struct propose {
  std::uint64_t id = 0;
  partition_record record; ///< its mod_revision is the guard
  std::vector<session_guard> guards;
  const char* why = "";
};
/// A linearizable read that begins after this. Answer: replica::on_record() with fresh = true.
struct read_record {};
/// Write store/UID/PARTITION/NODE.
struct announce_store {
  std::uint64_t store = 0;
  log_id id;
};

// ---- For people and for the node
struct role_changed {
  replication::role role;
  storage::epoch epoch;
};
/// Raised or over. `text`: what, where, and what the operator can do.
struct alarm {
  alarm_kind kind;
  bool raised = true;
  std::string text;
};
} // namespace actions

using action =
    std::variant<actions::send, actions::append_raw, actions::truncate, actions::see_epoch, actions::reset, actions::begin_epoch,
                 actions::end_epoch, actions::advance, actions::trim, actions::acknowledged, actions::propose,
                 actions::read_record, actions::announce_store, actions::role_changed, actions::alarm>;

} // namespace millrace::storage::replication
