#pragma once
// What a replica reads from the disk. It never writes: writes are actions, so that a test may lose them.

#include "storage/replica_log.hpp"

namespace millrace::storage::replication {

/// The copy as it is after all actions done so far.
struct disk_facts {
  std::uint64_t store = 0;
  log_id id; ///< 0: this storage has never been part of a log
  epoch seen_epoch;
  offset start, high_watermark;
  log_position position;
  std::vector<epoch_start> epochs;
};

class replica_storage {
public:
  virtual ~replica_storage() = default;
  virtual disk_facts facts() const = 0;
  /// As replica_log::read_raw.
  virtual result<std::vector<raw_entry>> read_raw(offset from, std::size_t bytes) const = 0;
};

/// The production one.
class replica_log_storage final : public replica_storage {
public:
  explicit replica_log_storage(const replica_log& log) : log_(log) {}
  disk_facts facts() const override {
    return {log_.store(), log_.id(), log_.seen_epoch(), log_.start(), log_.high_watermark(), log_.position(), log_.epochs()};
  }
  result<std::vector<raw_entry>> read_raw(offset from, std::size_t bytes) const override { return log_.read_raw(from, bytes); }

private:
  const replica_log& log_;
};

} // namespace millrace::storage::replication
