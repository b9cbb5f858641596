#pragma once
// Which file is which, and what the log remembers of it. The kernel's device and inode number find a file whatever its name; the
// hash of its start (and its birth time, where the file system keeps one) tell whether it is still the same content.

#include "actors/errc.hpp"
#include "storage/batch.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace millrace::actors::ingest::file {

struct file_key {
  std::uint64_t device = 0, inode = 0;
  friend auto operator<=>(const file_key&, const file_key&) = default;
};

/// What stat tells, as far as we need it.
struct file_facts {
  file_key key;
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0, changed_ns = 0;
  std::int64_t born_ns = 0; ///< 0: the file system does not keep it
  std::uint32_t links = 0;
  std::uint32_t mode = 0;
  bool regular() const noexcept;
  const char* kind() const noexcept; ///< "a directory", "a named pipe", ...
};

/// Errors: the errno, with an empty text. By name: follows symbolic links.
result<file_facts> facts_of(const std::string& path);
result<file_facts> facts_of(int descriptor);

/// Hash of a file's first `length` bytes. It grows with the file up to start_bytes_max and then stays, so that it can be compared
/// while the file grows: that is why the length is kept with it.
struct file_start {
  static constexpr std::uint32_t start_bytes_max = 1024;
  std::uint32_t length = 0;
  std::uint64_t hash = 0;
  friend bool operator==(const file_start&, const file_start&) = default;
};
std::uint64_t start_hash(std::string_view bytes) noexcept;

/// A file's line in the log's source state.
struct file_state {
  file_key key;
  std::uint64_t position = 0; ///< bytes; everything before it is in the log
  file_start start;
  std::int64_t born_ns = 0;
  std::string path; ///< where it was last seen
  friend bool operator==(const file_state&, const file_state&) = default;
};

/// Keys of the log's source state that belong to file sources begin so; others are none of our business.
inline constexpr std::string_view state_prefix = "file/";
/// "file/DEVICE/INODE". One entry an inode: when the inode is used again for another file, its entry is overwritten.
std::string state_key(file_key key);
/// "1 POSITION START_LENGTH START_HASH BORN PATH": text, so that an operator can read it.
storage::state_entry to_entry(const file_state& state);
/// Errors: log_mismatch, with the key, what was found and what was expected.
result<file_state> from_entry(const storage::state_entry& entry);

} // namespace millrace::actors::ingest::file

template <>
struct std::hash<millrace::actors::ingest::file::file_key> {
  std::size_t operator()(const millrace::actors::ingest::file::file_key& k) const noexcept {
    return std::hash<std::uint64_t>{}(k.inode * 0x9E3779B97F4A7C15ull ^ k.device);
  }
};
