#pragma once
// What the stream changed in one table lately, so that a snapshot's older rows do not overwrite it. Pure.

#include "actors/ingest/postgres/row_key.hpp"
#include "actors/ingest/postgres/xid_snapshot.hpp"

#include <deque>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace millrace::actors::ingest::postgres {

/// Of ONE table that is being read whole, since that began: which key was changed by which transaction. Bounded: what a
/// transaction changed beyond the bound is remembered as "anything", and a chunk that did not see it is read again.
class change_window {
public:
  struct entry {
    xid by;
    bool partial = false; ///< an update that did not carry every column: it does not replace the whole row
    key_hash key;
  };
  explicit change_window(std::size_t bound = 2u << 20) : bound_(bound) {}

  void changed(xid by, const key_hash& key, bool partial);
  /// Every row of a snapshot that does not see `by` is gone.
  void truncated(xid by) { truncated_.push_back(by); }
  /// `by` changed rows that cannot be named.
  void changed_anything(xid by);
  /// Drops what `oldest` sees. To be called with the oldest snapshot that is still asked for; later ones see it, too.
  void forget(const xid_snapshot& oldest);
  void clear();

  std::uint64_t begin() const noexcept { return base_; }
  std::uint64_t end() const noexcept { return base_ + entries_.size(); }
  const entry& at(std::uint64_t i) const { return entries_[i - base_]; }
  const std::vector<xid>& truncates() const noexcept { return truncated_; }
  const std::vector<xid>& anything() const noexcept { return anything_; }

private:
  std::size_t bound_;
  std::uint64_t base_ = 0; ///< entries dropped so far
  std::deque<entry> entries_;
  std::vector<xid> truncated_, anything_;
};

/// The rows of one chunk against the window: which of them the stream has made newer. Absorbs what is new in the window each
/// time, since more comes while the chunk's rows wait.
class chunk_filter {
public:
  chunk_filter(const xid_snapshot& seen, const change_window& window) : seen_(&seen), window_(&window) {}
  void absorb();
  /// The chunk must be read again: something changed that cannot be told.
  bool spoiled() const noexcept { return spoiled_; }
  /// None of its rows is left.
  bool truncated() const noexcept { return truncated_; }
  bool empty() const noexcept { return changed_.empty(); }
  bool changed(const key_hash& key) const { return changed_.contains(key); }
  /// Changed, and by something that did not carry the whole row.
  bool partly(const key_hash& key) const;

private:
  const xid_snapshot* seen_;
  const change_window* window_;
  std::uint64_t absorbed_ = 0;
  bool spoiled_ = false, truncated_ = false;
  std::unordered_map<key_hash, bool> changed_; ///< true: the last change was partial and none before it was whole
};

} // namespace millrace::actors::ingest::postgres
