#include "actors/load/bulk/versions.hpp"

namespace millrace::actors::load::bulk {

using transform::cell;

namespace {
constexpr std::uint32_t touched = key_map::none - 1; ///< the table's current version is closed; no version here
}

std::int64_t time_of(const transform::row_set& set, const transform::row& r) {
  return r.time_us != 0 ? r.time_us : set.batch->first_time().time_since_epoch().count();
}

void version_list::begin(const transform::table_layout& layout, std::vector<std::uint32_t> relevant) {
  layout_ = &layout;
  relevant_ = std::move(relevant);
  keys_.clear();
  versions_.clear();
  closings_.clear();
  merged_.clear();
}

void version_list::close(const key_ref& key, std::int64_t at, std::uint32_t change) {
  auto& place = keys_.at(key);
  if (place == key_map::none) {
    closings_.push_back({key, at, change});
    place = touched;
  } else if (place != touched && !versions_[place].to_us) {
    versions_[place].to_us = at;
  }
}

void version_list::add(const transform::row_set& set, const transform::row& r, std::uint32_t change) {
  const auto* cells = set.cells_of(r);
  const auto key = key_ref::in_row(cells, layout_->key);
  const auto at = time_of(set, r);
  const auto offset = set.batch->base().value + r.change;
  if (r.op == storage::operation::remove) return close(key, at, change);
  const auto parent = r.has_before_key ? key_ref::alone(set.cells.data() + r.before_key, layout_->key.size()) : key;
  const auto newest = keys_.find(parent); // before close() touches it
  close(key, at, change);
  if (r.has_before_key) close(parent, at, change);

  version v;
  v.cells = cells;
  v.inherits = parent;
  v.from_us = at;
  v.offset = offset;
  v.change = change;
  for (const auto i : relevant_) v.complete = v.complete && cells[i].k != cell::kind::missing;
  if (!v.complete && newest != key_map::none && newest != touched) {
    const auto& last = versions_[newest];
    auto& out = merged_.emplace_back(cells, cells + layout_->columns.size());
    for (std::size_t i = 0; i < out.size(); ++i)
      if (out[i].k == cell::kind::missing) out[i] = last.cells[i];
    v.cells = out.data();
    v.inherits = last.inherits; // what that one lacks, it has from there
    v.complete = last.complete;
  }
  auto& place = keys_.at(key);
  if (place != touched && versions_[place].offset == offset) {
    versions_[place] = v;
    return;
  }
  place = static_cast<std::uint32_t>(versions_.size());
  versions_.push_back(v);
}

} // namespace millrace::actors::load::bulk
