#include "actors/load/postgres/table_part.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>

namespace millrace::actors::load::postgres {
namespace {

using bulk::net_row;
using storage::operation;
using transform::cell;

/// Beside rows that are staged anyway, so few inserts are not worth a COPY of their own.
constexpr std::size_t straight_min = 64;

std::string time_text(std::int64_t micros) {
  using namespace std::chrono;
  const sys_time<microseconds> t{microseconds(micros)};
  const auto day = floor<days>(t);
  const year_month_day date(day);
  const hh_mm_ss clock(t - day);
  char out[64];
  const int n = std::snprintf(out, sizeof out, "%04d-%02u-%02u %02d:%02d:%02d.%06d+00", static_cast<int>(date.year()),
                              static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                              static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                              static_cast<int>(clock.seconds().count()), static_cast<int>(clock.subseconds().count()));
  return std::string(out, static_cast<std::size_t>(n));
}

setback of(fault f) { return {std::move(f), {}}; }

setback row_setback(std::string message, std::string sqlstate, std::optional<std::uint32_t> change) {
  setback out;
  out.why.what = blame::row;
  out.why.said.message = std::move(message);
  out.why.said.sqlstate = std::move(sqlstate);
  out.change = change;
  return out;
}

} // namespace

void table_part::begin(layout_plan& plan) {
  plan_ = &plan;
  appended_.clear();
  const auto mode = plan.spec->mode;
  if (mode == load_mode::history)
    history_.begin(*plan.layout, plan.written);
  else if (mode != load_mode::append)
    net_.begin(*plan.layout, plan.written, mode == load_mode::soft_delete);
}

bool table_part::take(const transform::row_set& set, const transform::row& r, std::uint32_t change) {
  switch (plan_->spec->mode) {
  case load_mode::append:
    if (r.op != operation::remove) {
      const auto* cells = set.cells_of(r);
      appended_.push_back({cells, change, plan_->subset_of(cells)});
    }
    return true;
  case load_mode::history:
    history_.add(set, r, change);
    return true;
  default:
    return net_.add(set, r, change);
  }
}

// ---- COPY

std::optional<setback> table_part::copy_begin(session& s, const std::string& sql) {
  line_change_.clear();
  text_.clear();
  flowing_ = true;
  if (auto bad = s.copy_begin(sql, doing())) return of(std::move(*bad));
  return {};
}

void table_part::push(session& s, bool all) {
  if (text_.size() < copy_piece_bytes && !all) return;
  flowing_ = flowing_ && s.copy_data(text_.view());
  text_.clear();
}

std::optional<setback> table_part::copy_end(session& s) {
  push(s, true);
  auto bad = s.copy_end(doing());
  if (!bad) return {};
  setback out = of(std::move(*bad));
  const auto line = static_cast<std::size_t>(out.why.line);
  if (line >= 1 && line <= line_change_.size()) out.change = line_change_[line - 1];
  out.why.said.context = in_the_table_s_words(out.why.said.context);
  return out;
}

/// "COPY millrace_stage_0, line 1, column c2: ..." -> "column qty: ...".
std::string table_part::in_the_table_s_words(const std::string& context) const {
  constexpr std::string_view word = ", column ";
  const auto at = context.find(word);
  if (at == std::string::npos) return {};
  const auto from = at + word.size();
  std::size_t number = 0;
  const auto [end, code] = std::from_chars(context.data() + from + 1, context.data() + context.size(), number);
  const auto rest = context.substr(static_cast<std::size_t>(end - context.data()));
  if (code != std::errc{} || context[from] != 'c' || number >= t_.shape().columns.size()) return {};
  return "table " + t_.name().quoted() + std::string(word) + t_.shape().columns[number].name + rest;
}

std::optional<setback> table_part::execute(session& s, const std::string& sql, session::handler then) {
  std::string statement;
  if (auto bad = s.prepared(sql, statement)) return of(std::move(*bad));
  s.add(std::move(statement), std::move(then));
  return {};
}

// ---- gathering into the temporary table

std::optional<setback> table_part::stage(session& s, bool single) {
  single_ = single;
  straight_.clear();
  subsets_.assign(plan_->subsets.size(), {});
  short_.clear();
  erased_ = cleared_ = closed_ = 0;
  duplicates_ = false;
  const auto mode = plan_->spec->mode;
  if (mode == load_mode::append) return {};
  if (auto bad = mode == load_mode::history ? stage_versions(s, single) : stage_net(s, single)) return bad;
  return {};
}

std::optional<setback> table_part::stage_net(session& s, bool single) {
  const auto rows = net_.rows();
  const auto width = plan_->layout->key.size();
  bool exact = true, moves = false;
  std::size_t fresh = 0;
  for (const auto& n : rows) {
    exact = exact && canonical_key(*plan_, t_.shape(), n.cells, true) &&
            (!n.before || canonical_key(*plan_, t_.shape(), n.before, false));
    moves = moves || n.what == net_row::kind::move;
    fresh += n.what == net_row::kind::write && n.fresh && n.complete && !n.erase_first;
  }
  // Keys that only the server can compare: straight rows could not be compared with staged ones.
  const bool straight = !single && t_.no_straight == 0 && fresh > 0 && (fresh == rows.size() || (exact && fresh >= straight_min));
  if (!straight && t_.no_straight > 0 && fresh > 0) --t_.no_straight;
  if (straight && fresh == rows.size()) {
    straight_.resize(rows.size());
    for (std::uint32_t i = 0; i < rows.size(); ++i) straight_[i] = i;
    return {};
  }
  const merge_text text(t_, *plan_);
  if (t_.stage_used) s.add("TRUNCATE " + t_.stage());
  t_.stage_used = true;
  if (auto bad = copy_begin(s, text.copy_stage(moves))) return bad;
  subsets_.resize(plan_->subsets.size());
  const auto key_row = [&](std::uint32_t g, std::uint32_t o, const net_row& n) {
    text_.integer(g);
    text_.integer(o);
    for (const auto i : plan_->written) plan_->in_key(i) ? text_.cell(n.cells[i], plan_->columns[i].boolean) : text_.null();
    if (plan_->spec->mode == load_mode::soft_delete) text_.null();
    for (std::size_t k = 0; moves && k < width; ++k) text_.null();
    text_.end_row();
    line_change_.push_back(n.change);
  };
  for (std::uint32_t o = 0; o < rows.size(); ++o) {
    const auto& n = rows[o];
    if (n.what == net_row::kind::erase || n.what == net_row::kind::mark) {
      key_row(group_erase, o, n);
      ++erased_;
      push(s, false);
      continue;
    }
    if (straight && n.what == net_row::kind::write && n.fresh && n.complete && !n.erase_first) {
      straight_.push_back(o);
      continue;
    }
    if (n.erase_first) {
      key_row(group_clear, o, n);
      ++cleared_;
    }
    const auto subset = n.complete ? 0 : plan_->subset_of(n.cells);
    if (subset >= subsets_.size()) subsets_.resize(subset + 1);
    auto what = group_write;
    if (n.what == net_row::kind::move)
      what = group_move;
    else if (subset != 0 && (n.inserts || plan_->layout->partial_inserts))
      what = group_lenient;
    ++(what == group_write ? subsets_[subset].writes : what == group_move ? subsets_[subset].moves : subsets_[subset].lenient);
    text_.integer(group_of(subset, what));
    text_.integer(o);
    for (const auto i : plan_->written) text_.cell(n.cells[i], plan_->columns[i].boolean);
    if (plan_->spec->mode == load_mode::soft_delete) text_.plain(n.deleted ? "t" : "f");
    if (moves)
      for (std::size_t k = 0; k < width; ++k)
        n.before ? text_.cell(n.before[k], plan_->columns[plan_->layout->key[k]].boolean) : text_.null();
    text_.end_row();
    line_change_.push_back(n.change);
    push(s, false);
  }
  if (auto bad = copy_end(s)) return bad;
  if (!exact && rows.size() > 1)
    return execute(s, text.duplicates(), [this](const pq::query_result& r) { duplicates_ = r.rows() > 0; });
  return {};
}

std::optional<setback> table_part::stage_versions(session& s, bool single) {
  const merge_text text(t_, *plan_);
  const auto width = plan_->layout->key.size();
  bool inherits = false, exact = true;
  for (const auto& v : history_.versions()) inherits = inherits || !v.complete;
  const bool straight = !single && t_.no_straight == 0;
  if (t_.no_straight > 0) --t_.no_straight;
  if (t_.stage_used) s.add("TRUNCATE " + t_.stage());
  t_.stage_used = true;
  if (auto bad = copy_begin(s, text.copy_stage(inherits))) return bad;
  std::uint32_t o = 0;
  for (const auto& c : history_.closings()) {
    text_.integer(group_close);
    text_.integer(o++);
    for (const auto i : plan_->written) {
      const auto& key = plan_->layout->key;
      const auto k = static_cast<std::size_t>(std::find(key.begin(), key.end(), i) - key.begin());
      k < width ? text_.cell(c.key[k], plan_->columns[i].boolean) : text_.null();
    }
    text_.null();
    text_.plain(time_text(c.at_us));
    text_.null();
    text_.null();
    for (std::size_t k = 0; inherits && k < width; ++k) text_.null();
    text_.end_row();
    line_change_.push_back(c.change);
    ++closed_;
    exact = exact && canonical_key(*plan_, t_.shape(), c.key.cells, !c.key.at.empty());
    push(s, false);
  }
  const auto versions = history_.versions();
  for (std::uint32_t i = 0; i < versions.size(); ++i) {
    const auto& v = versions[i];
    if (straight && v.complete) {
      straight_.push_back(i);
      continue;
    }
    const auto subset = v.complete ? 0 : plan_->subset_of(v.cells);
    if (subset >= subsets_.size()) subsets_.resize(subset + 1);
    ++subsets_[subset].writes;
    text_.integer(group_of(subset, group_write));
    text_.integer(o++);
    for (const auto c : plan_->written) text_.cell(v.cells[c], plan_->columns[c].boolean);
    text_.plain(time_text(v.from_us));
    v.to_us ? text_.plain(time_text(*v.to_us)) : text_.null();
    text_.plain(v.to_us ? "f" : "t");
    text_.integer(static_cast<std::int64_t>(v.offset));
    for (std::size_t k = 0; inherits && k < width; ++k)
      v.complete ? text_.null() : text_.cell(v.inherits[k], plan_->columns[plan_->layout->key[k]].boolean);
    text_.end_row();
    line_change_.push_back(v.change);
    push(s, false);
  }
  if (auto bad = copy_end(s)) return bad;
  if (!exact && (versions.size() > 1 || closed_ > 2)) // 2: a move between keys that the server takes for equal
    return execute(s, text.duplicates(), [this](const pq::query_result& r) { duplicates_ = r.rows() > 0; });
  return {};
}

// ---- from there into the table

std::optional<setback> table_part::erase(session& s) {
  if (erased_ == 0) return {};
  const merge_text text(t_, *plan_);
  return execute(s, plan_->spec->mode == load_mode::soft_delete ? text.mark() : text.erase(group_erase));
}

std::optional<setback> table_part::write_appended(session& s) {
  const merge_text text(t_, *plan_);
  for (std::uint32_t subset = 0; subset < plan_->subsets.size(); ++subset) {
    const auto mine = [&](const appended& a) { return a.subset == subset; };
    if (std::none_of(appended_.begin(), appended_.end(), mine)) continue;
    const bool nothing =
        std::none_of(plan_->written.begin(), plan_->written.end(), [&](auto i) { return plan_->subsets[subset][i]; });
    if (nothing) { // COPY knows no row without columns
      for (const auto& a : appended_)
        if (mine(a)) s.add("INSERT INTO " + t_.name().quoted() + " DEFAULT VALUES");
      continue;
    }
    if (auto bad = straight_copy_.begin(s, *plan_, subset, single_)) return bad;
    for (const auto& a : appended_)
      if (mine(a))
        if (auto bad = straight_copy_.row(s, a.cells, {}, a.change)) return bad;
    if (auto bad = straight_copy_.end(s)) return bad;
  }
  return {};
}

std::optional<setback> table_part::write_straight(session& s) {
  const auto mode = plan_->spec->mode;
  if (auto bad = straight_copy_.begin(s, *plan_, 0, single_)) return bad;
  for (const auto at : straight_) {
    std::optional<setback> bad;
    if (mode == load_mode::history) {
      const auto& v = history_.versions()[at];
      const auto from = time_text(v.from_us), to = v.to_us ? time_text(*v.to_us) : std::string();
      const std::array own{cell::text(from), v.to_us ? cell::text(to) : cell::null(), cell::of(!v.to_us),
                           cell::of(static_cast<std::int64_t>(v.offset))};
      bad = straight_copy_.row(s, v.cells, own, v.change);
    } else {
      const auto& n = net_.rows()[at];
      const auto deleted = cell::of(n.deleted);
      bad = straight_copy_.row(s, n.cells, {&deleted, mode == load_mode::soft_delete ? 1u : 0u}, n.change);
    }
    if (bad) return bad;
  }
  return straight_copy_.end(s);
}

std::optional<setback> table_part::write(session& s) {
  const auto mode = plan_->spec->mode;
  if (mode == load_mode::append) return write_appended(s);
  const merge_text text(t_, *plan_);
  const bool history = mode == load_mode::history;
  std::uint64_t staged_versions = 0;
  for (std::uint32_t subset = 0; history && subset < subsets_.size(); ++subset) {
    staged_versions += subsets_[subset].writes;
    if (subset != 0 && subsets_[subset].writes > 0)
      if (auto bad = execute(s, text.inherit(subset))) return bad;
  }
  if (closed_ > 0)
    if (auto bad = execute(s, text.close_versions())) return bad;
  if (cleared_ > 0)
    if (auto bad = execute(s, text.erase(group_clear))) return bad;

  if (!straight_.empty())
    if (auto bad = write_straight(s)) return bad;
  if (history) {
    if (staged_versions > 0)
      if (auto bad = execute(s, text.add_versions())) return bad;
    return {};
  }
  for (std::uint32_t subset = 0; subset < subsets_.size(); ++subset) {
    const auto& use = subsets_[subset];
    if (use.moves > 0) {
      const auto to = subset != 0 && plan_->layout->partial_inserts ? group_lenient : group_write;
      for (const auto& sql : {text.move_retag(subset, to), text.move_clear(subset), text.move(subset)})
        if (auto bad = execute(s, sql)) return bad;
    }
    if (subset == 0) {
      if (use.writes + use.moves > 0)
        if (auto bad = execute(s, text.upsert())) return bad;
      continue;
    }
    if (use.writes + use.moves > 0) {
      const auto expected = use.writes;
      const auto sql = text.update(subset, group_write);
      if (sql.empty()) // the key alone: nothing to set, but there must be a row
        short_.push_back(subset);
      else if (auto bad = execute(s, sql, [this, subset, expected, moved = use.moves > 0](const pq::query_result& r) {
                 if (moved || r.affected() != expected) short_.push_back(subset);
               }))
        return bad;
    }
    if (use.lenient > 0 || (use.moves > 0 && plan_->layout->partial_inserts)) {
      for (const auto& sql : {text.update(subset, group_lenient), text.insert_absent(subset)})
        if (!sql.empty())
          if (auto bad = execute(s, sql)) return bad;
    }
  }
  return {};
}

std::optional<setback> table_part::settle(session& s) {
  if (duplicates_)
    return row_setback("table " + t_.name().quoted() + ": rows of one change have keys that are equal for the server", "21000",
                       {});
  const merge_text text(t_, *plan_);
  for (const auto subset : short_) {
    auto found = s.ask(text.absent(subset), doing());
    if (!found) {
      setback out;
      out.why.why = found.error();
      return out;
    }
    if (found.value().rows() == 0) continue;
    const auto at = std::stoull(std::string(found.value().at(0, 0)));
    const auto& n = net_.rows()[at];
    std::string key, lacks;
    for (const auto i : plan_->written) {
      if (n.cells[i].k == cell::kind::missing) lacks += (lacks.empty() ? "" : ", ") + plan_->layout->columns[i].name;
    }
    for (const auto i : plan_->layout->key) key += (key.empty() ? "" : ", ") + plan_->layout->columns[i].name;
    return row_setback("table " + t_.name().quoted() + ": the row to update is not there, and the change does not carry column " +
                           lacks + " (unchanged in the source); expected a row with its key (" + key +
                           "). A new copy of the table in the source, or a rewind, brings it back",
                       "", n.change);
  }
  return {};
}

} // namespace millrace::actors::load::postgres
