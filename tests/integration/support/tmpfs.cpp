#include "tests/integration/support/tmpfs.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <vector>

namespace millrace::testing {

tmpfs::tmpfs(const std::filesystem::path& at, std::size_t megabytes) : at_(at) {
  std::filesystem::create_directories(at);
  mounted_ = ::mount("tmpfs", at.c_str(), "tmpfs", 0, ("size=" + std::to_string(megabytes) + "m").c_str()) == 0;
}

tmpfs::~tmpfs() {
  if (mounted_) ::umount2(at_.c_str(), MNT_DETACH);
}

std::size_t tmpfs::free_bytes() const {
  struct statvfs space {};
  return ::statvfs(at_.c_str(), &space) == 0 ? space.f_bavail * space.f_frsize : 0;
}

void tmpfs::fill(std::size_t leave) {
  const int fd = ::open((at_ / "ballast").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return;
  const std::vector<char> page(4096);
  while (free_bytes() > leave && ::write(fd, page.data(), page.size()) > 0) {
  }
  ::close(fd);
}

void tmpfs::make_room() { std::filesystem::remove(at_ / "ballast"); }

} // namespace millrace::testing
