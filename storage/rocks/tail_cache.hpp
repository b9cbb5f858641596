#pragma once
// Fresh entries of one partition, decoded, so that a reader that keeps up reads no disk. Bounded in bytes; not thread safe.

#include "storage/batch.hpp"

#include <algorithm>
#include <deque>

namespace millrace::storage::rocks {

class tail_cache {
public:
  /// Entries come in order, without gaps.
  void push(batch_ptr entry) {
    held_ += entry->bytes();
    entries_.push_back(std::move(entry));
    shrink();
  }
  void limit(std::size_t bytes) {
    limit_ = bytes;
    shrink();
  }
  /// Forgets what begins at or above `end`.
  void truncate(offset end) {
    while (!entries_.empty() && entries_.back()->base() >= end) {
      held_ -= entries_.back()->bytes();
      entries_.pop_back();
    }
  }
  /// Null: not here.
  batch_ptr find(offset at) const {
    if (entries_.empty() || at < entries_.front()->base()) return nullptr;
    const auto after = std::upper_bound(entries_.begin(), entries_.end(), at,
                                        [](offset o, const batch_ptr& entry) { return o < entry->base(); });
    const auto& entry = *std::prev(after);
    return at < entry->end() ? entry : nullptr;
  }
  std::size_t held_bytes() const { return held_; }

private:
  void shrink() {
    while (held_ > limit_ && !entries_.empty()) {
      held_ -= entries_.front()->bytes();
      entries_.pop_front();
    }
  }
  std::deque<batch_ptr> entries_;
  std::size_t held_ = 0, limit_ = 0;
};

} // namespace millrace::storage::rocks
