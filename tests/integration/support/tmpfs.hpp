#pragma once
// A small file system of its own, to be filled to the brim.

#include <filesystem>
#include <string>

namespace millrace::testing {

/// Mounts a tmpfs over an empty folder; gone at the end. Needs root: mounted() is false where that is refused.
class tmpfs {
public:
  tmpfs(const std::filesystem::path& at, std::size_t megabytes);
  ~tmpfs();
  tmpfs(const tmpfs&) = delete;
  tmpfs& operator=(const tmpfs&) = delete;
  bool mounted() const noexcept { return mounted_; }
  /// Writes a file until only about `leave` bytes are free.
  void fill(std::size_t leave = 0);
  void make_room();
  std::size_t free_bytes() const;

private:
  std::filesystem::path at_;
  bool mounted_ = false;
};

} // namespace millrace::testing
