#pragma once
// A table cut into chunks of adjacent blocks, and which of them are in the log. Pure; its text is kept in the log.

#include "actors/ingest/postgres/catalog.hpp"

#include <deque>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace millrace::actors::ingest::postgres {

/// Made after the slot: a row that was written behind the planned blocks, or that an update moved behind our back, is in the
/// stream. Only a rewrite (VACUUM FULL, CLUSTER, some ALTER TABLE) moves rows silently: it changes the filenode, and the plan is
/// void.
class snapshot_plan {
public:
  struct leaf {
    std::uint32_t oid = 0, filenode = 0;
    std::uint64_t blocks = 0, chunk_blocks = 1; ///< chunk_blocks 0: one chunk, whatever its size
    std::uint64_t chunks() const noexcept { return chunk_blocks == 0 ? 1 : (blocks + chunk_blocks - 1) / chunk_blocks; }
  };
  struct range {
    leaf of;
    std::uint64_t first_block = 0, end_block = 0;
  };

  snapshot_plan() = default;
  /// chunk_rows 0: chunks of about `chunk_bytes`. by_block false: the server has no range scan by block (before 14).
  snapshot_plan(const std::vector<leaf_table>& leaves, std::uint64_t chunk_rows, std::uint64_t chunk_bytes, bool by_block);

  std::uint64_t chunks() const noexcept { return total_; }
  range at(std::uint64_t chunk) const;
  /// A chunk that is neither done nor given out; it is given out now.
  std::optional<std::uint64_t> give();
  void take_back(std::uint64_t chunk);
  void done(std::uint64_t chunk);
  bool complete() const noexcept { return prefix_ == total_; }
  std::uint64_t done_count() const noexcept { return prefix_ + beyond_.size(); }

  /// "PREFIX -|CHUNK,CHUNK OID:FILENODE:BLOCKS:CHUNK_BLOCKS ..."
  std::string text() const;
  static std::optional<snapshot_plan> parse(std::string_view text);

private:
  void count();
  std::vector<leaf> leaves_;
  std::uint64_t total_ = 0, next_ = 0, prefix_ = 0; ///< [0, prefix_) are done
  std::set<std::uint64_t> beyond_;                  ///< done above prefix_: a few, those read at once
  std::deque<std::uint64_t> again_;
};

} // namespace millrace::actors::ingest::postgres
