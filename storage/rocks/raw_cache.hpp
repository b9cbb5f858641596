#pragma once
// Fresh entries of one replicated partition as they lie on the disk, for followers that keep up and for what the high
// watermark applies. Bounded in bytes; not thread safe.

#include "storage/replica_log.hpp"

#include <algorithm>
#include <deque>

namespace millrace::storage::rocks {

class raw_cache {
public:
  /// Entries come in order, without gaps.
  void push(raw_entry entry) {
    held_ += entry.value->size();
    entries_.push_back(std::move(entry));
    shrink();
  }
  void limit(std::size_t bytes) {
    limit_ = bytes;
    shrink();
  }
  void clear() {
    entries_.clear();
    held_ = 0;
  }
  /// Forgets what begins at or above `end`.
  void truncate(offset end) {
    while (!entries_.empty() && entries_.back().base >= end) {
      held_ -= entries_.back().value->size();
      entries_.pop_back();
    }
  }
  /// From the entry that begins at `from` on: at most `bytes` together after the first. Empty: it is not here.
  std::vector<raw_entry> run(offset from, std::size_t bytes) const {
    std::vector<raw_entry> found;
    auto at =
        std::lower_bound(entries_.begin(), entries_.end(), from, [](const raw_entry& entry, offset o) { return entry.base < o; });
    if (at == entries_.end() || at->base != from) return found;
    found.push_back(*at);
    for (++at; at != entries_.end() && at->value->size() <= bytes; ++at) {
      bytes -= at->value->size();
      found.push_back(*at);
    }
    return found;
  }

private:
  void shrink() {
    while (held_ > limit_ && !entries_.empty()) {
      held_ -= entries_.front().value->size();
      entries_.pop_front();
    }
  }
  std::deque<raw_entry> entries_;
  std::size_t held_ = 0, limit_ = 0;
};

} // namespace millrace::storage::rocks
