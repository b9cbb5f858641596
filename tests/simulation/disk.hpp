#pragma once
// The disk of one node: what was written is in its cache, what was synced survives a crash. Writes are ordered, as in one WAL, so
// a crash keeps some prefix of those that were not synced.

#include "entries.hpp"
#include "storage/replication/replica_storage.hpp"

#include <deque>
#include <variant>

namespace millrace::simulation {

struct disk_image {
  std::uint64_t store = 0;
  st::log_id id;
  st::epoch seen;
  st::offset start, hw;
  std::vector<st::raw_entry> entries;

  st::offset end() const { return entries.empty() ? start : entries.back().end(); }
  const st::raw_entry* at(st::offset base) const;    ///< the entry that begins there, or null
  const st::raw_entry* covering(st::offset o) const; ///< the entry that holds this offset, or null
  void cut(st::offset to);
};

class disk final : public st::replication::replica_storage {
public:
  struct append {
    std::vector<st::raw_entry> entries;
    st::offset hw; ///< rides on it
  };
  struct truncate {
    st::offset end;
    st::epoch seen;
  };
  struct see {
    st::epoch epoch;
  };
  struct reset {
    std::uint64_t store;
    st::log_id id;
    st::offset start;
  };
  struct trim {
    st::offset start;
  };
  using operation = std::variant<append, truncate, see, reset, trim>;

  void write(std::uint64_t ticket, operation o);
  std::uint64_t written() const { return ticket_; }
  void sync(std::uint64_t ticket);
  /// What is there after a crash: all that was synced and the first `kept` of the other writes.
  void crash(std::size_t kept);
  std::size_t unsynced() const { return waiting_.size(); }
  void set_hw(st::offset hw) { cache_.hw = hw; }
  /// Replaces everything, while the node is down.
  void replace(disk_image image);

  const disk_image& cache() const { return cache_; }
  const disk_image& durable() const { return durable_; }

  st::replication::disk_facts facts() const override;
  st::result<std::vector<st::raw_entry>> read_raw(st::offset from, std::size_t bytes) const override;

private:
  static void apply(disk_image& to, const operation& o);
  disk_image cache_, durable_;
  std::deque<std::pair<std::uint64_t, operation>> waiting_;
  std::uint64_t ticket_ = 0;
};

} // namespace millrace::simulation
