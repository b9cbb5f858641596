// Which changes a load filtered, by ranges of offsets: a replay may cut the ranges differently, the newest word counts.
#include "storage/rocks/dead_letter_table.hpp"

#include <algorithm>

namespace millrace::storage::rocks {
namespace {
constexpr offset no_end{~std::uint64_t{0}};
}

result<void> dead_letter_rows::note_filtered(std::string_view load, offset first, offset end, std::uint64_t before,
                                             std::span<const std::uint8_t> bits) {
  if (end <= first) return success();
  if (bits.size() * 8 > ((end.value - first.value + 7) & ~std::uint64_t{7}))
    return failure{errc::invalid,
                   where(load, first) + ": more bits than the " + std::to_string(end.value - first.value) + " offsets noted"};
  auto found = of(load);
  if (!found) return found.error();
  auto& rows = *found.value();
  std::lock_guard lock(rows.writing);
  filtered_note note{first, end, before, std::string(reinterpret_cast<const char*>(bits.data()), bits.size())};
  const auto filtered = note.count_below(no_end);
  if (filtered == 0) note.bits.clear();

  rocksdb::WriteBatch batch;
  const bool replay = first <= rows.notes_top && rows.last_note.end > offset{0};
  if (replay) {
    // Ranges of an earlier run that begin inside of this one would hide it.
    auto ok = each(rows, letter_table::filtered, first, end, [&](offset at, std::string_view) -> result<bool> {
      batch.Delete(db_->letters(), rows.keys.row(letter_table::filtered, at));
      return true;
    });
    if (!ok) return ok;
  } else if (filtered == 0 && rows.last_note.end <= first && before == rows.last_note_total) {
    return success(); // what the note before says already
  }
  batch.Put(db_->letters(), rows.keys.row(letter_table::filtered, first), to_row(note));
  if (auto ok = db_->write(batch, database::durability::buffered, where(load) + ": filtered changes"); !ok) return ok;
  note.bits.clear();
  rows.last_note = std::move(note);
  rows.last_note_total = before + filtered;
  rows.notes_top = std::max(rows.notes_top, first);
  return success();
}

result<std::uint64_t> dead_letter_rows::filtered_below(std::string_view load, offset end) const {
  const auto* rows = known(load);
  if (rows == nullptr || end.value == 0) return std::uint64_t{0};
  const std::unique_ptr<rocksdb::Iterator> it(db_->db().NewIterator({}, db_->letters()));
  it->SeekForPrev(rows->keys.row(letter_table::filtered, {end.value - 1}));
  if (!it->status().ok()) return read_failure(it->status(), where(load));
  const auto prefix = rows->keys.table(letter_table::filtered);
  if (!it->Valid() || !it->key().starts_with(prefix)) return std::uint64_t{0};
  const offset first{read_be64(it->key().data() + prefix.size())};
  auto note = note_from(first, view(it->value()), where(load, first) + ": a note of filtered changes");
  if (!note) return note.error();
  return note.value().before + note.value().count_below(end);
}

result<void> dead_letter_rows::forget_notes_below(offset start) {
  std::vector<load_rows*> all;
  {
    std::lock_guard lock(loads_mutex_);
    for (auto& [name, rows] : loads_) all.push_back(rows.get());
  }
  for (auto* rows : all) {
    std::lock_guard lock(rows->writing);
    const std::unique_ptr<rocksdb::Iterator> it(db_->db().NewIterator({}, db_->letters()));
    it->SeekForPrev(rows->keys.row(letter_table::filtered, start));
    if (!it->status().ok()) return read_failure(it->status(), where(rows->name));
    const auto prefix = rows->keys.table(letter_table::filtered);
    if (!it->Valid() || !it->key().starts_with(prefix)) continue;
    const std::string kept = it->key().ToString(); // still says how many were filtered below it
    it->Prev();
    if (!it->Valid() || !it->key().starts_with(prefix)) continue;
    rocksdb::WriteBatch batch;
    batch.DeleteRange(db_->letters(), prefix, kept);
    if (auto ok = db_->write(batch, database::durability::buffered, where(rows->name) + ": old notes"); !ok) return ok;
  }
  return success();
}

} // namespace millrace::storage::rocks
