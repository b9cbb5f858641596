#pragma once
// What one replica is told when it is made: who it is, its limits, and (in tests) which mistakes it must make.

#include "storage/replication/record.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace millrace::storage::replication {

using namespace std::chrono_literals;

/// Time since any fixed moment, by a clock that should not jump. Safety never depends on it.
using instant = std::chrono::milliseconds;

/// Defaults are those of replication.md section 14; all are per node and need not agree, but for message_bytes, which the link
/// bounds too.
struct limits {
  std::size_t message_bytes = std::size_t{8} << 20;         ///< of entries in one message; one entry always fits
  std::size_t credit_bytes = std::size_t{32} << 20;         ///< what a follower takes beyond what it has written
  std::size_t messages_in_flight = 3;                       ///< to one follower: more would only make each of its syncs smaller
  std::size_t unacknowledged_bytes = std::size_t{64} << 20; ///< above the high watermark: then intake stops
  std::size_t recent_bytes = std::size_t{96} << 20;         ///< entries kept in memory for followers
  std::size_t lag_bytes = std::size_t{64} << 20;            ///< a member that stays further behind ...
  instant lag_time = 10s;                                   ///< ... for this long leaves the in-sync set; so does a silent one
  instant fetch_wait = 500ms;                               ///< an idle leader says its high watermark this often
  instant retry = 200ms;                                    ///< attach, query, proposals whose outcome is not known
  instant election_wait = 300ms;                            ///< candidates wait a random part of it
  instant election_alarm = 5s; ///< an election without enough reports is an operator's matter after it
  std::uint64_t catch_up_bytes_per_second = std::size_t{256}
                                            << 20; ///< read from the disk for followers that are behind; 0: no bound
};

/// Mistakes for the tests of the tests: each breaks a rule of the protocol and must be found by the simulation. Never set outside
/// of tests; the names are those of replication.pml, where each is shown to break a promise.
struct bugs {
  bool ack_early = false;            ///< a follower reports what it has not synced
  bool trunc_hw = false;             ///< a follower truncates to its high watermark, not by epoch
  bool leader_unsynced = false;      ///< a leader counts its own unsynced entries
  bool shrink_early = false;         ///< a leader uses the smaller set before it is stored
  bool expand_uncounted = false;     ///< a member being added is not counted at once
  bool expand_no_start = false;      ///< a member is added at the high watermark, below the epoch's start
  bool old_epoch_ack = false;        ///< acknowledgements of an older epoch are counted
  bool resume = false;               ///< a restarted leader goes on in its old epoch
  bool no_registry_read = false;     ///< a restarted replica trusts the epoch on its disk
  bool verified_durable = false;     ///< "verified" outlives a restart
  bool verified_old_session = false; ///< "verified" is granted for an acknowledgement of before a restart
};

struct options {
  std::string node;
  partition_name partition;
  std::uint64_t seed = 0; ///< all of its randomness: unpredictable and different at every start, or the same to repeat a run
  replication::limits limits;
  replication::bugs bugs;
};

} // namespace millrace::storage::replication
