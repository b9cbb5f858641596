#pragma once
// Small views of values: the time of a version, a value in a message, equality of keys.

#include "actors/transform/row_set.hpp"

#include <string>

namespace millrace::actors::load::sqlite {

/// `YYYY-MM-DDTHH:MM:SS[.ffffff]Z`, as every timestamp in SQLite.
std::string time_text(storage::timestamp t);
/// A value for a message: quoted and cut if it is long.
std::string excerpt(const transform::cell& value);
/// Same kind and same value.
bool equal(const transform::cell& a, const transform::cell& b) noexcept;

} // namespace millrace::actors::load::sqlite
