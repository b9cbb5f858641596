#pragma once
// How far one table's snapshot is, and what must be remembered meanwhile; its form in the log. Pure.
//   pg/table/NAME    1 done [SNAPSHOT LSN] | 1 pending [truncate] | 1 copying | 1 chunks KEY ROWS PLAN | 1 mending KEY ROWS
//   pg/debt/NAME/N   keys (row_key.hpp), each behind its length

#include "actors/ingest/postgres/change_window.hpp"
#include "actors/ingest/postgres/snapshot_plan.hpp"
#include "storage/batch.hpp"

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace millrace::actors::ingest::postgres {

inline constexpr std::string_view table_prefix = "pg/table/";
inline constexpr std::string_view debt_prefix = "pg/debt/";

class snapshot_table {
public:
  enum class phase : std::uint8_t {
    pending, ///< to be read; not begun
    chunks,  ///< by block ranges, while changes stream
    mending, ///< all ranges are read; rows that a partial update may have met before their range came are read again by key
    copying, ///< in one snapshot, while the stream is held
    done,
  };

  std::string name; ///< "public.orders"
  std::uint32_t relation = 0;
  phase at = phase::done;
  bool truncate_first = false;         ///< pending: rows of it are in the log that the next copy would double
  std::vector<std::string> window_key; ///< empty: the stream's changes cannot be told apart by key
  std::uint32_t key_version = 0;       ///< counts what window_key was
  snapshot_plan plan;
  change_window window;
  std::optional<xid_snapshot> copied; ///< done in one snapshot: what it saw
  lsn copied_at;                      ///< ... and where the log stood: transactions behind it were not seen
  std::uint64_t rows = 0, estimate = 0;
  bool seen_now = false; ///< read, at least in part, since the start: status() shows it

  // Keys whose whole row is owed to the log.
  std::unordered_map<key_hash, std::string> debt;
  std::unordered_set<key_hash> repairing; ///< of them: a key that the source has not becomes a delete. Not kept: asked for again.

  /// Rows of it are still to come between the changes.
  bool snapshotting() const noexcept { return !window_key.empty() && at != phase::done; }

  /// Remembers what a change did; `columns` of the window key in its tuples. `single`: the table is read in one snapshot.
  void note(xid by, const row_change& change, std::span<const std::size_t> columns);
  /// Owes the rows of these keys (row_key.hpp), of a table that is done.
  void repair(std::vector<std::string> keys);
  /// The debts noted since the last call, and everything forgotten.
  void collect(std::vector<storage::state_entry>& to);
  void forget_debt();

  storage::state_entry state() const;
  /// False: not readable.
  bool load(std::string_view value);
  bool load_debt(const std::string& key, std::string_view value);

private:
  void owe(std::string key);
  std::string key_id() const;

  std::vector<std::string> new_debt_;
  std::vector<std::string> debt_entries_; ///< state keys
  std::vector<std::string> dropped_entries_;
  std::uint64_t next_debt_ = 0;
  std::string stored_key_; ///< key_id() as it was loaded
public:
  /// What was loaded was made for this window key.
  bool fits_key() const { return stored_key_.empty() || stored_key_ == key_id(); }
};

} // namespace millrace::actors::ingest::postgres
