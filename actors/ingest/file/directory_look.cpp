#include "actors/ingest/file/directory_look.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include <dirent.h>
#include <fnmatch.h>
#include <glob.h>
#include <unistd.h>

namespace millrace::actors::ingest::file {
namespace {

struct directory_closer {
  void operator()(DIR* d) const noexcept { ::closedir(d); }
};
using directory_ptr = std::unique_ptr<DIR, directory_closer>;

// glob() gives its error callback no room for a pointer of ours.
thread_local std::vector<std::string>* glob_problems = nullptr;

int on_glob_error(const char* path, int error) {
  // A directory of the pattern that does not exist (yet) is no problem: then nothing matches, which is said elsewhere.
  if (error != ENOENT && error != ENOTDIR)
    glob_problems->push_back("cannot list " + std::string{path} + ": " + std::strerror(error) + " (errno " +
                             std::to_string(error) + ")");
  return 0;
}

struct expansion {
  glob_t g{};
  expansion() = default;
  expansion(const expansion&) = delete;
  expansion& operator=(const expansion&) = delete;
  ~expansion() { ::globfree(&g); }
};

} // namespace

look_result look_at(const std::string& pattern) {
  look_result out;
  std::vector<std::string> paths;
  {
    expansion e;
    glob_problems = &out.problems;
    const int status = ::glob(pattern.c_str(), GLOB_NOSORT, &on_glob_error, &e.g);
    glob_problems = nullptr;
    if (status == GLOB_NOSPACE) out.problems.push_back("cannot list " + pattern + ": out of memory");
    if (status == 0) paths.assign(e.g.gl_pathv, e.g.gl_pathv + e.g.gl_pathc);
  }
  // A name that has *, ? or [ in itself is a file's name before it is a pattern.
  if (paths.empty() && facts_of(pattern)) paths.push_back(pattern);
  std::sort(paths.begin(), paths.end()); // bytewise: glob's own order follows the locale
  std::unordered_set<file_key> seen;
  for (auto& path : paths) {
    auto facts = facts_of(path);
    if (!facts) {
      const int error = facts.error().code.value();
      if (error == ENOENT) { // gone since the glob, or a link to nothing
        char target = 0;
        if (::readlink(path.c_str(), &target, 1) >= 0) out.skipped.push_back(path + " is a symbolic link to nothing");
        continue;
      }
      out.problems.push_back("cannot look at " + path + ": " + std::strerror(error) + " (errno " + std::to_string(error) + ")");
    } else if (!facts.value().regular()) {
      out.skipped.push_back(path + " is " + facts.value().kind());
    } else if (seen.insert(facts.value().key).second) {
      out.files.push_back({std::move(path), facts.value()});
    }
  }
  return out;
}

bool matches(const std::string& pattern, const std::string& path) {
  return pattern == path || ::fnmatch(pattern.c_str(), path.c_str(), FNM_PATHNAME | FNM_PERIOD) == 0;
}

std::vector<found_file> find_by_inode(const std::string& directory, const std::unordered_set<file_key>& keys) {
  std::vector<found_file> out;
  const directory_ptr d{::opendir(directory.empty() ? "/" : directory.c_str())};
  if (!d) return out;
  std::unordered_set<std::uint64_t> inodes;
  for (const auto& key : keys) inodes.insert(key.inode);
  while (const dirent* entry = ::readdir(d.get())) {
    if (!inodes.contains(entry->d_ino)) continue;
    std::string path = directory + '/' + entry->d_name;
    const auto facts = facts_of(path);
    if (facts && facts.value().regular() && keys.contains(facts.value().key)) out.push_back({std::move(path), facts.value()});
  }
  return out;
}

} // namespace millrace::actors::ingest::file
