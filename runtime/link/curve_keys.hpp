#pragma once
// CURVE key pairs in files: NAME.key for the node itself, NAME.pub to be appended to every node's peers file.

#include "storage/result.hpp"

#include <filesystem>
#include <string>
#include <string_view>

namespace millrace::runtime::link {

using storage::result;

/// Both halves as Z85, 40 characters each.
struct curve_pair {
  std::string public_key, secret_key;
};

/// Z85 of 32 bytes: 40 characters of its alphabet that decode.
bool is_curve_key(std::string_view text);

/// Writes NAME.key (mode 0600) and NAME.pub ("NAME KEY") into `folder`, both synced. Errors: conflict if one of them exists, and
/// then nothing is written; invalid if `name` can be no node's name; io_failed.
result<curve_pair> make_key_files(const std::filesystem::path& folder, const std::string& name);

/// The secret key in `file`, and the public one that belongs to it. Errors: invalid if others than its owner may read it, or if
/// it holds no key; io_failed.
result<curve_pair> read_key_file(const std::filesystem::path& file);

} // namespace millrace::runtime::link
