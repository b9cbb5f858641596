#pragma once
// The newest entries of a leader's log, in memory: followers that keep up never cost a read, and entries that are not written yet
// exist nowhere else.

#include "storage/replica_log.hpp"

#include <algorithm>
#include <deque>
#include <optional>
#include <vector>

namespace millrace::storage::replication {

class recent_entries {
public:
  void push(const raw_entry& e) {
    bytes_ += e.value->size();
    entries_.push_back(e);
  }
  void clear() {
    entries_.clear();
    bytes_ = 0;
  }
  /// Drops what nobody needs (below `floor`), and more while it is above `bytes`, but never what the disk has not got yet.
  void trim(offset floor, offset on_disk, std::size_t bytes) {
    while (!entries_.empty() && entries_.front().end() <= on_disk && (entries_.front().end() <= floor || bytes_ > bytes)) {
      bytes_ -= entries_.front().value->size();
      entries_.pop_front();
    }
  }
  bool has(offset from) const { return !entries_.empty() && entries_.front().base <= from && from < entries_.back().end(); }
  /// The entry that begins at `from`, or null.
  const raw_entry* at(offset from) const {
    const auto it = find(from);
    return it == entries_.end() || it->base != from ? nullptr : &*it;
  }
  /// Entries from `from` on, which must begin one: at least one, at most `bytes` after the first.
  std::vector<raw_entry> read(offset from, std::size_t bytes) const {
    std::vector<raw_entry> out;
    std::size_t total = 0;
    for (auto it = find(from); it != entries_.end(); ++it) {
      total += it->value->size();
      if (!out.empty() && total > bytes) break;
      out.push_back(*it);
    }
    return out;
  }
  /// Bytes of the entries at and above `from`; none: it does not go back that far.
  std::optional<std::size_t> bytes_from(offset from) const {
    if (entries_.empty() || from < entries_.front().base) return std::nullopt;
    std::size_t total = 0;
    for (auto it = entries_.rbegin(); it != entries_.rend() && it->base >= from; ++it) total += it->value->size();
    return total;
  }

private:
  std::deque<raw_entry>::const_iterator find(offset from) const {
    return std::lower_bound(entries_.begin(), entries_.end(), from, [](const raw_entry& e, offset at) { return e.base < at; });
  }
  std::deque<raw_entry> entries_;
  std::size_t bytes_ = 0;
};

} // namespace millrace::storage::replication
