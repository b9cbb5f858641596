#pragma once
// A row's key: one hash for every change of it, and JSON for people.

#include "actors/transform/row_set.hpp"

#include <span>

namespace millrace::actors::transform {

/// XXH3 over the typed values of cells[columns[i]], never 0; 0 if there is no key or a part is null or not there (index -1).
std::uint64_t hash_key(const cell* cells, std::span<const int> columns);
/// Appends a value as JSON: decimals and json by their text, bytes as base64.
void append_json(std::string& out, const cell& v, std::optional<data_type> type);

} // namespace millrace::actors::transform
