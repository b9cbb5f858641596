#include "actors/transform/frame.hpp"

#include <algorithm>

namespace millrace::actors::transform {

namespace {
bool same_in_any_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [&](char x, char y) { return lower(x) == lower(y); });
}
} // namespace

void frame::begin(const std::vector<frame_column>& c, const std::vector<cell>& defaults, std::size_t spare,
                  std::size_t expected) {
  columns = c;
  rows.clear();
  shadows.clear();
  decoded_keys.clear();
  stride_ = std::max<std::size_t>(1, columns.size() + spare);
  blank_ = defaults;
  blank_.resize(stride_);
  cells_.clear();
  expected_ = expected;
  cells_.reserve(expected * stride_);
  rows.reserve(expected);
}

std::uint32_t frame::add_slot() {
  const auto slot = static_cast<std::uint32_t>(cells_.size() / stride_);
  cells_.insert(cells_.end(), blank_.begin(), blank_.end());
  return slot;
}

std::uint32_t frame::add_column(frame_column c) {
  columns.push_back(std::move(c));
  if (columns.size() > stride_) {
    const std::size_t wider = std::max<std::size_t>(8, stride_ * 2);
    const std::size_t count = cells_.size() / stride_;
    std::vector<cell> moved;
    moved.reserve(std::max(expected_, count) * wider);
    moved.resize(count * wider);
    for (std::size_t i = 0; i < count; ++i)
      std::copy_n(cells_.begin() + static_cast<std::ptrdiff_t>(i * stride_), stride_,
                  moved.begin() + static_cast<std::ptrdiff_t>(i * wider));
    cells_ = std::move(moved);
    blank_.resize(wider);
    stride_ = wider;
  }
  return static_cast<std::uint32_t>(columns.size() - 1);
}

int frame::find(std::string_view name) const {
  for (std::size_t i = 0; i < columns.size(); ++i)
    if (!columns[i].dropped && columns[i].name == name) return static_cast<int>(i);
  return -1;
}

int frame::find_any_case(std::string_view name) const {
  if (const int exact = find(name); exact >= 0) return exact;
  for (std::size_t i = 0; i < columns.size(); ++i)
    if (!columns[i].dropped && same_in_any_case(columns[i].name, name)) return static_cast<int>(i);
  return -1;
}

} // namespace millrace::actors::transform
