#pragma once
// Changes of one table in order -> the versions that `history` keeps. Pure.

#include "actors/load/bulk/key_map.hpp"

#include <deque>
#include <optional>
#include <span>
#include <vector>

namespace millrace::actors::load::bulk {

/// One row of the history. Nothing is coalesced: every change is a version.
struct version {
  const transform::cell* cells = nullptr; ///< by the layout; a missing one comes from the newest version of `inherits`
  key_ref inherits;                       ///< a key of the destination's table
  bool complete = true;
  std::int64_t from_us = 0;
  std::optional<std::int64_t> to_us; ///< ended already, by a later change here
  std::uint64_t offset = 0;
  std::uint32_t change = 0;
};
/// The version that is current in the destination's table before all this ends.
struct closing {
  key_ref key;
  std::int64_t at_us = 0;
  std::uint32_t change = 0;
};

/// Closings first, then versions: the effect of the changes one by one.
class version_list {
public:
  void begin(const transform::table_layout& layout, std::vector<std::uint32_t> relevant);
  /// An insert, update or delete. Rows of one change and key are one version: the last.
  void add(const transform::row_set& set, const transform::row& r, std::uint32_t change);
  std::span<const version> versions() const noexcept { return versions_; }
  std::span<const closing> closings() const noexcept { return closings_; }
  bool empty() const noexcept { return versions_.empty() && closings_.empty(); }

private:
  void close(const key_ref& key, std::int64_t at, std::uint32_t change);
  const transform::table_layout* layout_ = nullptr;
  std::vector<std::uint32_t> relevant_;
  key_map keys_; ///< to the newest version here, or touched
  std::vector<version> versions_;
  std::vector<closing> closings_;
  std::deque<std::vector<transform::cell>> merged_;
};

/// When the source committed the change, else when it arrived: microseconds since 1970 UTC.
std::int64_t time_of(const transform::row_set& set, const transform::row& r);

} // namespace millrace::actors::load::bulk
