#include "actors/load/bulk/coalescer.hpp"

namespace millrace::actors::load::bulk {

using storage::operation;
using transform::cell;

namespace {
constexpr std::uint32_t gone = key_map::none - 1;
}

void coalescer::begin(const transform::table_layout& layout, std::vector<std::uint32_t> relevant, bool soft_delete) {
  layout_ = &layout;
  relevant_ = std::move(relevant);
  soft_ = soft_delete;
  keys_.clear();
  rows_.clear();
  merged_.clear();
}

bool coalescer::whole(const cell* cells) const noexcept {
  for (const auto i : relevant_)
    if (cells[i].k == cell::kind::missing) return false;
  return true;
}

const cell* coalescer::merged(const cell* under, const cell* over) {
  auto& out = merged_.emplace_back(over, over + layout_->columns.size());
  for (std::size_t i = 0; i < out.size(); ++i)
    if (out[i].k == cell::kind::missing) out[i] = under[i];
  return out.data();
}

bool coalescer::add(const transform::row_set& set, const transform::row& r, std::uint32_t change) {
  const auto* cells = set.cells_of(r);
  if (r.op == operation::remove) return remove(cells, change);
  if (r.has_before_key) {
    const auto* before = set.cells.data() + r.before_key;
    if (!same(key_ref::alone(before, layout_->key.size()), key_ref::in_row(cells, layout_->key)))
      return move(before, cells, change);
  }
  return write(cells, r.op == operation::insert, change);
}

bool coalescer::write(const cell* cells, bool insert, std::uint32_t change) {
  const bool complete = whole(cells);
  auto& place = keys_.at(key_ref::in_row(cells, layout_->key));
  if (place == gone) return false;
  if (place == key_map::none) {
    place = static_cast<std::uint32_t>(rows_.size());
    net_row n;
    n.fresh = insert && complete;
    n.complete = complete;
    n.inserts = insert;
    n.cells = cells;
    n.change = change;
    rows_.push_back(n);
    return true;
  }
  auto& n = rows_[place];
  switch (n.what) {
  case net_row::kind::erase:
    if (!complete) return false; // its row is gone: what it lacks is nowhere
    n.what = net_row::kind::write;
    n.erase_first = true;
    n.cells = cells;
    break;
  case net_row::kind::mark:
    n.what = net_row::kind::write;
    n.cells = cells;
    break;
  default:
    n.cells = complete ? cells : merged(n.cells, cells);
  }
  n.complete = complete || whole(n.cells);
  n.inserts = n.inserts || insert;
  n.deleted = false;
  n.change = change;
  return true;
}

bool coalescer::remove(const cell* cells, std::uint32_t change) {
  auto& place = keys_.at(key_ref::in_row(cells, layout_->key));
  if (place == gone) return false;
  if (place == key_map::none) {
    place = static_cast<std::uint32_t>(rows_.size());
    net_row n;
    n.what = soft_ ? net_row::kind::mark : net_row::kind::erase;
    n.deleted = true;
    n.cells = cells;
    n.change = change;
    rows_.push_back(n);
    return true;
  }
  auto& n = rows_[place];
  if (soft_) {
    n.deleted = true;
  } else {
    if (n.what == net_row::kind::move) return false; // two keys to erase
    const auto* at = cells;
    n = net_row{};
    n.what = net_row::kind::erase;
    n.cells = at;
  }
  n.change = change;
  return true;
}

bool coalescer::move(const cell* before, const cell* cells, std::uint32_t change) {
  const auto from = key_ref::alone(before, layout_->key.size());
  const auto to = key_ref::in_row(cells, layout_->key);
  if (keys_.find(from) != key_map::none || keys_.find(to) != key_map::none) return false;
  keys_.at(from) = gone;
  keys_.at(to) = static_cast<std::uint32_t>(rows_.size());
  net_row n;
  n.what = net_row::kind::move;
  n.complete = whole(cells);
  n.cells = cells;
  n.before = before;
  n.change = change;
  rows_.push_back(n);
  return true;
}

} // namespace millrace::actors::load::bulk
