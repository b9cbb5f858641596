#pragma once
// What the replicas of one partition say to each other (replication.md section 4), and its form on the wire.

#include "storage/replica_log.hpp"
#include "storage/replication/record.hpp"

#include <functional>
#include <variant>

namespace millrace::storage::replication {

/// Where my log ends; which of it do you have?
struct attach {
  epoch last_epoch;
  offset end;
  std::uint64_t nonce = 0;
};
struct attach_reply {
  std::uint64_t nonce = 0;
  epoch back_epoch;
  offset back_end, log_start, high_watermark;
};
/// I have this much, send what comes next.
struct fetch {
  offset from;  ///< end of what was written
  hash128 hash; ///< of the entry before `from`
  offset durable;
  std::uint64_t credit = 0; ///< bytes it takes beyond `from`
  std::uint64_t round = 0;
  bool empty = false;   ///< the log has no entry, `hash` means nothing
  bool full = false;    ///< there is no room on the follower's disk
  bool unheard = false; ///< the leader speaks at least every fetch_wait, and nothing has come for three of them
};
struct data {
  offset from, high_watermark, log_start;
  bool verified = false;
  std::uint64_t run = 0; ///< the follower's, echoed
  std::uint64_t round = 0;
  std::vector<raw_entry> entries;
};
struct query {
  epoch target;
  std::uint64_t nonce = 0;
};
struct report {
  epoch target;
  std::uint64_t nonce = 0;
  epoch last_epoch;
  offset end;
};
struct stand {
  epoch target;
};
/// The receiver's epoch is old; or, of the same epoch: it is not attached.
struct refuse {
  epoch seen;
};

struct message {
  partition_name partition;
  storage::epoch epoch; ///< the largest one the sender has seen
  std::string node;     ///< the sender
  std::uint64_t run = 0;
  std::uint64_t store = 0;
  std::variant<attach, attach_reply, fetch, data, query, report, stand, refuse> body;
};
const char* kind_of(const message& m); ///< "fetch", for traces and logs

/// As the transport takes it: a small head, and the entries' values as they lie on the disk; large ones are not copied.
struct wire_message {
  std::string head;
  std::vector<shared_bytes> parts;
};
wire_message encode(const message& m);

/// Largest head that decode() looks at: names and numbers, nothing else.
inline constexpr std::size_t head_bytes_max = 4096;

/// Checks an entry's structure and hash: parse_raw, but for tests that have entries of their own.
using entry_parser = std::function<result<raw_entry>(shared_bytes)>;

/// Everything is checked that can be without knowing the log: sizes, names, the entries themselves and that they follow each
/// other from `from` on. Errors: corrupt, with what was expected; the message must be dropped, its sender is broken or false.
result<message> decode(std::string_view head, std::vector<shared_bytes> parts, const entry_parser& parse);
/// Which partition a message is for, to find its replica before the rest is looked at. Errors: as decode().
result<partition_name> partition_of(std::string_view head);

} // namespace millrace::storage::replication
