#pragma once
// Types of columns to make, and what becomes of a column whose source changed its type. Pure.

#include "actors/spec.hpp"
#include "actors/transform/row_set.hpp"

#include <string>
#include <string_view>

namespace millrace::actors::load::postgres {

const char* type_of(data_type t) noexcept;
/// For a column without declared type, by the first value seen.
const char* type_of(transform::cell::kind k) noexcept;

/// Every value of `from` is a value of `to` and keeps its digits, both as format_type says them: "integer" to "bigint",
/// "character varying(10)" to "text", "numeric(10,2)" to "numeric(12,2)".
bool widens(std::string_view from, std::string_view to);

} // namespace millrace::actors::load::postgres
