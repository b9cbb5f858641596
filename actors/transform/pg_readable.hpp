#pragma once
// PostgreSQL's changes for people: readable() and summarize() of transformer.hpp.

#include "actors/transform/transformer.hpp"

namespace millrace::actors::transform {

inline bool is_pg(storage::payload_format f) {
  return f == storage::payload_format::pgoutput || f == storage::payload_format::pgcopy;
}
change_summary summarize_pg(const storage::batch& batch, std::uint32_t change);

} // namespace millrace::actors::transform
