#include "storage/rocks/dead_letter_table.hpp"

#include <algorithm>

namespace millrace::storage::rocks {
namespace {

constexpr offset no_end{~std::uint64_t{0}};

offset offset_of(const rocksdb::Slice& key) { return {read_be64(key.data() + key.size() - sizeof(std::uint64_t))}; }

/// Two iterators that must agree, or one that must not see what comes later.
class pinned_view {
public:
  explicit pinned_view(rocksdb::DB& db) : db_(db), snapshot_(db.GetSnapshot()) {}
  ~pinned_view() { db_.ReleaseSnapshot(snapshot_); }
  pinned_view(const pinned_view&) = delete;
  pinned_view& operator=(const pinned_view&) = delete;
  rocksdb::ReadOptions options() const {
    rocksdb::ReadOptions o;
    o.snapshot = snapshot_;
    return o;
  }

private:
  rocksdb::DB& db_;
  const rocksdb::Snapshot* const snapshot_;
};

} // namespace

std::string dead_letter_rows::where(std::string_view load) const {
  return "pipeline " + uid_ + ", partition " + std::to_string(partition_) + ", dead letters of load '" + std::string(load) + "'";
}
std::string dead_letter_rows::where(std::string_view load, offset at) const {
  return where(load) + ", offset " + std::to_string(at.value);
}

result<std::shared_ptr<dead_letter_rows>> dead_letter_rows::open(std::shared_ptr<database> db, const std::string& uid,
                                                                 std::uint32_t partition) {
  std::shared_ptr<dead_letter_rows> table(new dead_letter_rows(std::move(db), uid, partition));
  if (auto ok = table->load_all(); !ok) return ok.error();
  return table;
}

/// From load to load by seeking over each one's rows.
result<void> dead_letter_rows::load_all() {
  const auto prefix = partition_prefix(uid_, partition_);
  const std::unique_ptr<rocksdb::Iterator> it(db_->db().NewIterator({}, db_->letters()));
  for (it->Seek(prefix); it->Valid() && it->key().starts_with(prefix);) {
    const auto rest = view(it->key()).substr(prefix.size());
    const auto name_end = rest.find('\0');
    if (name_end == rest.npos) return failure{errc::corrupt, where("?") + ": a row's key has no load"};
    const std::string load(rest.substr(0, name_end));
    auto rows = of(load);
    if (!rows) return rows.error();
    if (auto ok = load_one(*rows.value()); !ok) return ok;
    it->Seek(prefix + load + '\1');
  }
  if (!it->status().ok()) return read_failure(it->status(), where("?"));
  return success();
}

result<void> dead_letter_rows::load_one(load_rows& rows) {
  auto row = get(rows.keys.table(letter_table::counts), where(rows.name));
  if (!row) return row.error();
  if (row.value()) {
    auto counts = counts_from(*row.value(), where(rows.name));
    if (!counts) return counts.error();
    rows.counts = std::move(counts).value();
  }
  auto ok = each(rows, letter_table::outcomes, {0}, no_end, [&](offset at, std::string_view) -> result<bool> {
    rows.prepared.insert(at);
    return true;
  });
  if (!ok) return ok;

  const std::unique_ptr<rocksdb::Iterator> it(db_->db().NewIterator({}, db_->letters()));
  const auto last_of = [&](letter_table t) {
    it->SeekForPrev(rows.keys.row(t, no_end));
    return it->Valid() && it->key().starts_with(rows.keys.table(t));
  };
  if (last_of(letter_table::state)) rows.end = {offset_of(it->key()).value + 1};
  if (last_of(letter_table::filtered)) {
    const auto first = offset_of(it->key());
    auto note = note_from(first, view(it->value()), where(rows.name, first));
    if (!note) return note.error();
    rows.notes_top = first;
    rows.last_note = note.value();
    rows.last_note_total = note.value().before + note.value().count_below(no_end);
  }
  if (!it->status().ok()) return read_failure(it->status(), where(rows.name));
  return success();
}

dead_letter_rows::load_rows* dead_letter_rows::known(std::string_view load) const {
  std::lock_guard lock(loads_mutex_);
  const auto found = loads_.find(load);
  return found == loads_.end() ? nullptr : found->second.get();
}

result<dead_letter_rows::load_rows*> dead_letter_rows::of(std::string_view load) {
  if (auto* rows = known(load)) return rows;
  if (auto ok = check_name(load, "a load's name"); !ok) return ok.error();
  std::lock_guard lock(loads_mutex_);
  auto& slot = loads_[std::string(load)];
  if (!slot) slot = std::make_unique<load_rows>(letter_keys(uid_, partition_, load), std::string(load));
  return slot.get();
}

result<std::optional<std::string>> dead_letter_rows::get(const std::string& key, const std::string& where) const {
  std::string value;
  const auto status = db_->db().Get({}, db_->letters(), key, &value);
  if (status.IsNotFound()) return std::optional<std::string>{};
  if (!status.ok()) return read_failure(status, where);
  return std::optional<std::string>(std::move(value));
}

result<std::optional<letter_state>> dead_letter_rows::get_state(const load_rows& rows, offset at) const {
  auto row = get(rows.keys.row(letter_table::state, at), where(rows.name, at));
  if (!row) return row.error();
  if (!row.value()) return std::optional<letter_state>{};
  auto state = state_from(*row.value(), where(rows.name, at));
  if (!state) return state.error();
  return std::optional<letter_state>(std::move(state).value());
}

result<void> dead_letter_rows::each(const load_rows& rows, letter_table table, offset from, offset end,
                                    const std::function<result<bool>(offset, std::string_view)>& visit) const {
  const auto bound = end == no_end ? after_prefix(rows.keys.table(table)) : rows.keys.row(table, end);
  const rocksdb::Slice upper(bound);
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &upper;
  const std::unique_ptr<rocksdb::Iterator> it(db_->db().NewIterator(options, db_->letters()));
  for (it->Seek(rows.keys.row(table, from)); it->Valid(); it->Next()) {
    auto more = visit(offset_of(it->key()), view(it->value()));
    if (!more) return more.error();
    if (!more.value()) return success();
  }
  if (!it->status().ok()) return read_failure(it->status(), where(rows.name));
  return success();
}

dead_letter_counts dead_letter_rows::counts(std::string_view load) const {
  const auto* rows = known(load);
  if (rows == nullptr) return {};
  std::lock_guard lock(rows->reading);
  return rows->counts.sums;
}

std::vector<std::pair<std::string, std::uint64_t>> dead_letter_rows::totals_by_reason(std::string_view load) const {
  const auto* rows = known(load);
  if (rows == nullptr) return {};
  std::lock_guard lock(rows->reading);
  return rows->counts.open_by_reason;
}

result<dead_letter_counts> dead_letter_rows::counts_below(std::string_view load, offset end) const {
  const auto* rows = known(load);
  if (rows == nullptr) return dead_letter_counts{};
  {
    std::lock_guard lock(rows->reading);
    if (end >= rows->end) return rows->counts.sums;
  }
  letter_counts counts;
  auto ok = each(*rows, letter_table::state, {0}, end, [&](offset at, std::string_view row) -> result<bool> {
    auto state = state_from(row, where(load, at));
    if (!state) return state.error();
    counts.add(state.value());
    ++counts.sums.total;
    return true;
  });
  if (!ok) return ok.error();
  return counts.sums;
}

result<std::optional<dead_letter>> dead_letter_rows::find(std::string_view load, offset at) const {
  std::optional<dead_letter> found;
  if (auto ok = scan(load, at, {at.value + 1}, true,
                     [&](const dead_letter& letter) {
                       found = letter;
                       return false;
                     });
      !ok)
    return ok.error();
  return found;
}

result<void> dead_letter_rows::scan(std::string_view load, offset from, offset end, bool payloads,
                                    const std::function<bool(const dead_letter&)>& visit) const {
  const auto* rows = known(load);
  if (rows == nullptr) return success();
  const pinned_view view_now(db_->db());
  const auto options = view_now.options();
  const auto table = [&](letter_table t) {
    std::unique_ptr<rocksdb::Iterator> it(db_->db().NewIterator(options, db_->letters()));
    it->Seek(rows->keys.row(t, from));
    return it;
  };
  const auto states = table(letter_table::state);
  const auto letters = table(letter_table::letter); // one row for each state: they go in step
  const auto prefix = rows->keys.table(letter_table::state);
  for (; states->Valid() && states->key().starts_with(prefix); states->Next(), letters->Next()) {
    const auto at = offset_of(states->key());
    if (at >= end) break;
    const auto place = where(load, at);
    if (!letters->Valid() || view(letters->key()) != rows->keys.row(letter_table::letter, at))
      return letters->status().ok() ? failure{errc::corrupt, place + ": its row is missing"}
                                    : read_failure(letters->status(), place);
    auto letter = letter_from(view(letters->value()), place);
    if (!letter) return letter.error();
    auto state = state_from(view(states->value()), place);
    if (!state) return state.error();
    overlay(letter.value(), state.value());
    if (payloads) {
      const auto status =
          db_->db().Get(options, db_->letters(), rows->keys.row(letter_table::payload, at), &letter.value().payload);
      if (!status.ok())
        return status.IsNotFound() ? failure{errc::corrupt, place + ": its payload is missing"} : read_failure(status, place);
    }
    if (!visit(letter.value())) return success();
  }
  if (!states->status().ok()) return read_failure(states->status(), where(load));
  return success();
}

result<std::vector<offset>> dead_letter_rows::open_of_key(std::string_view load, std::uint64_t key_hash) const {
  std::vector<offset> open;
  const auto* rows = known(load);
  if (rows == nullptr || key_hash == 0) return open;
  {
    std::lock_guard lock(rows->reading); // nothing open: the usual case, asked for every change under `hold`
    if (rows->counts.sums.open == 0) return open;
  }
  const auto prefix = rows->keys.of_key(key_hash);
  const std::unique_ptr<rocksdb::Iterator> it(db_->db().NewIterator({}, db_->letters()));
  for (it->Seek(prefix); it->Valid() && it->key().starts_with(prefix); it->Next()) open.push_back(offset_of(it->key()));
  if (!it->status().ok()) return read_failure(it->status(), where(load));
  return open;
}

result<std::unique_ptr<letter_transaction>> dead_letter_rows::begin(std::string_view load) {
  auto rows = of(load);
  if (!rows) return rows.error();
  return std::make_unique<letter_transaction>(*this, *rows.value());
}

result<void> dead_letter_rows::prepare(std::string_view load, offset at, std::span<const outcome> outcomes) {
  if (auto ok = refuse_past_log(load, "partition_log::append_outcomes"); !ok) return ok;
  auto found = of(load);
  if (!found) return found.error();
  auto& rows = *found.value();
  std::lock_guard lock(rows.writing);
  if (outcomes.empty() && !rows.prepared.contains(at)) return success();
  rocksdb::WriteBatch batch;
  const auto key = rows.keys.row(letter_table::outcomes, at);
  if (outcomes.empty())
    batch.Delete(db_->letters(), key);
  else
    batch.Put(db_->letters(), key, to_row(outcomes));
  // Synced: the destination's commit, which comes next, makes these outcomes true.
  if (auto ok = db_->write(batch, database::durability::synced, where(load) + ": outcomes"); !ok) return ok;
  if (outcomes.empty())
    rows.prepared.erase(at);
  else
    rows.prepared.insert(at);
  return success();
}

result<void> dead_letter_rows::settle(std::string_view load, offset next) {
  auto* rows = known(load);
  if (rows == nullptr) return success();
  letter_transaction transaction(*this, *rows);
  rows->settled_below = next;
  if (rows->prepared.empty()) return success();
  // Of a replicated log, what was prepared above stays: other replicas do not know that this commit did not happen. The load
  // passes the order again, and its next outcomes entry replaces the list everywhere.
  if (auto ok = transaction.settle_prepared(next, !follows_log_); !ok) return ok;
  rocksdb::WriteBatch batch;
  transaction.add_to(batch);
  if (batch.Count() == 0) return success();
  // Not synced: if it is lost the outcomes are still there, and the next claim settles them.
  if (auto ok = db_->write(batch, database::durability::buffered, where(load) + ": settled outcomes"); !ok) return ok;
  transaction.written();
  return success();
}

offset dead_letter_rows::settled_below(std::string_view load) const {
  auto* rows = known(load);
  if (rows == nullptr) return {0};
  std::lock_guard lock(rows->writing);
  return rows->settled_below;
}

bool dead_letter_rows::has_prepared(std::string_view load, offset at) const {
  auto* rows = known(load);
  if (rows == nullptr) return false;
  std::lock_guard lock(rows->writing);
  return rows->prepared.contains(at);
}

void dead_letter_rows::emptied() {
  std::lock_guard loads(loads_mutex_);
  // The objects stay: readers may hold them.
  for (auto& [name, rows] : loads_) {
    std::scoped_lock lock(rows->writing, rows->reading);
    rows->prepared.clear();
    rows->settled_below = {};
    rows->last_note = {};
    rows->last_note_total = 0;
    rows->notes_top = {};
    rows->counts = {};
    rows->end = {};
  }
}

/// Of a replicated log: every replica's index follows from the entries, so a row written past the log would be on one only.
result<void> dead_letter_rows::refuse_past_log(std::string_view load, const char* call) const {
  if (!follows_log_) return success();
  return failure{errc::invalid, where(load) + ": this log is replicated, so the index changes by its entries alone; use " + call};
}

result<void> dead_letter_rows::supersede(std::string_view load, offset letter, offset by) {
  auto* rows = known(load);
  if (rows == nullptr) return failure{errc::not_found, where(load, letter) + ": no such dead letter"};
  std::lock_guard lock(rows->writing);
  auto state = get_state(*rows, letter);
  if (!state) return state.error();
  if (!state.value()) return failure{errc::not_found, where(load, letter) + ": no such dead letter"};
  if (state.value()->superseded_by != 0) return success(); // that one refuses a redrive is enough: a write for each would be slow
  auto after = *state.value();
  after.superseded_by = by.value + 1;
  rocksdb::WriteBatch batch;
  batch.Put(db_->letters(), rows->keys.row(letter_table::state, letter), to_row(after));
  return db_->write(batch, database::durability::synced, where(load) + ": a superseded letter");
}

result<std::optional<dead_letter_table::pending_rewind>> dead_letter_rows::rewind_of(std::string_view load) const {
  const auto* rows = known(load);
  if (rows == nullptr) return std::optional<pending_rewind>{};
  auto row = get(rows->keys.table(letter_table::rewind), where(load));
  if (!row) return row.error();
  if (!row.value()) return std::optional<pending_rewind>{};
  auto rewind = rewind_from(*row.value(), where(load) + ": its pending rewind");
  if (!rewind) return rewind.error();
  return std::optional<pending_rewind>(rewind.value());
}

result<void> dead_letter_rows::clear_rewind(std::string_view load) {
  if (auto ok = refuse_past_log(load, "partition_log::append_rewound"); !ok) return ok;
  auto* rows = known(load);
  if (rows == nullptr) return success();
  std::lock_guard lock(rows->writing);
  rocksdb::WriteBatch batch;
  batch.Delete(db_->letters(), rows->keys.table(letter_table::rewind));
  return db_->write(batch, database::durability::synced, where(load) + ": a carried out rewind");
}

} // namespace millrace::storage::rocks
