#pragma once
// A folder of one test's own, removed at its end; kept with MILLRACE_KEEP=1, and its path printed, to look at what a failure
// left.

#include <filesystem>
#include <string>
#include <string_view>

namespace millrace::testing {

/// Short, because a Unix socket's name (107 bytes) is made below it.
class temp_dir {
public:
  temp_dir();
  ~temp_dir();
  temp_dir(const temp_dir&) = delete;
  temp_dir& operator=(const temp_dir&) = delete;
  const std::filesystem::path& path() const noexcept { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

private:
  std::filesystem::path path_;
};

std::string read_file(const std::filesystem::path& file);
void write_file(const std::filesystem::path& file, std::string_view text);
void append_file(const std::filesystem::path& file, std::string_view text);

} // namespace millrace::testing
