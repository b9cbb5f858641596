#pragma once
// A PostgreSQL source's positions and transaction numbers: types of their own, so that swapping them does not compile.

#include <compare>
#include <cstdint>

namespace millrace::actors::ingest::postgres {

/// A byte position in the source's write-ahead log. 0: none.
struct lsn {
  std::uint64_t value = 0;
  friend auto operator<=>(const lsn&, const lsn&) = default;
};

/// A top-level transaction's number as the stream names it: 32 bits that wrap around, compared only through xid_snapshot.
struct xid {
  std::uint32_t value = 0;
  friend bool operator==(const xid&, const xid&) = default;
};

/// Microseconds from 1970 to 2000, where PostgreSQL's clock begins.
constexpr std::int64_t postgres_epoch_us = 946'684'800'000'000;

} // namespace millrace::actors::ingest::postgres
