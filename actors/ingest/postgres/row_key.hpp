#pragma once
// A row's key as bytes: the same whether the row came in a change or as a line of COPY, both being text. Pure.

#include "actors/ingest/postgres/pgoutput.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::actors::ingest::postgres {

/// For each key column a length (u32, network order) and the value's text. A NULL has the length 2^32 - 1.
std::string key_bytes(std::span<const std::optional<std::string_view>> values);
/// The values again; empty optional elements are NULL. Nothing if it is no key.
std::optional<std::vector<std::optional<std::string>>> key_values(std::string_view bytes);

/// From a tuple; none if a key column is not in it (unchanged TOAST, or the tuple is shorter).
std::optional<std::string> key_of(std::span<const tuple_cell> tuple, std::span<const std::size_t> columns);
/// From a line of COPY in text format, without its newline; none if it has too few columns.
std::optional<std::string> key_of_line(std::string_view line, std::span<const std::size_t> columns);

/// 128 bits of XXH3: among 2^40 keys two are equal with a probability of 2^-49.
struct key_hash {
  std::uint64_t low = 0, high = 0;
  friend bool operator==(const key_hash&, const key_hash&) = default;
};
key_hash hash_of(std::string_view key);

} // namespace millrace::actors::ingest::postgres

template <>
struct std::hash<millrace::actors::ingest::postgres::key_hash> {
  std::size_t operator()(const millrace::actors::ingest::postgres::key_hash& k) const noexcept { return k.low; }
};
