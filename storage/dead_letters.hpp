#pragma once
// The index of one partition's quarantine: every dead letter of every load, whole.

#include "storage/batch.hpp"

#include <functional>
#include <optional>

namespace millrace::storage {

enum class dead_letter_state : std::uint8_t { quarantined, redriven, discarded, replaced };
constexpr const char* to_string(dead_letter_state s) {
  switch (s) {
  case dead_letter_state::quarantined:
    return "quarantined";
  case dead_letter_state::redriven:
    return "redriven";
  case dead_letter_state::discarded:
    return "discarded";
  case dead_letter_state::replaced:
    return "replaced";
  }
  return "quarantined";
}

/// Named by (load, offset) inside its partition: the same change never has two.
struct dead_letter {
  storage::offset offset;
  std::string source_position, transaction, table;
  std::string key;                   ///< JSON object of the key's columns; empty if it could not be read
  std::uint64_t key_hash = 0;        ///< 0: no key. Later changes of an equal hash are held (on_error hold).
  std::uint64_t before_key_hash = 0; ///< the key before a key-changing update; 0: none
  std::string op;
  std::string payload; ///< as it arrived
  std::string reason;  ///< parse, schema, transform, constraint, type, too_large, held
  std::string message, sqlstate, constraint, column, step;
  std::string node;
  std::uint64_t revision = 0;
  std::uint32_t attempts = 1;
  timestamp first_time, last_time;
  dead_letter_state state = dead_letter_state::quarantined;
  std::uint64_t superseded_by = 0; ///< offset + 1 of a later delivered change of the same key; 0: none
  payload_format format = payload_format::json;
  storage::envelope envelope = storage::envelope::none;
  std::string context, origin;
  timestamp arrival;
};

struct dead_letter_counts {
  std::uint64_t open = 0, discarded = 0, redriven = 0;
  std::uint64_t total = 0; ///< distinct changes ever quarantined; never falls
};

/// What passing a redrive or discard entry did to one dead letter.
struct outcome {
  dead_letter letter; ///< state and, if it failed again, the new reason; payload may be empty and is then kept as stored
};

/// Source: the rows in the node's RocksDB, written in the same synced write as the log's quarantine entry.
/// Owner:  shared; every function is thread safe. For one load all writes come from its writer, or from the stage while that
///         writer waits for the answer, so they are ordered.
/// Errors: io_failed ends the process, as for the log.
class dead_letter_table {
public:
  virtual ~dead_letter_table() = default;

  virtual dead_letter_counts counts(std::string_view load) const = 0;
  /// Open ones by reason, for metrics and status.
  virtual std::vector<std::pair<std::string, std::uint64_t>> totals_by_reason(std::string_view load) const = 0;
  /// Counts of open and of discarded ones below `end`.
  virtual result<dead_letter_counts> counts_below(std::string_view load, offset end) const = 0;

  virtual result<std::optional<dead_letter>> find(std::string_view load, offset at) const = 0;
  /// Visits [from, end) in offset order until `visit` returns false; without payloads unless asked.
  virtual result<void> scan(std::string_view load, offset from, offset end, bool payloads,
                            const std::function<bool(const dead_letter&)>& visit) const = 0;
  /// Open ones of one key (by hash; a key-changing update is found by both), in offset order.
  virtual result<std::vector<offset>> open_of_key(std::string_view load, std::uint64_t key_hash) const = 0;

  /// Step 1 of a redrive, discard or release at log offset `at`: remembered durably before the destination commits past
  /// `at`. Repeating it for the same `at` replaces the earlier list.
  virtual result<void> prepare(std::string_view load, offset at, std::span<const outcome> outcomes) = 0;
  /// Step 2, after every commit that passed prepared entries, and at every claim: applies what was prepared below `next`,
  /// forgets what was prepared at or above it (that commit did not happen). Idempotent.
  virtual result<void> settle(std::string_view load, offset next) = 0;

  /// Notes that a later change of this key was delivered (on_error continue).
  virtual result<void> supersede(std::string_view load, offset letter, offset by) = 0;

  /// Which changes of [first, end) the load filtered, so that counts are right at any offset after a rewind. Bit i of `bits`
  /// is offset first + i; empty: none. `before` is how many were filtered below `first`. Not synced: a lost tail is recounted
  /// as not filtered, and said in the log. Called before the destination's commit; repeating it is harmless.
  virtual result<void> note_filtered(std::string_view load, offset first, offset end, std::uint64_t before,
                                     std::span<const std::uint8_t> bits) = 0;
  /// How many were filtered below `end`, from the notes.
  virtual result<std::uint64_t> filtered_below(std::string_view load, offset end) const = 0;

  /// A rewind that was logged but not yet carried out at the destination; none after clear_rewind().
  struct pending_rewind {
    offset to;
    bool truncate = false;
  };
  virtual result<std::optional<pending_rewind>> rewind_of(std::string_view load) const = 0;
  virtual result<void> clear_rewind(std::string_view load) = 0;
};

} // namespace millrace::storage
