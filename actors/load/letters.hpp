#pragma once
// From a change that could not be delivered to the dead letter that keeps it whole. Pure.

#include "actors/context.hpp"
#include "actors/load/destination.hpp"
#include "actors/transform/row_set.hpp"
#include "storage/dead_letters.hpp"

namespace millrace::actors::load {

/// Fields every reason shares: offset, position, payload, format, node, revision, times, state.
storage::dead_letter letter_of(const storage::batch& batch, std::uint32_t change, const pipeline_context& ctx);
storage::dead_letter letter_of(const transform::row_set& set, const transform::failed_change& failed,
                               const pipeline_context& ctx);
storage::dead_letter letter_of(const transform::row_set& set, const transform::row& row, const row_error& why, std::string step,
                               const pipeline_context& ctx);

} // namespace millrace::actors::load
