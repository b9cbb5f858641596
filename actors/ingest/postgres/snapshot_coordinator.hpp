#pragma once
// Which table is read whole, when, and where in the log its rows go between the changes.
//
// A table with a key is read in ranges of blocks, each in a snapshot of its own, while changes stream. A range's rows go into the
// log once the stream has passed the place where the snapshot was taken: everything that it saw is in the log then. Rows that
// something it did not see has changed are left out: the log has them newer.
// A table without a key is read in ONE snapshot while the stream is held. Changes before are dropped, changes that the snapshot
// saw too; the others come behind the rows. `snapshot: only` reads every table so, in one snapshot, and there is no stream.

#include "actors/ingest/postgres/chunk_pool.hpp"
#include "actors/ingest/postgres/snapshot_table.hpp"
#include "actors/ingest/postgres/transaction_framer.hpp"
#include "actors/ingest/source_reader.hpp"

#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace millrace::actors::ingest::postgres {

/// Owner: the ingest actor's thread. Rows and states go out through the framer, in order with the changes.
class snapshot_coordinator {
public:
  struct options {
    chunk_pool::options pool;
    std::string publication;
    snapshot_mode mode = snapshot_mode::initial;
    std::uint64_t chunk_rows = 0;
    std::uint64_t chunk_bytes = 8u << 20;
  };
  explicit snapshot_coordinator(options o);
  ~snapshot_coordinator();

  /// Takes the tables over from the log's state and the spec. `fresh`: there is no slot yet, so what was read before is out of
  /// date. Errors: log_mismatch.
  result<void> load(std::span<const storage::state_entry> state, const std::vector<std::string>& names, bool fresh);
  /// After each (re)connection: who they are now. What was being read is read again.
  result<void> attach(connection& side, const std::vector<source_table>& tables);
  void detach();
  /// Reads a table again from its beginning. Errors: invalid.
  result<void> again(std::string_view name);

  /// Reads the rows of some keys again. Errors: invalid; unavailable while the table is being read anyway.
  result<void> reread(connection& side, std::string_view name, std::span<const std::string> columns,
                      std::span<const std::vector<std::string>> keys);

  bool done() const noexcept;
  bool holds_stream() const noexcept { return copying_ != nullptr; }
  /// Where the stream must be for rows that wait; 0: none do.
  lsn waits_for() const;
  int wake_fd() const noexcept { return pool_ ? pool_->wake_fd() : -1; }
  void clear_wake() {
    if (pool_) pool_->clear_wake();
  }

  // The stream's side. Null: not a table of the pipeline.
  snapshot_table* find(std::uint32_t relation);
  snapshot_table* find_name(std::string_view name);
  /// Whether a change of the transaction goes into the log.
  bool admits(const snapshot_table& table, const begin_message& transaction) const;
  /// Work that is due; side: queries on it may take a few milliseconds. `between`: the framer is between transactions.
  result<void> step(connection& side, transaction_framer& framer);
  /// Puts rows that may go here behind what was cut; false: none could. The framer is between transactions, cut.
  result<bool> place(lsn reached, transaction_framer& framer);
  bool placeable(lsn reached) const;
  bool has_state() const noexcept { return !state_.empty(); }
  /// State that goes with the next block.
  void collect(std::vector<storage::state_entry>& to);

  void report(source_status& status) const;
  std::vector<std::string> take_notices() { return std::exchange(notices_, {}); }
  /// Why nothing can be read now; empty: nothing is wrong.
  const std::string& waiting() const noexcept { return waiting_; }

private:
  struct run {
    snapshot_table* table = nullptr;
    std::uint64_t chunk = 0;
    std::vector<std::string> keys;      ///< mending
    std::unordered_set<key_hash> found; ///< of those to be repaired
    chunk_run_ptr reading;
    chunk_look now;
    std::unique_ptr<chunk_filter> filter;
  };

  bool single(const snapshot_table& t) const noexcept { return options_.mode == snapshot_mode::only || t.window_key.empty(); }
  result<bool> past_barrier(connection& side);
  result<void> plan(connection& side, snapshot_table& table);
  void dispatch(snapshot_table& table);
  result<void> begin_copy(connection& side, snapshot_table& table, transaction_framer& framer);
  result<bool> open_holder(const snapshot_table& table);
  void start_over(snapshot_table& table, const std::string& why);
  void end_copy();
  void drop_runs(const snapshot_table* table);
  result<void> look_at_runs();
  void forget_seen(connection& side);
  void emit(run& r, storage::change_block block, bool last, transaction_framer& framer);
  std::optional<storage::change_block> deletes_of(const run& r) const;
  void finish_chunk(run& r, std::vector<storage::state_entry>& state);
  bool ready(const run& r, lsn reached) const noexcept;

  options options_;
  std::unique_ptr<chunk_pool> pool_; ///< made when there is something to read
  std::vector<std::unique_ptr<snapshot_table>> tables_;
  std::list<run> runs_;
  std::vector<snapshot_table*> requested_;                     ///< by again()
  std::map<const snapshot_table*, table_schema_ptr> repaired_; ///< as they were when reread() was asked for
  snapshot_table* copying_ = nullptr;
  std::unique_ptr<connection> holder_; ///< of the exported snapshot
  std::string exported_;
  std::optional<xid_snapshot> exported_sees_;
  lsn exported_at_;
  std::uint64_t barrier_ = 0; ///< transactions below must have ended before anything is read; 0: passed
  bool barrier_asked_ = true;
  std::chrono::steady_clock::time_point barrier_since_{}, look_at_{}, retry_at_{}, forget_at_{};
  std::vector<storage::state_entry> state_;
  std::vector<std::string> notices_;
  std::string waiting_;
  bool barrier_told_ = false;
};

} // namespace millrace::actors::ingest::postgres
