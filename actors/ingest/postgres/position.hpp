#pragma once
// What the log keeps about the source: which one it is, and how far it was read. Text, so that a person can read it.
//   pg/source    1 SYSTEM_ID TIMELINE SLOT
//   pg/position  1 COMMIT END [OPEN_COMMIT XID CHANGES HASH]

#include "actors/ingest/postgres/lsn.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace millrace::actors::ingest::postgres {

inline constexpr std::string_view source_key = "pg/source";
inline constexpr std::string_view position_key = "pg/position";

/// A transaction of which only the beginning is in the log.
struct open_transaction {
  lsn commit;
  xid id;
  std::uint64_t changes = 0; ///< in the log
  std::uint64_t hash = 0;    ///< of them: chained_hash over each, from 0
  friend bool operator==(const open_transaction&, const open_transaction&) = default;
};

/// A restart goes on right behind it.
struct stream_position {
  lsn commit; ///< of the last transaction that is wholly in the log (or had nothing for it): what comes again up to here is
              ///< dropped
  lsn end;    ///< everything that committed below is in the log: may be confirmed to the source once this is durable
  std::optional<open_transaction> open;
  friend bool operator==(const stream_position&, const stream_position&) = default;
};

struct source_identity {
  std::string system;
  std::uint32_t timeline = 0;
  std::string slot;
  friend bool operator==(const source_identity&, const source_identity&) = default;
};

/// XXH3 of a change with the hash of those before it as its seed: the server sends a transaction again from its beginning, and
/// this is how we know that it is the same one.
std::uint64_t chained_hash(std::uint64_t before, std::string_view change);

std::string encode(const stream_position& p);
std::optional<stream_position> decode_position(std::string_view text);
std::string encode(const source_identity& s);
std::optional<source_identity> decode_identity(std::string_view text);

/// "a b  c" as a, b, c.
class word_reader {
public:
  explicit word_reader(std::string_view text) : rest_(text) {}
  std::string_view next();
  /// The next word as a number in the base; none if it is not one.
  std::optional<std::uint64_t> number(int base = 10);
  bool empty() const noexcept { return rest_.find_first_not_of(' ') == std::string_view::npos; }

private:
  std::string_view rest_;
};
std::optional<std::uint64_t> to_number(std::string_view text, int base = 10);

} // namespace millrace::actors::ingest::postgres
