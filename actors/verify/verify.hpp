#pragma once
// Compares a load's tables with their source while changes flow.
//
// A range of keys is digested at the source (snapshot A), then the load is waited for until it has passed everything that A saw,
// then the destination is digested. Equal digests: equal. Else the rows of the range are compared one by one, the same way round:
// source, wait, destination, source again. A row whose source version (xmin) is the same before and after was that all the time,
// so the destination, read in between and past it, must show it: if it does not, the row differs. Rows that changed meanwhile are
// looked at again; nothing is reported that was merely on its way, and nothing has to stop.

#include "actors/context.hpp"
#include "actors/verify/table_digest.hpp"

#include <chrono>
#include <functional>

namespace millrace::actors::verify {

struct difference {
  std::string table; ///< as the source names it
  std::string kind;  ///< missing (at the destination) | extra | different
  std::vector<std::string> columns;
  key_values key;
};

/// Where to go on: a verification is done in steps, each a call of its own, so that none takes long and any can be the last.
struct step_request {
  std::string load;
  std::size_t table = 0;           ///< index into the load's tables
  std::optional<key_values> after; ///< begin of the range
  std::uint64_t rows_a_second = 0; ///< budget over both sides; 0: as fast as it goes
  std::chrono::milliseconds time{2000};
};

struct step_result {
  std::string table; ///< that was looked at
  std::uint64_t rows = 0, ranges = 0;
  std::vector<difference> differences;
  std::uint64_t unsettled = 0; ///< rows that changed each time they were looked at: not compared
  std::size_t next_table = 0;
  std::optional<key_values> next_after;
  bool done = false;
};

/// Blocks; to be called on a thread of its own. Owner of nothing that lasts: connections are opened and closed inside.
/// Errors: invalid (a load that cannot be compared: transforms, mode append, another kind of source or destination), refused,
///         unavailable (a server, or the load did not get there in time).
result<step_result> verify_step(const pipeline_context& ctx, const step_request& request);

} // namespace millrace::actors::verify
