#pragma once
// Raw values to typed cells in the forms of interfaces.md, "In SQLite". Exact or refused: no rounding, no wrapping, no silent
// NULL.

#include "actors/transform/json_scanner.hpp"
#include "actors/transform/row_set.hpp"

namespace millrace::actors::transform {

/// What cell::note says.
namespace note {
constexpr std::uint8_t type_mask = 0x0f; ///< 1 + the data_type that an untyped column's value suggested; 0: none
constexpr std::uint8_t assigned = 0x10;  ///< by a step: checked against the schema after the last one
} // namespace note

/// A declared type and how its text is written.
struct value_type {
  data_type type = data_type::text;
  std::string_view format; ///< date, timestamp: strptime; empty: ISO 8601
};

/// A value of a record (a CSV cell is a JSON string without escapes); not null. False: `why` says what was found and expected.
/// `out` points into the value or `memory`.
bool coerce(const json_value& v, const value_type& type, arena& memory, cell& out, std::string& why);
/// A value that a step made, or a default of the spec (as text): the same rules, and 0 and 1 are booleans (SQL has none).
bool coerce(const cell& v, const value_type& type, arena& memory, cell& out, std::string& why);
/// The natural type of a value without schema, remembered in cell::note: a number that neither int64 nor float64 holds exactly
/// becomes a decimal, an object or array its JSON text.
cell infer(const json_value& v, arena& memory);

/// The value as text (int64 and float64 by their digits, booleans as true and false), for masks and messages.
std::string_view text_form(const cell& v, char* buffer);

} // namespace millrace::actors::transform
