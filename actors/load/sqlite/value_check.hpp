#pragma once
// What a SQLite column would do to a value. SQLite converts by the column's affinity without a word; we refuse instead.

#include "actors/spec.hpp"
#include "actors/transform/row_set.hpp"

#include <string>
#include <string_view>

namespace millrace::actors::load::sqlite {

/// https://www.sqlite.org/datatype3.html, 3.1: decided by the declared type's text.
enum class affinity : std::uint8_t { integer, real, text, numeric, none };
affinity affinity_of(std::string_view declared_type, bool strict) noexcept;

/// The type a column is made with (interfaces.md, "In SQLite").
const char* declared_type_of(data_type t) noexcept;
/// The same for a column without declared type, by the first value seen.
const char* declared_type_of(transform::cell::kind k) noexcept;

/// A field of this type always reads back from a column of this affinity as it was written: no look at the values is needed.
bool always_fits(data_type t, affinity a) noexcept;
/// No value of this type ever belongs into such a column.
bool never_fits(data_type t, affinity a) noexcept;
/// This value reads back as it was written. `is_decimal`: the text is a number's digits, and 15 of them survive a float.
bool fits(const transform::cell& value, affinity a, bool is_decimal) noexcept;

const char* name_of(transform::cell::kind k) noexcept;
const char* name_of(affinity a) noexcept;

} // namespace millrace::actors::load::sqlite
