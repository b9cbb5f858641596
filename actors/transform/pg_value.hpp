#pragma once
// One value as PostgreSQL wrote it into a cell.

#include "actors/transform/arena.hpp"
#include "actors/transform/pg_tables.hpp"
#include "actors/transform/row_set.hpp"

namespace millrace::actors::transform {

/// `raw` is text; `out` points into it or into `memory`. Timestamps get the form of interfaces.md (UTC, "T", "Z") if they have
/// one there: with BC, a year above 9999 or infinity they stay as PostgreSQL wrote them, as NaN and infinities of numerics do.
/// Null: done; else what was expected.
const char* to_cell(pg_kind kind, const cell& raw, arena& memory, cell& out);

} // namespace millrace::actors::transform
