#pragma once
// The dead letter index of one partition in the `letters` family. Every change of a letter's state, its counts and its key index
// are one write, and counts are held in memory beside their row.

#include "storage/rocks/database.hpp"
#include "storage/rocks/letter_rows.hpp"

#include <atomic>
#include <set>

namespace millrace::storage::rocks {

class letter_transaction;

class dead_letter_rows final : public dead_letter_table {
public:
  static result<std::shared_ptr<dead_letter_rows>> open(std::shared_ptr<database> db, const std::string& uid,
                                                        std::uint32_t partition);

  dead_letter_counts counts(std::string_view load) const override;
  std::vector<std::pair<std::string, std::uint64_t>> totals_by_reason(std::string_view load) const override;
  result<dead_letter_counts> counts_below(std::string_view load, offset end) const override;
  result<std::optional<dead_letter>> find(std::string_view load, offset at) const override;
  result<void> scan(std::string_view load, offset from, offset end, bool payloads,
                    const std::function<bool(const dead_letter&)>& visit) const override;
  result<std::vector<offset>> open_of_key(std::string_view load, std::uint64_t key_hash) const override;
  result<void> prepare(std::string_view load, offset at, std::span<const outcome> outcomes) override;
  result<void> settle(std::string_view load, offset next) override;
  result<void> supersede(std::string_view load, offset letter, offset by) override;
  result<void> note_filtered(std::string_view load, offset first, offset end, std::uint64_t before,
                             std::span<const std::uint8_t> bits) override;
  result<std::uint64_t> filtered_below(std::string_view load, offset end) const override;
  result<std::optional<pending_rewind>> rewind_of(std::string_view load) const override;
  result<void> clear_rewind(std::string_view load) override;

  // ---- For the log, whose write carries the rows
  /// Other writes to this load's letters wait until the transaction is gone.
  result<std::unique_ptr<letter_transaction>> begin(std::string_view load);
  /// The log begins at `start` now: notes that only speak of what is below go.
  result<void> forget_notes_below(offset start);
  /// The log is one of several replicas: its entries alone decide, so prepare() and clear_rewind() are refused from here on.
  void follow_log() { follows_log_ = true; }
  /// What the load's destination has passed, as far as this process was told by settle().
  offset settled_below(std::string_view load) const;
  bool has_prepared(std::string_view load, offset at) const;
  /// After the log's write emptied the rows.
  void emptied();

private:
  friend class letter_transaction;
  struct load_rows {
    explicit load_rows(letter_keys k, std::string n) : keys(std::move(k)), name(std::move(n)) {}
    const letter_keys keys;
    const std::string name;
    std::mutex writing; ///< held across a write: of what follows up to `reading`
    std::set<offset> prepared;
    offset settled_below;              ///< of the newest settle() in this process
    filtered_note last_note;           ///< the newest one written, without its bits
    std::uint64_t last_note_total = 0; ///< filtered ones below its end
    offset notes_top;                  ///< no note begins above this
    mutable std::mutex reading;        ///< of what follows: never held across a write
    letter_counts counts;
    offset end; ///< above the newest letter
  };

  dead_letter_rows(std::shared_ptr<database> db, const std::string& uid, std::uint32_t partition)
      : db_(std::move(db)), uid_(uid), partition_(partition) {}
  result<void> refuse_past_log(std::string_view load, const char* call) const;
  std::string where(std::string_view load) const;
  std::string where(std::string_view load, offset at) const;
  /// Null: no letters and no notes of this load.
  load_rows* known(std::string_view load) const;
  result<load_rows*> of(std::string_view load);
  result<void> load_all();
  result<void> load_one(load_rows& rows);
  result<std::optional<std::string>> get(const std::string& key, const std::string& where) const;
  result<std::optional<letter_state>> get_state(const load_rows& rows, offset at) const;
  /// Visits one of the load's tables in [from, end) by offset until `visit` returns false.
  result<void> each(const load_rows& rows, letter_table table, offset from, offset end,
                    const std::function<result<bool>(offset, std::string_view)>& visit) const;

  const std::shared_ptr<database> db_;
  const std::string uid_;
  const std::uint32_t partition_;
  std::atomic<bool> follows_log_{false};
  mutable std::mutex loads_mutex_;
  std::map<std::string, std::unique_ptr<load_rows>, std::less<>> loads_;
};

/// Changes of one load's letters, gathered before they are written. Sees its own changes.
class letter_transaction {
public:
  letter_transaction(const dead_letter_rows& table, dead_letter_rows::load_rows& rows);

  /// False: it is open already and stays as it is.
  result<bool> quarantine(const dead_letter& letter);
  /// Every letter at or above `to`, whatever became of it: the replay decides anew.
  result<void> replace_from(offset to);
  result<bool> is_open(offset at) const;
  /// What was prepared below `next` comes true; what was prepared above it is forgotten, if wanted.
  result<void> settle_prepared(offset next, bool forget_above);
  /// Replaces what was prepared for `at`; none: forgets it.
  void prepare(offset at, std::span<const outcome> outcomes);
  void set_rewind(const dead_letter_table::pending_rewind& rewind);
  void clear_rewind() { ops_.push_back({rows_.keys.table(letter_table::rewind), {}, true}); }
  /// What an entry of a replicated log does to the load's letters.
  result<void> apply(const batch& entry);

  void add_to(rocksdb::WriteBatch& batch) const;
  /// After the write: readers see the new counts.
  void written();

private:
  struct row_op {
    std::string key, value;
    bool remove = false;
  };
  result<std::optional<letter_state>> current(offset at) const;
  result<std::optional<dead_letter>> stored_letter(offset at) const;
  void change(offset at, const std::optional<letter_state>& before, const letter_state& after);
  void put_letter(const dead_letter& letter, bool with_payload);
  /// What a redrive or a discard did; a letter that was replaced meanwhile stays so.
  result<void> settle(const outcome& o);

  const dead_letter_rows& table_;
  dead_letter_rows::load_rows& rows_;
  std::unique_lock<std::mutex> lock_;
  letter_counts counts_;
  offset end_;
  std::map<offset, letter_state> touched_;
  std::set<offset> prepared_;
  std::vector<row_op> ops_;
};

} // namespace millrace::storage::rocks
