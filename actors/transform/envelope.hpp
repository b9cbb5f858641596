#pragma once
// Debezium's change events as JSON, with and without their `payload` wrapper.

#include "actors/transform/json_scanner.hpp"
#include "storage/types.hpp"

#include <optional>
#include <string>

namespace millrace::actors::transform {

struct change_envelope {
  enum class outcome : std::uint8_t { change, skip, invalid }; ///< skip: a tombstone or a message
  storage::operation op = storage::operation::insert;
  json_value before, after;                 ///< objects, or null if absent
  std::string_view qualifier, table;        ///< source.schema, or source.db where there is no schema; source.table
  std::string_view transaction;             ///< source.txId as written
  std::optional<std::int64_t> committed_ms; ///< source.ts_ms, else the event's own
};

/// Validates the whole text (its UTF-8 apart). `invalid`: `why` says what was found and expected. The views point into the text
/// or `memory`.
change_envelope::outcome parse_envelope(std::string_view text, const char* readable, arena& memory, change_envelope& out,
                                        std::string& why);

/// What Debezium writes for a column that the source did not send (unchanged TOAST), plain and as bytes.
bool is_unavailable(const json_value& v);

} // namespace millrace::actors::transform
