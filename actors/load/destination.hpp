#pragma once
// Where a load's rows go. One transaction holds rows and progress; replication.md section 11 has the rules.

#include "actors/errc.hpp"
#include "actors/transform/row_set.hpp"

#include <memory>
#include <string>
#include <vector>

namespace millrace::actors::load {

/// Kept in the destination beside the rows: table _millrace_offsets.
struct progress {
  storage::offset next;
  std::uint64_t filtered = 0; ///< changes below `next` that the load filtered, redriven ones that were filtered included
  /// From claim(): the destination knew nothing of this load's log. A first claim, a recreated pipeline, or a destination that
  /// was lost: only the caller can tell, by what it remembers of earlier commits.
  bool created = false;
};

struct claim_request {
  std::string pipeline, load;
  std::uint32_t partition = 0;
  storage::log_id log;
  storage::epoch epoch;
  std::vector<storage::log_id> retired; ///< logs of deleted pipelines of this name: their rows are taken over from the start
};

/// The destination's own words about a change it refused.
struct row_error {
  std::string reason; ///< constraint, type
  std::string message, sqlstate, constraint, column;
};

/// The writer's side of apply().
class row_gate {
public:
  virtual ~row_gate() = default;
  /// Asked once a change, in order, with its first row. False: the change is not applied (it is held, or decided already).
  /// A destination that works in bulk asks again for a change that it had buffered when an earlier one of its key was rejected.
  virtual bool admit(const transform::row_set& set, const transform::row& first) = 0;
  /// The change was refused by the destination and none of its rows is in. Later changes go on.
  /// False: stop here (on_error halt): apply returns `halted` and what came before stays in the transaction.
  virtual bool rejected(const transform::row_set& set, const transform::row& first, row_error why) = 0;
};

/// Owner: one detached writer actor; not thread safe. Any call may block on the destination, in slices of a second at most.
/// Errors: unavailable (reachability, locks, full disk): roll back, retry whole with the same rows; fenced, log_mismatch: stop;
///         refused: the operator must act. After any error but `halted` the transaction is gone.
class destination {
public:
  virtual ~destination() = default;

  /// Opens or reopens, makes what is absent (tables, _millrace_offsets), fences older epochs, gives where to go on.
  virtual result<progress> claim(const claim_request& who) = 0;
  /// Begins a transaction and checks that it still stands at the claimed progress under our epoch.
  virtual result<void> begin() = 0;
  /// Applies rows [first_row, end_row) of the set in order inside the open transaction. May buffer them (set stays alive by
  /// its pointer) within bounds of its own: what a source's large transaction holds must not grow with it.
  virtual result<void> apply(const transform::row_set_ptr& set, std::size_t first_row, std::size_t end_row, row_gate& gate) = 0;
  /// True: outside of isolation apply() may reject, and halt, later than the change it is about.
  virtual bool buffers() const noexcept { return false; }
  /// Writes what apply() buffered; every rejection of it has come when this returns. Called before each commit() and before
  /// the changes so far are decided. `halted` here: nothing is said about what is in the transaction; the writer rolls back
  /// and comes again with set_isolation(true).
  virtual result<void> flush(row_gate& gate) {
    static_cast<void>(gate);
    return success();
  }
  /// Rows and progress become visible together. Unknown outcomes are resolved by claim() after `unavailable`.
  /// Errors also: refused with constraints that only the commit checks; the writer then isolates one change a transaction.
  virtual result<void> commit(const progress& next) = 0;
  virtual void rollback() noexcept = 0;
  /// From the next begin() on, every change is applied at once (nothing is buffered) and checked alone against the constraints
  /// that only a commit checks (deferred foreign keys), and rejected by itself. Slower: for the repetition of a transaction whose
  /// commit() was refused. A change that only a LATER change of the same transaction would have mended is rejected too; its
  /// redrive then goes through.
  virtual void set_isolation(bool on) { static_cast<void>(on); }
  /// Moves progress back in its own transaction; `truncate` empties the load's tables in the same one.
  virtual result<void> rewind(const progress& to, bool truncate) = 0;
  /// "sqlite /path/to.db", for messages.
  virtual std::string name() const = 0;
};

/// The load's destination by its spec's type; fails for one that this build does not have.
result<std::unique_ptr<destination>> make_destination(const load_spec& load);

} // namespace millrace::actors::load
