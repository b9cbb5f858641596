#pragma once
// Dead letters as operators see them, and the filter they select them by. Pure.

#include "storage/dead_letters.hpp"

#include <nlohmann/json.hpp>

#include <optional>
#include <string>

namespace millrace::actors::dead_letter {

/// The id: "PIPELINE/LOAD/PARTITION/OFFSET". Stable: the same change has the same id for ever.
std::string id_of(std::string_view pipeline, std::string_view load, std::uint32_t partition, storage::offset at);
/// Bytes as text where they are UTF-8, else {"base64": "..."}.
nlohmann::ordered_json bytes_json(std::string_view bytes);
/// "2026-01-02T03:04:05.678901Z"
std::string time_text(storage::timestamp t);
/// OFFSET | TIME | start | end are told apart by whoever reads them; this reads TIME: ISO 8601 in UTC or with a zone.
std::optional<storage::timestamp> time_from(std::string_view text);
nlohmann::ordered_json letter_json(const storage::dead_letter& letter, std::string_view pipeline, std::string_view load,
                                   std::uint32_t partition, bool payload);

struct letter_filter {
  std::string load, reason, id;
  std::optional<storage::dead_letter_state> state; ///< none: open ones
  bool any_state = false;                          ///< "all"
  bool all = false;                                ///< the operator said --all
  std::uint64_t limit = 0;                         ///< 0: none
  bool payloads = true;
  /// The offset that `id` names, if it names one of this pipeline.
  std::optional<storage::offset> offset_of(std::string_view pipeline, std::string& load_of_id) const;
  bool takes(const storage::dead_letter& letter) const;
};
/// Reads {load, reason, id, state, limit, payloads, all}; the text of `error` says what is wrong.
std::optional<letter_filter> parse_filter(const std::string& json, std::string& error);

} // namespace millrace::actors::dead_letter
