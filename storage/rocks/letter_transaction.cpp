#include "storage/rocks/dead_letter_table.hpp"

#include <algorithm>

namespace millrace::storage::rocks {

letter_transaction::letter_transaction(const dead_letter_rows& table, dead_letter_rows::load_rows& rows)
    : table_(table), rows_(rows), lock_(rows.writing) {
  prepared_ = rows_.prepared;
  std::lock_guard reading(rows_.reading);
  counts_ = rows_.counts;
  end_ = rows_.end;
}

result<std::optional<letter_state>> letter_transaction::current(offset at) const {
  if (const auto found = touched_.find(at); found != touched_.end()) return std::optional<letter_state>(found->second);
  if (at >= end_) return std::optional<letter_state>{}; // the usual case, without a read: letters come in offset order
  return table_.get_state(rows_, at);
}

void letter_transaction::change(offset at, const std::optional<letter_state>& before, const letter_state& after) {
  const auto& keys = rows_.keys;
  const auto key_rows = [&](const letter_state& s, bool remove) {
    for (const auto hash : {s.key_hash, s.before_key_hash})
      if (hash != 0) ops_.push_back({keys.of_key(hash, at), {}, remove});
  };
  if (before) {
    counts_.remove(*before);
    if (before->open()) key_rows(*before, true);
  } else {
    ++counts_.sums.total;
  }
  counts_.add(after);
  if (after.open()) key_rows(after, false);
  ops_.push_back({keys.row(letter_table::state, at), to_row(after), false});
  touched_[at] = after;
  end_ = std::max(end_, offset{at.value + 1});
}

result<std::optional<dead_letter>> letter_transaction::stored_letter(offset at) const {
  const auto where = table_.where(rows_.name, at);
  auto row = table_.get(rows_.keys.row(letter_table::letter, at), where);
  if (!row) return row.error();
  if (!row.value()) return std::optional<dead_letter>{};
  auto letter = letter_from(*row.value(), where);
  if (!letter) return letter.error();
  return std::optional<dead_letter>(std::move(letter).value());
}

void letter_transaction::put_letter(const dead_letter& letter, bool with_payload) {
  ops_.push_back({rows_.keys.row(letter_table::letter, letter.offset), to_row(letter), false});
  if (with_payload) ops_.push_back({rows_.keys.row(letter_table::payload, letter.offset), letter.payload, false});
}

result<bool> letter_transaction::quarantine(const dead_letter& letter) {
  auto before = current(letter.offset);
  if (!before) return before.error();
  auto after = state_of(letter);
  after.state = dead_letter_state::quarantined;
  if (before.value()) {
    if (before.value()->open()) return false;
    after.attempts = before.value()->attempts + 1;
  }
  auto stored = letter;
  if (before.value()) {
    auto earlier = stored_letter(letter.offset);
    if (!earlier) return earlier.error();
    if (earlier.value()) stored.first_time = earlier.value()->first_time;
  }
  put_letter(stored, true);
  change(letter.offset, before.value(), after);
  return true;
}

result<void> letter_transaction::replace_from(offset to) {
  const auto replace = [&](offset at, const letter_state& before) {
    if (before.state == dead_letter_state::replaced) return;
    auto after = before;
    after.state = dead_letter_state::replaced;
    after.superseded_by = 0;
    change(at, before, after);
  };
  const auto mine = touched_; // newer than the rows
  for (auto it = mine.lower_bound(to); it != mine.end(); ++it) replace(it->first, it->second);
  return table_.each(rows_, letter_table::state, to, {~std::uint64_t{0}}, [&](offset at, std::string_view row) -> result<bool> {
    if (mine.contains(at)) return true;
    auto before = state_from(row, table_.where(rows_.name, at));
    if (!before) return before.error();
    replace(at, before.value());
    return true;
  });
}

result<void> letter_transaction::settle(const outcome& o) {
  auto letter = o.letter;
  auto before = current(letter.offset);
  if (!before) return before.error();
  if (!before.value()) {
    // This replica began above the letter's entry: the entry that carries the letter says what became of it.
    if (table_.follows_log_ && letter.payload.empty()) return success();
    // Not known: keep it rather than lose it.
    put_letter(letter, true);
    change(letter.offset, std::nullopt, state_of(letter));
    return success();
  }
  const auto& stored = *before.value();
  if (stored.state == dead_letter_state::replaced) return success();
  auto after = stored;
  after.state = letter.state;
  if (letter.state != dead_letter_state::discarded) after.attempts = std::max(letter.attempts, stored.attempts + 1);
  if (letter.state == dead_letter_state::quarantined) { // it failed again, maybe for another reason
    after.reason = letter.reason;
    after.key_hash = letter.key_hash;
    after.before_key_hash = letter.before_key_hash;
    after.superseded_by = std::max(letter.superseded_by, stored.superseded_by);
    auto earlier = stored_letter(letter.offset);
    if (!earlier) return earlier.error();
    if (earlier.value()) {
      letter.first_time = earlier.value()->first_time;
      if (letter.context.empty()) letter.context = earlier.value()->context;
    }
    put_letter(letter, !letter.payload.empty());
  }
  change(letter.offset, stored, after);
  return success();
}

result<bool> letter_transaction::is_open(offset at) const {
  auto state = current(at);
  if (!state) return state.error();
  return state.value() && state.value()->open();
}

result<void> letter_transaction::settle_prepared(offset next, bool forget_above) {
  for (auto it = prepared_.begin(); it != prepared_.end();) {
    const auto at = *it;
    if (at >= next && !forget_above) break;
    const auto key = rows_.keys.row(letter_table::outcomes, at);
    if (at < next) {
      auto row = table_.get(key, table_.where(rows_.name, at));
      if (!row) return row.error();
      if (!row.value()) return failure{errc::corrupt, table_.where(rows_.name, at) + ": its outcomes are missing"};
      auto outcomes = outcomes_from(*row.value(), table_.where(rows_.name, at));
      if (!outcomes) return outcomes.error();
      for (const auto& o : outcomes.value())
        if (auto ok = settle(o); !ok) return ok;
    }
    ops_.push_back({key, {}, true});
    it = prepared_.erase(it);
  }
  return success();
}

void letter_transaction::prepare(offset at, std::span<const outcome> outcomes) {
  const auto key = rows_.keys.row(letter_table::outcomes, at);
  if (outcomes.empty()) {
    if (prepared_.erase(at) != 0) ops_.push_back({key, {}, true});
    return;
  }
  ops_.push_back({key, to_row(outcomes), false});
  prepared_.insert(at);
}

result<void> letter_transaction::apply(const batch& entry) {
  const auto& control = entry.control();
  // Before what the entry says: a letter that a rewind replaces, or that comes back, must not be met by an older outcome later.
  if (auto ok = settle_prepared(control.settled_below, false); !ok) return ok;
  std::vector<outcome> letters;
  if (!control.letters.empty()) {
    auto read =
        outcomes_from(control.letters, table_.where(rows_.name) + ": the log's entry at " + std::to_string(entry.base().value));
    if (!read) return read.error();
    letters = std::move(read).value();
  }
  switch (entry.kind()) {
  case batch_kind::quarantine:
    for (const auto& l : letters)
      if (auto added = quarantine(l.letter); !added) return added.error();
    break;
  case batch_kind::carried:
    for (const auto& l : letters) {
      auto known = current(l.letter.offset);
      if (!known) return known.error();
      if (known.value()) continue;
      put_letter(l.letter, true);
      change(l.letter.offset, std::nullopt, state_of(l.letter));
    }
    break;
  case batch_kind::outcomes:
    prepare(control.to, letters);
    break;
  case batch_kind::rewind:
    if (auto ok = replace_from(control.to); !ok) return ok;
    set_rewind({control.to, control.flag});
    break;
  case batch_kind::rewound:
    clear_rewind();
    break;
  default:
    break;
  }
  return success();
}

void letter_transaction::set_rewind(const dead_letter_table::pending_rewind& rewind) {
  ops_.push_back({rows_.keys.table(letter_table::rewind), to_row(rewind), false});
}

void letter_transaction::add_to(rocksdb::WriteBatch& batch) const {
  auto* family = table_.db_->letters();
  for (const auto& op : ops_) {
    if (op.remove)
      batch.Delete(family, op.key);
    else
      batch.Put(family, op.key, op.value);
  }
  if (!touched_.empty()) batch.Put(family, rows_.keys.table(letter_table::counts), to_row(counts_));
}

void letter_transaction::written() {
  rows_.prepared = std::move(prepared_);
  std::lock_guard reading(rows_.reading);
  rows_.counts = counts_;
  rows_.end = end_;
}

} // namespace millrace::storage::rocks
