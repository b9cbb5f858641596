// Decisions and orders as entries: what a load gave up on, what an operator wants, what became of it.
//
// Alone, an entry's effect on the letters is rows of the same write. As one of several replicas the entry carries all that the
// effect needs, and letter_transaction::apply() does the same on each of them when the high watermark passes it.
#include "storage/rocks/rocks_partition_log.hpp"

namespace millrace::storage::rocks {
namespace {

/// So that an entry fits a message between nodes; a larger letter is an entry of its own.
constexpr std::size_t letters_bytes_max = 4u << 20;

std::size_t size_of(const dead_letter& l) {
  return 512 + l.payload.size() + l.context.size() + l.key.size() + l.message.size() + l.origin.size() + l.table.size() +
         l.source_position.size();
}

} // namespace

result<offset> rocks_partition_log::append_control(batch_kind kind, const control_entry& control, const extra_rows& extra) {
  auto staged = encode_control(kind, control);
  if (!staged) return staged.error();
  const staged_entry* entry = staged.value().get();
  return append_entries({&entry, 1}, database::use::control, extra);
}

/// One synced write of as many entries as the letters need; gives the offset of the last one.
result<offset> rocks_partition_log::append_letters(batch_kind kind, control_entry control, std::span<const outcome> letters) {
  std::vector<std::shared_ptr<const staged_entry>> made;
  for (std::size_t begin = 0; begin < letters.size();) {
    std::size_t end = begin, bytes = 0;
    for (; end < letters.size() && (end == begin || bytes + size_of(letters[end].letter) <= letters_bytes_max); ++end)
      bytes += size_of(letters[end].letter);
    const auto part = letters.subspan(begin, end - begin);
    control.offsets.clear();
    control.reasons.clear();
    for (const auto& l : part) {
      control.offsets.push_back(l.letter.offset);
      control.reasons.push_back(l.letter.reason);
    }
    if (bytes > payload_bytes_max)
      return failure{errc::invalid, place(part.front().letter.offset) + ": a dead letter of " + std::to_string(bytes) +
                                        " bytes does not fit an entry, which holds " + std::to_string(payload_bytes_max)};
    const auto row = to_row(part);
    control.letters = row;
    auto entry = encode_control(kind, control, compression_);
    if (!entry) return entry.error();
    made.push_back(std::move(entry).value());
    begin = end;
  }
  std::vector<const staged_entry*> entries;
  for (const auto& entry : made) entries.push_back(entry.get());
  auto first = append_entries(entries, database::use::control, nullptr);
  if (!first) return first.error();
  return offset{next_.value - 1};
}

result<offset> rocks_partition_log::append_quarantine(std::string_view load, std::span<const dead_letter> letters) {
  auto writing = enter_leader();
  if (!writing) return writing.error();
  control_entry decision;
  decision.load = load;
  if (replicated_) decision.settled_below = letters_->settled_below(load); // before the transaction, which locks the letters
  auto transaction = letters_->begin(load);
  if (!transaction) return transaction.error();
  auto& rows = *transaction.value();
  std::vector<outcome> carried;
  std::size_t bytes = 0;
  for (const auto& letter : letters) {
    if (letter.offset >= next_)
      return failure{errc::invalid, place(letter.offset) +
                                        ": a dead letter names an offset that the log does not have; it ends at " +
                                        std::to_string(next_.value)};
    if (replicated_) {
      auto open = rows.is_open(letter.offset);
      if (!open) return open.error();
      if (!open.value()) carried.push_back({letter});
      continue;
    }
    auto added = rows.quarantine(letter);
    if (!added) return added.error();
    if (!added.value()) continue;
    decision.offsets.push_back(letter.offset);
    decision.reasons.push_back(letter.reason);
    bytes += letter.payload.size() + letter.context.size();
  }
  // All were open already: a load that restarted decides again what is decided. The newest entry is as durable as the decision.
  if (decision.offsets.empty() && carried.empty()) return offset{next_.value - 1};
  if (replicated_) {
    transaction.value().reset();
    return append_letters(batch_kind::quarantine, std::move(decision), carried);
  }
  if (auto ok = db_->check_space(database::use::control, bytes,
                                 place() + ": storing " + std::to_string(letters.size()) + " dead letters");
      !ok)
    return ok.error();
  auto at = append_control(batch_kind::quarantine, decision, [&](rocksdb::WriteBatch& batch) { rows.add_to(batch); });
  if (at) rows.written();
  return at;
}

result<offset> rocks_partition_log::append_redrive(std::string_view load, std::span<const offset> letters, bool force) {
  auto writing = enter_leader();
  if (!writing) return writing.error();
  control_entry order;
  order.load = load;
  order.offsets.assign(letters.begin(), letters.end());
  order.flag = force;
  return append_control(batch_kind::redrive, order, nullptr);
}

result<offset> rocks_partition_log::append_discard(std::string_view load, std::span<const offset> letters) {
  auto writing = enter_leader();
  if (!writing) return writing.error();
  control_entry order;
  order.load = load;
  order.offsets.assign(letters.begin(), letters.end());
  return append_control(batch_kind::discard, order, nullptr);
}

result<offset> rocks_partition_log::append_rewind(std::string_view load, offset to, bool truncate) {
  auto writing = enter_leader();
  if (!writing) return writing.error();
  if (to > next_)
    return failure{errc::invalid, place(to) + ": cannot rewind beyond the end of the log, " + std::to_string(next_.value)};
  control_entry order;
  order.load = load;
  order.to = to;
  order.flag = truncate;
  if (replicated_) {
    if (auto ok = check_name(load, "a load's name"); !ok) return ok.error();
    order.settled_below = letters_->settled_below(load);
    return append_control(batch_kind::rewind, order, nullptr);
  }
  auto transaction = letters_->begin(load);
  if (!transaction) return transaction.error();
  auto& rows = *transaction.value();
  if (auto ok = rows.replace_from(to); !ok) return ok.error();
  rows.set_rewind({to, truncate});
  auto at = append_control(batch_kind::rewind, order, [&](rocksdb::WriteBatch& batch) { rows.add_to(batch); });
  if (at) rows.written();
  return at;
}

result<offset> rocks_partition_log::append_outcomes(std::string_view load, offset at, std::span<const outcome> outcomes) {
  auto writing = enter_leader();
  if (!writing) return writing.error();
  const offset newest{next_.value - 1};
  if (!replicated_) {
    if (auto ok = letters_->prepare(load, at, outcomes); !ok) return ok.error();
    return newest;
  }
  if (auto ok = check_name(load, "a load's name"); !ok) return ok.error();
  control_entry word;
  word.load = load;
  word.to = at;
  word.settled_below = letters_->settled_below(load);
  if (!outcomes.empty()) {
    // One entry: the next one for the same order would replace it. Payloads are in the index already.
    std::size_t bytes = 0;
    for (const auto& o : outcomes) bytes += size_of(o.letter);
    if (bytes > payload_bytes_max)
      return failure{errc::invalid, place(at) + ": the outcomes of one order have " + std::to_string(bytes) + " bytes, at most " +
                                        std::to_string(payload_bytes_max) + " are possible; order fewer dead letters at once"};
    const auto row = to_row(outcomes);
    word.letters = row;
    auto entry = encode_control(batch_kind::outcomes, word, compression_);
    if (!entry) return entry.error();
    const staged_entry* one = entry.value().get();
    return append_entries({&one, 1}, database::use::control, nullptr);
  }
  // What an earlier try prepared must be forgotten by every replica, also if it is not applied here yet.
  if (high_watermark_ == next_ && !letters_->has_prepared(load, at)) return newest;
  return append_control(batch_kind::outcomes, word, nullptr);
}

result<offset> rocks_partition_log::append_rewound(std::string_view load) {
  auto writing = enter_leader();
  if (!writing) return writing.error();
  if (!replicated_) {
    if (auto ok = letters_->clear_rewind(load); !ok) return ok.error();
    return offset{next_.value - 1};
  }
  if (auto ok = check_name(load, "a load's name"); !ok) return ok.error();
  control_entry word;
  word.load = load;
  word.settled_below = letters_->settled_below(load);
  return append_control(batch_kind::rewound, word, nullptr);
}

} // namespace millrace::storage::rocks
