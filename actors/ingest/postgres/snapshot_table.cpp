#include "actors/ingest/postgres/snapshot_table.hpp"

#include "actors/ingest/postgres/bytes.hpp"
#include "actors/ingest/postgres/position.hpp"
#include "actors/postgres/connection.hpp"

#include <algorithm>

namespace millrace::actors::ingest::postgres {

std::string snapshot_table::key_id() const {
  std::string all;
  for (const auto& name : window_key) put_number(all, name.size(), 4), all += name;
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(chained_hash(0, all)));
  return text;
}

void snapshot_table::owe(std::string key) {
  const auto [at, fresh] = debt.try_emplace(hash_of(key), key);
  if (fresh) new_debt_.push_back(std::move(key));
}

void snapshot_table::repair(std::vector<std::string> keys) {
  at = phase::mending;
  for (auto& key : keys) {
    repairing.insert(hash_of(key));
    owe(std::move(key));
  }
}

void snapshot_table::note(xid by, const row_change& change, std::span<const std::size_t> columns) {
  if (window_key.empty()) return window.changed_anything(by); // any one that a copy does not see spoils it
  const bool partial =
      std::any_of(change.after.begin(), change.after.end(), [](const auto& c) { return c.k == tuple_cell::kind::unchanged; });
  auto after = change.after.empty() ? std::nullopt : key_of(change.after, columns);
  const auto before = change.before.empty() ? std::nullopt : key_of(change.before, columns);
  if (!change.after.empty() && !after) after = before; // a key that is TOASTed and unchanged
  if ((!after && !before) || (!change.after.empty() && !after)) return window.changed_anything(by);
  const bool moved = before && after && *before != *after;
  bool owed = false; // the row it changed was owed already
  if (before && (moved || change.kind == 'D')) {
    const auto hash = hash_of(*before);
    owed = debt.contains(hash);
    // The old key's row is gone, whatever was known of it. Under a partial update the chunk's row is not what the new key needs.
    window.changed(by, hash, false);
  }
  if (!after) return;
  const auto hash = hash_of(*after);
  window.changed(by, hash, partial);
  // While ranges are being read nobody knows whether the row was there to be updated; later all are, but for those owed.
  if (partial && (at != phase::mending || owed)) owe(std::move(*after));
}

void snapshot_table::collect(std::vector<storage::state_entry>& to) {
  for (auto& key : dropped_entries_) to.push_back({std::move(key), ""});
  dropped_entries_.clear();
  if (new_debt_.empty()) return;
  storage::state_entry entry;
  entry.key = std::string(debt_prefix) + name + '/' + std::to_string(next_debt_++);
  for (const auto& key : new_debt_) {
    put_number(entry.value, key.size(), 4);
    entry.value += key;
  }
  new_debt_.clear();
  debt_entries_.push_back(entry.key);
  to.push_back(std::move(entry));
}

void snapshot_table::forget_debt() {
  debt.clear();
  repairing.clear();
  new_debt_.clear();
  dropped_entries_.insert(dropped_entries_.end(), debt_entries_.begin(), debt_entries_.end());
  debt_entries_.clear();
}

storage::state_entry snapshot_table::state() const {
  std::string value = "1 ";
  switch (at) {
  case phase::pending:
    value += truncate_first ? "pending truncate" : "pending";
    break;
  case phase::copying:
    value += "copying";
    break;
  case phase::chunks:
    value += "chunks " + key_id() + ' ' + std::to_string(rows) + ' ' + plan.text();
    break;
  case phase::mending:
    value += "mending " + key_id() + ' ' + std::to_string(rows);
    break;
  case phase::done:
    value += "done";
    if (copied) value += ' ' + copied->text() + ' ' + storage::lsn_text(copied_at.value);
    break;
  }
  return {std::string(table_prefix) + name, std::move(value)};
}

bool snapshot_table::load(std::string_view value) {
  word_reader words(value);
  if (words.next() != "1") return false;
  const auto what = words.next();
  if (what == "done") {
    at = phase::done;
    if (words.empty()) return true;
    copied = xid_snapshot::parse(words.next());
    const auto position = actors::postgres::parse_lsn(words.next());
    if (!copied || !position) return false;
    copied_at = {*position};
    return true;
  }
  if (what == "pending" || what == "copying") {
    at = phase::pending;
    truncate_first = what == "copying" || words.next() == "truncate";
    return true;
  }
  if (what != "chunks" && what != "mending") return false;
  stored_key_ = words.next();
  const auto count = words.number();
  if (stored_key_.empty() || !count) return false;
  rows = *count;
  at = what == "chunks" ? phase::chunks : phase::mending;
  if (at == phase::mending) return words.empty();
  const auto rest = value.find(what) + what.size() + 1 + stored_key_.size() + 1 + std::to_string(*count).size() + 1;
  auto parsed = rest <= value.size() ? snapshot_plan::parse(value.substr(rest)) : std::nullopt;
  if (!parsed) return false;
  plan = std::move(*parsed);
  return true;
}

bool snapshot_table::load_debt(const std::string& key, std::string_view value) {
  const auto n = to_number(std::string_view(key).substr(key.rfind('/') + 1));
  if (!n) return false;
  next_debt_ = std::max(next_debt_, *n + 1);
  debt_entries_.push_back(key);
  byte_reader in(value);
  while (in.good() && !in.at_end()) {
    const auto size = in.u32();
    const auto bytes = in.take(size);
    if (in.good()) debt.try_emplace(hash_of(bytes), bytes);
  }
  return in.good();
}

} // namespace millrace::actors::ingest::postgres
