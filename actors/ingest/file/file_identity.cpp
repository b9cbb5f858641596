#include "actors/ingest/file/file_identity.hpp"

#include <array>
#include <cerrno>
#include <charconv>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <xxhash.h>

namespace millrace::actors::ingest::file {
namespace {

std::int64_t to_ns(const struct statx_timestamp& t) noexcept { return t.tv_sec * 1'000'000'000LL + t.tv_nsec; }

result<file_facts> facts(int directory, const char* path, int flags) {
  struct statx s {};
  if (::statx(directory, path, flags | AT_STATX_SYNC_AS_STAT, STATX_BASIC_STATS | STATX_BTIME, &s) != 0)
    return failure{std::error_code{errno, std::generic_category()}, {}};
  file_facts f;
  f.key = {makedev(s.stx_dev_major, s.stx_dev_minor), s.stx_ino};
  f.size = s.stx_size;
  f.modified_ns = to_ns(s.stx_mtime);
  f.changed_ns = to_ns(s.stx_ctime);
  f.born_ns = (s.stx_mask & STATX_BTIME) != 0 ? to_ns(s.stx_btime) : 0;
  f.links = s.stx_nlink;
  f.mode = s.stx_mode;
  return f;
}

/// Takes a number and the space behind it off `rest`.
template <class Number>
bool take(std::string_view& rest, Number& out, int base = 10) {
  const auto [end, problem] = std::from_chars(rest.data(), rest.data() + rest.size(), out, base);
  if (problem != std::errc{} || end == rest.data() + rest.size() || *end != ' ') return false;
  rest.remove_prefix(static_cast<std::size_t>(end - rest.data()) + 1);
  return true;
}

} // namespace

bool file_facts::regular() const noexcept { return S_ISREG(mode); }

const char* file_facts::kind() const noexcept {
  switch (mode & S_IFMT) {
  case S_IFREG:
    return "a regular file";
  case S_IFDIR:
    return "a directory";
  case S_IFIFO:
    return "a named pipe";
  case S_IFSOCK:
    return "a socket";
  case S_IFCHR:
  case S_IFBLK:
    return "a device";
  }
  return "no regular file";
}

result<file_facts> facts_of(const std::string& path) { return facts(AT_FDCWD, path.c_str(), 0); }
result<file_facts> facts_of(int descriptor) { return facts(descriptor, "", AT_EMPTY_PATH); }

std::uint64_t start_hash(std::string_view bytes) noexcept { return XXH3_64bits(bytes.data(), bytes.size()); }

std::string state_key(file_key key) {
  return std::string{state_prefix} + std::to_string(key.device) + '/' + std::to_string(key.inode);
}

storage::state_entry to_entry(const file_state& s) {
  std::array<char, 17> hash{};
  const auto end = std::to_chars(hash.data(), hash.data() + hash.size(), s.start.hash, 16).ptr;
  std::string value = "1 " + std::to_string(s.position) + ' ' + std::to_string(s.start.length) + ' ';
  value.append(hash.data(), end).append(1, ' ').append(std::to_string(s.born_ns)).append(1, ' ').append(s.path);
  return {state_key(s.key), std::move(value)};
}

result<file_state> from_entry(const storage::state_entry& entry) {
  file_state s;
  std::string key = entry.key.substr(std::min(entry.key.size(), state_prefix.size())) + ' ';
  if (const auto slash = key.find('/'); slash != std::string::npos) key[slash] = ' ';
  std::string_view key_rest = key, rest = entry.value;
  int version = 0;
  const bool good = take(key_rest, s.key.device) && take(key_rest, s.key.inode) && key_rest.empty() && take(rest, version) &&
                    version == 1 && take(rest, s.position) && take(rest, s.start.length) &&
                    s.start.length <= file_start::start_bytes_max && take(rest, s.start.hash, 16) && take(rest, s.born_ns);
  if (!good)
    return make_failure(errc::log_mismatch,
                        "the log's source state has \"" + entry.key + "\" = \"" + entry.value +
                            "\", expected file/DEVICE/INODE = \"1 POSITION START_LENGTH START_HASH BORN PATH\"");
  s.path = std::string{rest};
  return s;
}

} // namespace millrace::actors::ingest::file
