#pragma once
// The stream's transactions as blocks for the log: drops what the log has, cuts what is large, says where a restart goes on.
// Pure.

#include "actors/errc.hpp"
#include "actors/ingest/postgres/pgoutput.hpp"
#include "actors/ingest/postgres/position.hpp"
#include "actors/ingest/postgres/table_schema.hpp"
#include "storage/batch.hpp"

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <utility>

namespace millrace::actors::ingest::postgres {

/// begin, change..., commit, begin, ... in; blocks out of take(). A block ends at a transaction's end; one larger than
/// `transaction_bytes` is cut, with open_end and, in the state, how much of it is in the log and its hash. A cut is made only
/// when a further change comes: what follows an open end is never empty. Errors are log_mismatch: what the source sends is not
/// what it sent before.
class transaction_framer {
public:
  struct limits {
    std::size_t block_bytes = 1u << 20;       ///< a block with this much ends with its transaction
    std::size_t transaction_bytes = 2u << 20; ///< a block with this much ends inside of one
  };
  /// `origin`: of the blocks. `on_cut` adds to the state of a block that is about to go out.
  using state_hook = std::function<void(std::vector<storage::state_entry>&)>;
  transaction_framer(std::string origin, limits l, state_hook on_cut = {})
      : limits_(l), origin_(std::move(origin)), on_cut_(std::move(on_cut)) {}
  explicit transaction_framer(std::string origin) : transaction_framer(std::move(origin), limits{}) {}

  /// Forgets what was gathered; the next transactions are those behind `from`, or before it: then they are dropped.
  void restart(const stream_position& from);

  result<void> begin(const begin_message& m);
  /// `payload`: one insert, update, delete, or truncate of one relation.
  result<void> change(std::string_view payload, const table_schema_ptr& table);
  result<void> commit(const commit_message& m);
  /// Between transactions: everything that committed below was sent.
  void reached(lsn at);

  bool in_transaction() const noexcept { return in_transaction_; }
  const begin_message& transaction() const noexcept { return tx_; } ///< while in one
  bool repeated() const noexcept { return repeated_; }              ///< it is in the log: its changes are dropped
  bool resumed() const noexcept { return resumed_; }                ///< it began before the restart
  /// No part of an unfinished transaction is gathered or in the log: rows of a snapshot may go here.
  bool between() const noexcept { return !now_.open && (!in_transaction_ || tx_changes_ == 0); }
  bool full() const noexcept { return block_.payloads.size() >= limits_.block_bytes; }
  bool has_changes() const noexcept { return !block_.starts.empty(); }
  std::uint64_t take_repeats() noexcept { return std::exchange(repeats_, 0); } ///< transactions dropped since the last call

  /// Ends the block; nothing if it is empty. Not inside a transaction, where change() knows best.
  void cut();
  /// Without changes gathered: a block that only moves the state, if there is something to move or `on_cut` adds something.
  void note();
  /// The next finished block.
  std::optional<storage::change_block> take();
  bool has_ready() const noexcept { return !ready_.empty(); }
  /// Puts a block of someone else (a snapshot's rows) behind what was cut.
  void append(storage::change_block block) { ready_.push_back(std::move(block)); }

  const stream_position& position() const noexcept { return now_; } ///< of what was received
  const stream_position& cut_position() const noexcept {
    return cut_;
  } ///< of the last block made: where a new connection goes on

private:
  void close_block(bool open_end);
  failure changed(const std::string& what) const;

  limits limits_;
  std::string origin_;
  state_hook on_cut_;
  stream_position now_, cut_;
  storage::change_block block_;
  std::vector<table_schema_ptr> tables_; ///< of the block
  std::vector<table_schema_ptr> context_tables_;
  std::string context_; ///< encoded context_tables_: most blocks have the same
  std::deque<storage::change_block> ready_;
  begin_message tx_;
  bool in_transaction_ = false, repeated_ = false, resumed_ = false;
  std::uint64_t tx_changes_ = 0; ///< of the transaction: in the log or gathered
  std::uint64_t skip_left_ = 0, skip_hash_ = 0, tx_hash_ = 0;
  std::size_t tx_first_ = 0; ///< in block_: its first change
  std::uint64_t repeats_ = 0;
};

} // namespace millrace::actors::ingest::postgres
