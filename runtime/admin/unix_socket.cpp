#include "runtime/admin/unix_socket.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace millrace::runtime::admin {
namespace {

constexpr std::size_t path_bytes_max = sizeof(sockaddr_un::sun_path) - 1;

actors::failure refused(const std::string& path, const std::string& why) {
  return actors::make_failure(actors::errc::refused, "admin socket " + path + ": " + why);
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

struct descriptor {
  int fd = -1;
  ~descriptor() {
    if (fd >= 0) ::close(fd);
  }
  int release() { return std::exchange(fd, -1); }
};

int connect_to(int fd, const std::string& path) {
  auto address = address_of(path);
  return ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
}

} // namespace

actors::result<int> listen_unix(const std::string& path) {
  if (path.empty() || path.size() > path_bytes_max)
    return refused(path, "the path has " + std::to_string(path.size()) +
                             " bytes; expected 1 to 107, the system's limit (set admin.socket)");
  std::error_code error;
  auto parent = std::filesystem::path(path).parent_path();
  if (!parent.empty() && !std::filesystem::exists(parent, error)) {
    std::filesystem::create_directories(parent, error);
    if (error) return refused(path, "cannot make the folder: " + error.message());
    std::filesystem::permissions(parent, std::filesystem::perms::owner_all, error);
  }
  struct stat found {};
  if (::lstat(path.c_str(), &found) == 0) {
    if (!S_ISSOCK(found.st_mode))
      return refused(path, "something else than a socket is there; expected nothing, or a socket to replace");
    descriptor probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (probe.fd < 0) return refused(path, std::strerror(errno));
    auto answer = connect_to(probe.fd, path);
    // EAGAIN: somebody listens, with a full backlog.
    if (answer == 0 || answer == EAGAIN) return refused(path, "another process answers there; expected one node a socket");
    if (answer != ECONNREFUSED && answer != ENOENT) return refused(path, std::strerror(answer));
    if (::unlink(path.c_str()) != 0 && errno != ENOENT)
      return refused(path, std::string("cannot replace the old socket: ") + std::strerror(errno));
  }
  descriptor listener{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (listener.fd < 0) return refused(path, std::strerror(errno));
  // Linux gives the file the socket's own mode: it is never open to others, not even between bind and chmod.
  if (::fchmod(listener.fd, 0600) != 0) return refused(path, std::strerror(errno));
  auto address = address_of(path);
  if (::bind(listener.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return refused(path, std::strerror(errno));
  if (::chmod(path.c_str(), 0600) != 0 || ::listen(listener.fd, 64) != 0) {
    auto why = std::string(std::strerror(errno));
    ::unlink(path.c_str());
    return refused(path, why);
  }
  return listener.release();
}

actors::result<int> connect_unix(const std::string& path) {
  auto unreachable = [&](const std::string& why) {
    return actors::make_failure(actors::errc::unavailable,
                                "no node answers at " + path + ": " + why +
                                    "; expected the admin socket of a running node (--server, $MILLRACE_SERVER)");
  };
  if (path.empty() || path.size() > path_bytes_max)
    return unreachable("the path has " + std::to_string(path.size()) + " bytes, of 1 to 107");
  descriptor fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (fd.fd < 0) return unreachable(std::strerror(errno));
  if (auto error = connect_to(fd.fd, path)) return unreachable(std::strerror(error));
  return fd.release();
}

std::pair<unsigned long, unsigned long> identity_of(const std::string& path) {
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0) return {0, 0};
  return {found.st_dev, found.st_ino};
}

void unlink_unix(const std::string& path, std::pair<unsigned long, unsigned long> identity) {
  if (identity.second != 0 && identity_of(path) == identity) ::unlink(path.c_str());
}

} // namespace millrace::runtime::admin
