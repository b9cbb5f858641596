#pragma once
// One look at what a glob matches, and the search for a file that has lost its name.

#include "actors/ingest/file/file_identity.hpp"

#include <string>
#include <unordered_set>
#include <vector>

namespace millrace::actors::ingest::file {

struct found_file {
  std::string path;
  file_facts facts;
};

struct look_result {
  std::vector<found_file> files;     ///< regular files, by path (bytewise), each inode once: under its first path
  std::vector<std::string> skipped;  ///< "PATH is a directory": matched, but nothing to read
  std::vector<std::string> problems; ///< "cannot list PATH: Permission denied": something may be there that we cannot see
};

/// Never fails as a whole: what could not be looked at is in `problems`.
look_result look_at(const std::string& pattern);

/// Whether `path` is one that `pattern` would match.
bool matches(const std::string& pattern, const std::string& path);

/// The names in `directory` that lead to one of `keys` now: files that were renamed within their directory.
std::vector<found_file> find_by_inode(const std::string& directory, const std::unordered_set<file_key>& keys);

} // namespace millrace::actors::ingest::file
