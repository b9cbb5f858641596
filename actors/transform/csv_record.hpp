#pragma once
// RFC 4180: one record into its cells.

#include "actors/transform/arena.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace millrace::actors::transform {

struct csv_cell {
  std::string_view text; ///< in the record, or in `memory` if it had doubled quotes
  bool quoted = false;   ///< tells '' from NULL
};

/// One line end behind the record is not part of it. False: `why` says where and what was expected.
bool split_csv(std::string_view record, arena& memory, std::vector<csv_cell>& out, std::string& why);

} // namespace millrace::actors::transform
