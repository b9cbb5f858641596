#pragma once
// The embedded destination: one SQLite file, rows and progress in one transaction.

#include "actors/load/destination.hpp"

#include <memory>

namespace millrace::actors::load {

/// Errors: invalid if the spec's path is empty. Touches no file before claim().
result<std::unique_ptr<destination>> make_sqlite_destination(const load_spec& load);

} // namespace millrace::actors::load
