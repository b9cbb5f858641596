#include "actors/load/postgres/straight_copy.hpp"

namespace millrace::actors::load::postgres {

using transform::cell;

namespace {
/// What we sent is not what the server's receive functions take (22P03), or not a binary COPY (22P04, 08P01): its types are not
/// the ones we know, and text is what is left.
bool not_understood(std::string_view sqlstate) { return sqlstate == "22P03" || sqlstate == "22P04" || sqlstate == "08P01"; }
} // namespace

std::optional<setback> straight_copy::begin(session& s, const layout_plan& plan, std::uint32_t subset, bool single) {
  plan_ = &plan;
  fields_.clear();
  own_.clear();
  line_change_.clear();
  bytes_.clear();
  text_.clear();
  flowing_ = true;
  binary_ = !single;
  const auto& present = plan.subsets[subset];
  for (const auto i : plan.written) {
    if (!present[i]) continue;
    fields_.push_back({i, plan.columns[i].binary, plan.columns[i].boolean});
    binary_ = binary_ && fields_.back().form != binary_form::none;
  }
  for (const auto name : bookkeeping_columns(plan.spec->mode)) {
    const auto* column = t_.shape().find(name);
    own_.push_back(column ? binary_form_of(column->base, column->is_enum) : binary_form::none);
    binary_ = binary_ && own_.back() != binary_form::none;
  }
  if (binary_ && t_.no_binary > 0) {
    --t_.no_binary;
    binary_ = false;
  }
  if (auto bad = s.copy_begin(merge_text(t_, plan).copy_straight(subset, binary_), doing())) return setback{std::move(*bad), {}};
  if (binary_) bytes_.header();
  return {};
}

void straight_copy::push(session& s, copy_buffer& from, bool all) {
  if (from.size() < copy_piece_bytes && !all) return;
  flowing_ = flowing_ && s.copy_data(from.view());
  from.clear();
}

std::optional<setback> straight_copy::row(session& s, const cell* cells, std::span<const cell> own, std::uint32_t change) {
  line_change_.push_back(change);
  if (!binary_) {
    for (const auto& f : fields_) text_.cell(cells[f.cell], f.boolean);
    for (const auto& c : own) text_.cell(c, boolean_text::letter);
    text_.end_row();
    push(s, text_, false);
    return {};
  }
  bytes_.begin_row(fields_.size() + own.size());
  bool said = true;
  for (const auto& f : fields_) said = said && bytes_.cell(cells[f.cell], f.form, f.boolean);
  for (std::size_t i = 0; i < own.size(); ++i) said = said && bytes_.cell(own[i], own_[i], boolean_text::letter);
  if (said) {
    push(s, bytes_, false);
    return {};
  }
  // What was sent is undone with the range: ending this COPY and going on with another would check constraints, and fire
  // triggers, between two halves of it.
  if (auto bad = s.copy_abandon(doing())) return failed(std::move(*bad));
  pause();
  setback out;
  out.why.what = blame::row;
  out.again = true;
  return out;
}

std::optional<setback> straight_copy::end(session& s) {
  if (binary_) bytes_.trailer();
  binary_ ? push(s, bytes_, true) : push(s, text_, true);
  if (auto bad = s.copy_end(doing())) return failed(std::move(*bad));
  if (binary_) t_.binary_penalty = target_table::penalty_min;
  t_.straight_penalty = target_table::penalty_min;
  return {};
}

void straight_copy::pause() noexcept {
  t_.no_binary = t_.binary_penalty;
  t_.binary_penalty = std::min(target_table::penalty_max, t_.binary_penalty * 2);
}

setback straight_copy::failed(fault why) {
  setback out{std::move(why), {}};
  const auto line = static_cast<std::size_t>(out.why.line);
  if (line >= 1 && line <= line_change_.size()) out.change = line_change_[line - 1];
  if (binary_ && not_understood(out.why.said.sqlstate)) {
    pause();
    out.why.what = blame::row; // the range is undone like any that fails
    out.again = true;
  } else if (plan_->spec->mode != load_mode::append && out.why.said.sqlstate == "23505") {
    t_.no_straight = t_.straight_penalty; // ever longer pauses: a replay meets rows for as long as it lasts
    t_.straight_penalty = std::min(target_table::penalty_max, t_.straight_penalty * 2);
    out.again = true;
  }
  return out;
}

} // namespace millrace::actors::load::postgres
