#pragma once
// Which transactions a reader of the source saw: pg_current_snapshot() of its transaction.

#include "actors/ingest/postgres/lsn.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::actors::ingest::postgres {

/// A commit is in the source's log a moment before other sessions see it (its fsync and its synchronous standbys lie between), so
/// a position in the log cannot tell what a snapshot contains. This can, exactly: the stream names each transaction's number.
class xid_snapshot {
public:
  /// "700:705:700,703"
  static std::optional<xid_snapshot> parse(std::string_view text);
  std::string text() const;

  /// Of a transaction that committed: whether its changes are in what was read. `id` is within 2^31 of the snapshot's.
  bool sees(xid id) const noexcept;
  /// Everything older had ended: seen by this snapshot and by every later one.
  bool all_later_see(xid id) const noexcept { return before(id.value, static_cast<std::uint32_t>(xmin_)); }
  std::uint64_t xmin() const noexcept { return xmin_; }
  std::uint64_t xmax() const noexcept { return xmax_; }

private:
  static bool before(std::uint32_t a, std::uint32_t b) noexcept { return static_cast<std::int32_t>(a - b) < 0; }
  std::uint64_t xmin_ = 0, xmax_ = 0;  ///< 64 bits: they do not wrap
  std::vector<std::uint64_t> running_; ///< sorted
};

} // namespace millrace::actors::ingest::postgres
