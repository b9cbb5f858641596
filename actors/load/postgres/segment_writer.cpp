#include "actors/load/postgres/segment_writer.hpp"

#include "actors/load/bulk/isolation.hpp"

#include <algorithm>
#include <set>
#include <unordered_map>

namespace millrace::actors::load::postgres {
namespace {

using storage::operation;

// What a source's large transaction may hold in memory here; enough rows that the round trips of a segment do not count.
constexpr std::size_t bytes_max = 32u << 20, changes_max = 200000;
// Each table of a range may have rows there and values that binary cannot say. A range that is not in after these is halved.
constexpr int agains_max = 8;

std::string offset_text(const transform::row_set& set, const transform::row& r) {
  return set.batch ? std::to_string(set.batch->base().value + r.change) : "batch + " + std::to_string(r.change);
}

setback of(fault f) { return {std::move(f), {}}; }

} // namespace

segment_writer::segment_writer(session*& s, const std::vector<std::unique_ptr<target_table>>& tables) : s_(s), tables_(tables) {
  for (const auto& t : tables_) {
    order_.push_back(static_cast<std::uint32_t>(parts_.size()));
    parts_.push_back(std::make_unique<table_part>(*t));
  }
  referenced_.assign(tables_.size(), false);
}

void segment_writer::set_foreign_keys(const std::vector<std::pair<std::uint32_t, std::uint32_t>>& edges) {
  const auto n = tables_.size();
  referenced_.assign(n, false);
  std::vector<bool> placed(n, false);
  order_.clear();
  for (const auto& [child, parent] : edges)
    if (child != parent) referenced_[parent] = true;
  while (order_.size() < n) {
    const auto before = order_.size();
    for (std::uint32_t t = 0; t < n; ++t) {
      if (placed[t]) continue;
      const bool waits = std::any_of(edges.begin(), edges.end(),
                                     [&](const auto& e) { return e.first == t && e.second != t && !placed[e.second]; });
      if (waits) continue;
      placed[t] = true;
      order_.push_back(t);
    }
    if (order_.size() != before) continue;
    for (std::uint32_t t = 0; t < n; ++t) // a circle: its constraints must be deferrable, or rows go one by one
      if (!placed[t]) {
        placed[t] = true;
        order_.push_back(t);
        break;
      }
  }
}

void segment_writer::add(const transform::row_set_ptr& set, std::size_t first, std::size_t end) {
  if (sets_.empty() || sets_.back() != set) {
    sets_.push_back(set);
    bytes_ += set->bytes + set->cells.size() * sizeof(transform::cell) + set->rows.size() * sizeof(transform::row) +
              (set->batch ? set->batch->bytes() : 0);
  }
  changes_.push_back({set.get(), static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(end)});
}

bool segment_writer::full() const noexcept { return bytes_ >= bytes_max || changes_.size() >= changes_max; }

void segment_writer::clear() noexcept {
  changes_.clear();
  sets_.clear();
  bytes_ = 0;
  for (auto* p : active_) p->end();
  active_.clear();
}

result<void> segment_writer::write(load::row_gate& gate, bool alone, const std::string& name) {
  setback last;
  failure trouble;
  std::unordered_map<std::uint64_t, std::vector<std::uint32_t>> by_key; // made when the first change is rejected
  const auto attempt = [&](std::size_t first, std::size_t end, std::optional<std::size_t>& hint) {
    auto bad = try_range(first, end, alone);
    for (int n = 0; bad && bad->again && n < agains_max; ++n) bad = try_range(first, end, alone);
    if (!bad) return bulk::attempt::done;
    if (bad->why.what != blame::row) {
      trouble = std::move(bad->why.why);
      return bulk::attempt::stop;
    }
    if (bad->change) hint = *bad->change;
    last = std::move(*bad);
    return bulk::attempt::failed;
  };
  const auto reject = [&](std::size_t at) {
    const auto& c = changes_[at];
    const auto& r = row_of(c);
    if (!gate.rejected(*c.set, r, row_error_of(last.why.said))) {
      trouble = make_failure(errc::halted, name + ": halted at the change at offset " + offset_text(*c.set, r));
      return false;
    }
    if (by_key.empty())
      for (std::uint32_t i = 0; i < changes_.size(); ++i) {
        const auto& each = row_of(changes_[i]);
        if (each.key_hash) by_key[each.key_hash].push_back(i);
        if (each.before_key_hash && each.before_key_hash != each.key_hash) by_key[each.before_key_hash].push_back(i);
      }
    // Later changes of the key may be held now, and then those of the keys that they lead to.
    std::set<std::uint32_t> later;
    const auto follow = [&](const transform::row& from, std::uint32_t behind) {
      for (const auto hash : {from.key_hash, from.before_key_hash})
        if (const auto found = by_key.find(hash); hash && found != by_key.end())
          for (const auto i : found->second)
            if (i > behind && !changes_[i].dropped) later.insert(i);
    };
    follow(r, static_cast<std::uint32_t>(at));
    while (!later.empty()) {
      const auto i = *later.begin();
      later.erase(later.begin());
      auto& next = changes_[i];
      if (gate.admit(*next.set, row_of(next))) continue;
      next.dropped = true;
      follow(row_of(next), i);
    }
    return true;
  };
  const bool whole = bulk::apply_isolated(changes_.size(), attempt, reject);
  clear();
  if (!whole) return trouble;
  return success();
}

std::optional<setback> segment_writer::try_range(std::size_t first, std::size_t end, bool alone) {
  while (first < end && changes_[first].dropped) ++first;
  if (first == end) return {};
  const bool single = end - first == 1;
  s_->add("SAVEPOINT mr");
  std::vector<std::pair<target_table*, std::int64_t>> truncated;
  const auto run = [&]() -> std::optional<setback> {
    for (auto i = first; i < end; ++i) {
      const auto& c = changes_[i];
      if (c.dropped) continue;
      for (auto at = c.first; at < c.end; ++at) {
        const auto& r = c.set->rows[at];
        const auto& layout = c.set->layouts[r.layout];
        const auto number = table_of_[layout->table];
        auto& table = *tables_[number];
        if (r.op == operation::truncate) {
          if (table.mode() == load_mode::append || !table.shape().exists) continue;
          if (auto bad = write_part(single)) return bad;
          truncated.emplace_back(&table, bulk::time_of(*c.set, r));
          continue;
        }
        if (!truncated.empty()) {
          if (auto bad = truncate(truncated)) return bad;
          truncated.clear();
        }
        auto* plan = table.plan_of(layout);
        if (!plan) continue; // no table yet, and nothing that could make it: there is nothing to delete
        auto& part = *parts_[number];
        if (part.plan() && part.plan() != plan)
          if (auto bad = write_part(single)) return bad;
        if (!part.plan()) {
          part.begin(*plan);
          active_.push_back(&part);
        }
        if (part.take(*c.set, r, static_cast<std::uint32_t>(i))) continue;
        if (auto bad = write_part(single)) return bad;
        part.begin(*plan);
        active_.push_back(&part);
        part.take(*c.set, r, static_cast<std::uint32_t>(i));
      }
    }
    if (auto bad = write_part(single)) return bad;
    if (!truncated.empty())
      if (auto bad = truncate(truncated)) return bad;
    if (!alone) return {};
    s_->add("SET CONSTRAINTS ALL IMMEDIATE");
    s_->add("SET CONSTRAINTS ALL DEFERRED");
    if (auto bad = s_->flush("checking deferred constraints")) return of(std::move(*bad));
    return {};
  };
  auto bad = run();
  for (auto* p : active_) p->end();
  active_.clear();
  if (!bad) {
    s_->add("RELEASE mr"); // goes with the next statement
    return {};
  }
  s_->forget_pending();
  if (bad->why.what == blame::row && s_->alive()) {
    s_->add("ROLLBACK TO mr");
    s_->add("RELEASE mr");
  }
  return bad;
}

std::optional<setback> segment_writer::write_part(bool single) {
  if (active_.empty()) return {};
  for (auto* p : active_)
    if (auto bad = p->stage(*s_, single)) return bad;
  // A row is deleted before others come where nothing refers to it (they may need its unique value), and after others have
  // stopped to refer to it where they can.
  for (auto it = order_.rbegin(); it != order_.rend(); ++it)
    if (parts_[*it]->plan() && !referenced_[*it])
      if (auto bad = parts_[*it]->erase(*s_)) return bad;
  for (const auto t : order_)
    if (parts_[t]->plan())
      if (auto bad = parts_[t]->write(*s_)) return bad;
  for (auto it = order_.rbegin(); it != order_.rend(); ++it)
    if (parts_[*it]->plan() && referenced_[*it])
      if (auto bad = parts_[*it]->erase(*s_)) return bad;
  if (auto bad = s_->flush("writing " + active_.front()->table().name().quoted() + (active_.size() > 1 ? " and others" : "")))
    return of(std::move(*bad));
  for (auto* p : active_)
    if (auto bad = p->settle(*s_)) return bad;
  for (auto* p : active_) p->end();
  active_.clear();
  return {};
}

std::optional<setback> segment_writer::truncate(const std::vector<std::pair<target_table*, std::int64_t>>& tables) {
  std::vector<target_table*> emptied;
  for (const auto& [table, at] : tables) {
    const auto name = table->name().quoted();
    if (table->mode() == load_mode::soft_delete)
      s_->add("UPDATE " + name + " SET " + pq::quoted_name(deleted_column) + " = true WHERE " + pq::quoted_name(deleted_column) +
              " IS NOT TRUE");
    else if (table->mode() == load_mode::history)
      s_->add("UPDATE " + name + " SET " + pq::quoted_name(valid_to_column) +
              " = timestamptz 'epoch' + interval '1 microsecond' * " + std::to_string(at) + ", " +
              pq::quoted_name(current_column) + " = false WHERE " + pq::quoted_name(current_column));
    else if (std::find(emptied.begin(), emptied.end(), table) == emptied.end())
      emptied.push_back(table);
  }
  if (auto bad = s_->flush("truncating")) return of(std::move(*bad));
  if (auto bad = empty_tables(emptied)) return of(std::move(*bad));
  return {};
}

std::optional<fault> segment_writer::empty_tables(const std::vector<target_table*>& tables) {
  if (tables.empty()) return {};
  std::string names;
  for (const auto* t : tables) names += (names.empty() ? "" : ", ") + t->name().quoted();
  s_->add("SAVEPOINT mr_empty");
  s_->add("TRUNCATE " + names);
  s_->add("RELEASE mr_empty");
  auto bad = s_->flush("truncating " + names);
  if (!bad) return {};
  if (!s_->alive() || bad->said.sqlstate.substr(0, 2) == "40" || bad->said.sqlstate.substr(0, 2) == "57") return bad;
  // Not permitted, referred to by other tables, read by somebody, with deferred checks pending: rows can still be deleted.
  s_->add("ROLLBACK TO mr_empty");
  s_->add("RELEASE mr_empty");
  for (auto it = order_.rbegin(); it != order_.rend(); ++it)
    for (const auto* t : tables)
      if (tables_[*it].get() == t) s_->add("DELETE FROM " + t->name().quoted());
  return s_->flush("emptying " + names);
}

} // namespace millrace::actors::load::postgres
