#pragma once
// The gateway's JSON: keys and values are base64, 64-bit numbers are strings, what is zero or empty is left out.

#include "storage/catalog.hpp"

#include <nlohmann/json.hpp>

namespace millrace::storage::etcd {

using json = nlohmann::json;

std::string to_base64(std::string_view bytes);
/// None: not base64.
std::optional<std::string> from_base64(std::string_view text);

/// A number that may be a string, a number, or absent (0).
std::uint64_t number(const json& object, const char* name);
/// Text that may be absent.
std::string text(const json& object, const char* name);
/// Bytes that may be absent; damaged base64 is empty.
std::string bytes(const json& object, const char* name);

/// The first key after all that begin with `prefix`, as etcd's range_end takes it.
std::string range_end(std::string prefix);

} // namespace millrace::storage::etcd
