#pragma once
// One block in, one block out. Contexts and scratch are kept for each thread: making them costs more than a small block.

#include "storage/batch.hpp"

#include <span>

namespace millrace::storage {

/// Gives the codec that was used: `none` (and an empty `out`) if `c` does not make it smaller.
codec compress(codec c, std::span<const char> raw, std::string& out);

/// Errors: corrupt if `stored` is no block of that codec or does not have exactly raw.size() bytes decompressed.
result<void> decompress(codec c, std::string_view stored, std::span<char> raw);

} // namespace millrace::storage
