#pragma once
// Which keys have a change in quarantine, so that their later changes wait behind it. Pure.

#include <cstdint>
#include <unordered_map>
#include <vector>

namespace millrace::actors::load {

/// Counts open dead letters by key hash. Changes since mark() can be undone: the destination's transaction may fail and be
/// repeated, and must then find what it found before. Not thread safe. Key hash 0 (no key) is never held.
class held_keys {
public:
  bool empty() const { return counts_.empty(); }
  bool holds(std::uint64_t hash) const { return hash != 0 && counts_.contains(hash); }
  bool holds_either(std::uint64_t hash, std::uint64_t before) const { return holds(hash) || holds(before); }
  void add(std::uint64_t hash, std::uint64_t before) {
    change(hash, 1);
    if (before != hash) change(before, 1);
  }
  void remove(std::uint64_t hash, std::uint64_t before) {
    change(hash, -1);
    if (before != hash) change(before, -1);
  }
  void mark() { journal_.clear(); }
  void undo() {
    auto journal = std::move(journal_);
    for (auto it = journal.rbegin(); it != journal.rend(); ++it) change(it->first, -it->second);
    journal_.clear();
  }
  void clear() {
    counts_.clear();
    journal_.clear();
  }

private:
  void change(std::uint64_t hash, int by) {
    if (hash == 0) return;
    journal_.emplace_back(hash, by);
    auto& n = counts_[hash];
    n += by;
    if (n <= 0) counts_.erase(hash);
  }
  std::unordered_map<std::uint64_t, std::int64_t> counts_;
  std::vector<std::pair<std::uint64_t, int>> journal_;
};

} // namespace millrace::actors::load
