#include "actors/ingest/postgres/change_window.hpp"

#include <algorithm>

namespace millrace::actors::ingest::postgres {
namespace {
void add(std::vector<xid>& to, xid id) {
  if (std::find(to.rbegin(), to.rend(), id) == to.rend()) to.push_back(id);
}
} // namespace

void change_window::changed(xid by, const key_hash& key, bool partial) {
  if (!anything_.empty() && anything_.back() == by) return;
  if (entries_.size() >= bound_) {
    // Whatever is remembered by key becomes "anything" of its transaction; few transactions fill the bound, or it costs chunks.
    for (const auto& e : entries_)
      if (anything_.empty() || anything_.back() != e.by) add(anything_, e.by);
    base_ += entries_.size();
    entries_.clear();
    changed_anything(by);
    return;
  }
  entries_.push_back({by, partial, key});
}

void change_window::changed_anything(xid by) { add(anything_, by); }

void change_window::forget(const xid_snapshot& oldest) {
  while (!entries_.empty() && oldest.all_later_see(entries_.front().by)) {
    entries_.pop_front();
    ++base_;
  }
  const auto seen = [&](xid id) { return oldest.all_later_see(id); };
  std::erase_if(truncated_, seen);
  std::erase_if(anything_, seen);
}

void change_window::clear() {
  base_ += entries_.size();
  entries_.clear();
  truncated_.clear();
  anything_.clear();
}

void chunk_filter::absorb() {
  const auto unseen = [&](xid id) { return !seen_->sees(id); };
  if (std::any_of(window_->anything().begin(), window_->anything().end(), unseen)) spoiled_ = true;
  if (std::any_of(window_->truncates().begin(), window_->truncates().end(), unseen)) truncated_ = true;
  for (absorbed_ = std::max(absorbed_, window_->begin()); absorbed_ < window_->end(); ++absorbed_) {
    const auto& e = window_->at(absorbed_);
    if (seen_->sees(e.by)) continue;
    const auto [at, fresh] = changed_.try_emplace(e.key, e.partial);
    if (!fresh && !e.partial) at->second = false;
  }
}

bool chunk_filter::partly(const key_hash& key) const {
  const auto at = changed_.find(key);
  return at != changed_.end() && at->second;
}

} // namespace millrace::actors::ingest::postgres
