// Retention in a replicated log. A replica that begins at the new start never sees the entries below it, and what they did to
// the source's state and to the letters must not be lost with the last replica that saw them. So the leader says it again, as it
// is now, in entries of its own, and drops files only once those are acknowledged:
//
//   [ .. dropped: q(3) s=1 .. | start .. .. | carried: letter 3, s=7 ] hw ──> now the start may move
//
// Only what the dropped entries name is said: each letter once for each time that its newest entry falls out of the log.
#include "storage/rocks/rocks_partition_log.hpp"

#include "storage/rocks/keys.hpp"

#include <map>

namespace millrace::storage::rocks {

struct rocks_partition_log::dropped_effects {
  std::set<std::string> keys; ///< of the source's state
  std::map<std::string, std::set<offset>> letters;
};

/// True: the start may move to `start`. False: not yet.
result<bool> rocks_partition_log::carry(offset start) {
  if (!replicated_) return true;
  if (start <= carried_below_) return high_watermark_ >= carried_end_;
  // What is about to change letters makes "as they are now" wrong by the time it is read.
  for (std::size_t i = 1; i < edges_.size(); ++i)
    if (edges_[i].applies && edges_[i].kind != batch_kind::changes && edges_[i].kind != batch_kind::position) return false;
  dropped_effects found;
  if (auto ok = find_effects(start, found); !ok) return ok.error();
  if (auto ok = append_carried(found); !ok) return ok.error();
  carried_below_ = start;
  carried_end_ = next_;
  return high_watermark_ >= carried_end_;
}

result<void> rocks_partition_log::find_effects(offset start, dropped_effects& found) const {
  auto it = make_iterator(std::size_t{2} << 20);
  it->Seek(offset_key(first_));
  for (auto at = first_; at < start; it->Next()) {
    if (!it->Valid())
      return it->status().ok() ? failure{errc::corrupt, place(at) + ": the entry is missing"}
                               : read_failure(it->status(), place(at));
    auto entry = parse_at(*it);
    if (!entry) return entry.error();
    const auto& fields = entry.value().fields;
    if (fields.base != at) return failure{errc::corrupt, place(at) + ": the entry is missing"};
    at = fields.end();
    if (fields.states != 0) {
      auto state = state_in(view(it->value()));
      if (!state) return failure{state.error().code, place(fields.base) + ": " + state.error().message};
      for (auto& s : state.value()) found.keys.insert(std::move(s.key));
    }
    if (fields.kind != batch_kind::quarantine && fields.kind != batch_kind::carried) continue;
    auto decision = decode(entry.value());
    if (!decision) return decision.error();
    const auto& control = decision.value()->control();
    found.letters[control.load].insert(control.offsets.begin(), control.offsets.end());
  }
  return success();
}

result<void> rocks_partition_log::append_carried(const dropped_effects& found) {
  if (!found.keys.empty()) {
    auto acknowledged = source_state();
    if (!acknowledged) return acknowledged.error();
    std::map<std::string, std::string> now;
    for (auto& s : acknowledged.value()) now[s.key] = std::move(s.value);
    for (std::size_t i = 1; i < edges_.size(); ++i) { // the new entry comes after these
      if (!edges_[i].applies) continue;
      auto value = unacknowledged(i);
      if (!value) return value.error();
      auto state = state_in(*value.value());
      if (!state) return state.error();
      for (auto& s : state.value()) now[s.key] = std::move(s.value);
    }
    auto position = encode_control(batch_kind::position, {});
    if (!position) return position.error();
    for (const auto& key : found.keys)
      if (const auto value = now.find(key); value != now.end() && !value->second.empty())
        position.value()->state.push_back({key, value->second});
    const staged_entry* entry = position.value().get();
    if (!entry->state.empty())
      if (auto at = append_entries({&entry, 1}, database::use::control, nullptr); !at) return at.error();
  }
  for (const auto& [load, offsets] : found.letters) {
    control_entry word;
    word.load = load;
    word.settled_below = letters_->settled_below(load);
    std::vector<outcome> letters;
    for (const auto at : offsets) {
      auto letter = letters_->find(load, at);
      if (!letter) return letter.error();
      if (letter.value()) letters.push_back({std::move(*letter.value())});
    }
    if (letters.empty()) continue;
    if (auto at = append_letters(batch_kind::carried, word, letters); !at) return at.error();
  }
  return success();
}

} // namespace millrace::storage::rocks
