// The writer's part that puts dead letters through the load again, in the order of their keys.

#include "actors/load/letters.hpp"
#include "actors/load/writer.hpp"

#include <algorithm>
#include <set>

namespace millrace::actors::load {

namespace {
/// Takes one change and remembers why the destination refused it.
struct single_gate final : row_gate {
  std::optional<row_error> why;
  bool admit(const transform::row_set&, const transform::row&) override { return true; }
  bool rejected(const transform::row_set&, const transform::row&, row_error e) override {
    why = std::move(e);
    return true;
  }
};
} // namespace

/// Works through the named letters and, as keys come free, through what was held behind them; each in offset order. A letter
/// with an earlier open one of its key stays where it is. What happens to each is prepared durably before the commit that
/// passes `entry`, so that a crash on either side of the commit finds the truth.
bool writer_state::redrive(const storage::batch& entry, bool discard) {
  if (!flush()) return false; // what is buffered speaks to its own gate
  auto& table = *ctx->dead_letters;
  auto broken = [&](const failure& why) {
    if (!ctx->node->fatal(why, who())) self->quit(quit_reason(why));
    return false;
  };
  const bool force = entry.control().flag;
  std::set<std::uint64_t> todo, named;
  for (const auto o : entry.control().offsets) todo.insert(o.value);
  named = todo;
  std::map<std::uint64_t, storage::dead_letter> resolved; // by offset: with the outcome
  auto is_gone = [&](std::uint64_t at) {
    const auto it = resolved.find(at);
    return it != resolved.end() && it->second.state != storage::dead_letter_state::quarantined;
  };
  while (!todo.empty()) {
    const auto at = *todo.begin();
    todo.erase(todo.begin());
    if (resolved.contains(at) || at >= committed.next.value) continue;
    auto found = table.find(load->name, {at});
    if (!found) return broken(found.error());
    if (!found.value() || found.value()->state != storage::dead_letter_state::quarantined) continue;
    auto letter = std::move(*found.value());
    const bool discarding = discard && named.contains(at);
    if (!discarding && !force && letter.superseded_by != 0) continue;

    std::vector<std::uint64_t> followers;
    bool blocked = false;
    if (hold()) {
      for (const auto hash : {letter.key_hash, letter.before_key_hash}) {
        if (hash == 0) continue;
        auto same_key = table.open_of_key(load->name, hash);
        if (!same_key) return broken(same_key.error());
        for (const auto o : same_key.value()) {
          if (o.value < at && !is_gone(o.value)) blocked = true;
          if (o.value > at && !is_gone(o.value)) followers.push_back(o.value);
        }
      }
    }
    if (blocked && !discarding) continue;

    letter.last_time = storage::now();
    if (discarding) {
      letter.state = storage::dead_letter_state::discarded;
    } else {
      if (!redriver) redriver = make_transformer(*ctx, *load);
      auto change = storage::single_change(letter.offset, letter.arrival, letter.payload, letter.format, letter.envelope,
                                           letter.origin, letter.context);
      auto rows = redriver->run(change, 0, 1);
      std::optional<storage::dead_letter> again;
      if (!rows->failures.empty()) {
        again = letter_of(*rows, rows->failures.front(), *ctx);
      } else if (!rows->rows.empty()) {
        single_gate gate;
        auto applied = target->apply(rows, 0, rows->rows.size(), gate);
        if (applied) applied = target->flush(gate);
        if (!applied) {
          fail(applied.error());
          return false;
        }
        if (gate.why) again = letter_of(*rows, rows->rows.front(), *gate.why, "load " + target->name(), *ctx);
      } else {
        ++redriven_filtered;
      }
      ++letter.attempts;
      letter.revision = ctx->revision;
      if (again) {
        letter.reason = again->reason;
        letter.message = again->message;
        letter.sqlstate = again->sqlstate;
        letter.constraint = again->constraint;
        letter.column = again->column;
        letter.step = again->step;
      } else {
        letter.state = storage::dead_letter_state::redriven;
        --redriven_dead;
      }
    }
    if (letter.state != storage::dead_letter_state::quarantined) {
      held.remove(letter.key_hash, letter.before_key_hash);
      if (hold())
        for (const auto f : followers) todo.insert(f);
    }
    letter.payload.clear(); // kept as stored
    resolved.emplace(at, std::move(letter));
  }
  prepared = true;
  outcomes = control_request{storage::batch_kind::outcomes, load->name, {}, entry.base(), false, {}};
  for (auto& [at, letter] : resolved) outcomes->outcomes.push_back({std::move(letter)});
  return true;
}

} // namespace millrace::actors::load
