#pragma once
// Keeps a damaged file the trouble of its own partition.

#include <atomic>
#include <rocksdb/listener.h>

namespace millrace::storage::rocks {

/// A background compaction that meets a damaged block would put all of RocksDB into its error state, and every partition's
/// appends with it. Moving files is only housekeeping for a log: the damage is reported where it matters, to the reader of that
/// offset. So the error is set aside here, and the store then stops compacting logs (database::settle_damage), because RocksDB
/// would try again for ever. Writes and flushes that fail still end the process.
class damage_listener final : public rocksdb::EventListener {
public:
  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* status) override {
    if (reason != rocksdb::BackgroundErrorReason::kCompaction || !status->IsCorruption()) return;
    *status = rocksdb::Status::OK();
    damaged_.store(true, std::memory_order_release);
  }
  /// True once after damage was seen.
  bool take() noexcept { return damaged_.load(std::memory_order_relaxed) && damaged_.exchange(false); }

private:
  std::atomic<bool> damaged_{false};
};

} // namespace millrace::storage::rocks
