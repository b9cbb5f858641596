#pragma once
// What must be in the source before it can be read: settings, tables, a publication, a slot. Every refusal begins with a stable
// name (table_missing, slot_lost, ...) and says what the operator can do.

#include "actors/ingest/postgres/catalog.hpp"
#include "actors/ingest/postgres/position.hpp"
#include "actors/spec.hpp"

#include <optional>
#include <string>
#include <vector>

namespace millrace::actors::ingest::postgres {

/// Version; with `streaming`, wal_level.
result<void> check_server(connection& c, bool streaming);
result<bool> publication_exists(connection& c, const std::string& name);
/// Finds the tables; makes the publication or brings it in line with them, if it may. Adds to `notices`.
result<std::vector<source_table>> prepare_tables(connection& c, const postgres_source_spec& spec,
                                                 std::vector<std::string>& notices);

struct slot_status {
  std::string plugin, type, database, wal_status;
  bool temporary = false, active = false;
  std::int64_t active_pid = 0;
  lsn confirmed;
};
result<std::optional<slot_status>> look_up_slot(connection& c, const std::string& slot);
/// That it can serve us at all: plugin, type, database, not lost.
result<void> check_slot(const connection& c, const std::string& slot, const slot_status& s);
/// Ends our own earlier walsender on the slot. Errors: unavailable if another one uses it, or ours does not go.
result<void> free_slot(connection& c, const std::string& slot, const std::string& application_name);
/// Slot, and the publication if we made it. May be repeated.
result<void> remove_from_source(connection& c, const postgres_source_spec& spec, const std::string& application_name);

/// IDENTIFY_SYSTEM on a walsender.
struct server_identity {
  std::string system;
  std::uint32_t timeline = 0;
  lsn position;
};
result<server_identity> identify(connection& walsender);
/// That the server is the one of `known`, or a later timeline of it that branched off behind `have`; `known` is what the log
/// says.
result<void> check_identity(connection& walsender, const server_identity& now, const source_identity& known, lsn have);
/// Where timeline `parent` ended, in a timeline's history file; none: it is not an ancestor.
std::optional<lsn> end_of_timeline(std::string_view history, std::uint32_t parent);

} // namespace millrace::actors::ingest::postgres
