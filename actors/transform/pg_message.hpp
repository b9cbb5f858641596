#pragma once
// PostgreSQL's bytes into tuples of raw texts: messages of logical replication (protocol 1, text) and lines of COPY. Bounds are
// checked everywhere; nothing is interpreted.

#include "actors/transform/arena.hpp"
#include "actors/transform/row_set.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace millrace::actors::transform {

/// The cells are null, missing (a TOAST value that the update left alone) or text as the server wrote it.
using pg_tuple = std::vector<cell>;

struct pg_change {
  enum class old_row : std::uint8_t {
    none,
    key,  ///< the columns of the replica identity; the others are null and unknown
    whole ///< replica identity full
  };
  storage::operation op = storage::operation::insert;
  std::uint32_t relation = 0;
  old_row old_kind = old_row::none;
  pg_tuple old, fresh; ///< empty where the message has none
};

/// Insert, update, delete or truncate of one relation. False: `why` says what was found and expected.
bool parse_pgoutput(std::string_view message, pg_change& out, std::string& why);
/// The relation that a message names, without reading on; 0: it is too short or of another kind.
std::uint32_t relation_of(std::string_view message);
/// One line of COPY's text format, without its newline, into out.fresh (an insert). Escaped texts are placed in `memory`.
/// `columns`: how many the table has; a table without columns has empty lines.
bool parse_pgcopy(std::string_view line, std::size_t columns, arena& memory, pg_change& out, std::string& why);

} // namespace millrace::actors::transform
