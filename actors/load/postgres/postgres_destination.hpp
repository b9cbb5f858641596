#pragma once
// PostgreSQL as a destination: rows in bulk, rows and progress in one transaction.

#include "actors/load/destination.hpp"

#include <memory>

namespace millrace::actors::load {

/// Errors: invalid if the spec's connection string is empty or not one that libpq understands. Connects at claim().
result<std::unique_ptr<destination>> make_postgres_destination(const load_spec& load);

} // namespace millrace::actors::load
