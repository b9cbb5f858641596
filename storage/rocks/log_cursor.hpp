#pragma once
// A forward reader. The log may take its RocksDB iterator away at any time (see release_cursors): it then seeks again.

#include "storage/rocks/rocks_partition_log.hpp"

#include <optional>

namespace millrace::storage::rocks {

class log_cursor final : public partition_log::cursor {
public:
  log_cursor(std::shared_ptr<const rocks_partition_log> log, offset from);
  ~log_cursor() override;

  result<batch_ptr> next() override;
  void seek(offset at) override;
  /// From any thread.
  void release();

private:
  result<batch_ptr> next_from_disk();

  const std::shared_ptr<const rocks_partition_log> log_;
  offset position_;
  std::optional<hash128> previous_; ///< hash of the entry before position_, once one was read from the disk

  std::mutex mutex_;                            ///< of iterator_: held while reading one entry
  std::unique_ptr<rocksdb::Iterator> iterator_; ///< on the entry before position_
};

} // namespace millrace::storage::rocks
