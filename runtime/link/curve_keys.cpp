#include "runtime/link/curve_keys.hpp"

#include "runtime/config/document_reader.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <sstream>

namespace millrace::runtime::link {
namespace {

using storage::errc;
using storage::failure;
using storage::success;

constexpr std::size_t z85_bytes = 40;

struct fd {
  int value = -1;
  explicit fd(int v) : value(v) {}
  fd(const fd&) = delete;
  fd& operator=(const fd&) = delete;
  ~fd() {
    if (value >= 0) ::close(value);
  }
};

failure io(const std::string& what, const std::filesystem::path& file) {
  return {errc::io_failed, what + " " + file.string() + ": " + std::strerror(errno)};
}

/// A new file with exactly this content, on the disk. Nothing is left of one that could not be written.
result<void> write_new(const std::filesystem::path& file, const std::string& text, mode_t mode) {
  fd out(::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (out.value < 0) {
    if (errno == EEXIST)
      return failure(errc::conflict, file.string() + " exists; keys are never overwritten. Move it away if it is no longer used");
    return io("cannot create", file);
  }
  auto wrong = [&] {
    auto f = io("cannot write", file);
    ::unlink(file.c_str());
    return f;
  };
  if (::fchmod(out.value, mode) != 0) return wrong(); // whatever the umask is
  for (std::size_t at = 0; at < text.size();) {
    auto n = ::write(out.value, text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return wrong();
    at += static_cast<std::size_t>(n);
  }
  if (::fsync(out.value) != 0) return wrong();
  return success();
}

} // namespace

bool is_curve_key(std::string_view text) {
  if (text.size() != z85_bytes) return false;
  std::array<unsigned char, 32> bytes{};
  return zmq_z85_decode(bytes.data(), std::string(text).c_str()) != nullptr;
}

result<curve_pair> make_key_files(const std::filesystem::path& folder, const std::string& name) {
  if (!config::is_name(name))
    return failure(errc::invalid, "'" + name + "' can be no node's name; expected letters, digits, '_', '.' and '-', at most 64");
  std::array<char, z85_bytes + 1> public_key{}, secret_key{};
  if (zmq_curve_keypair(public_key.data(), secret_key.data()) != 0)
    return failure(errc::io_failed, std::string("libzmq cannot make CURVE keys: ") + zmq_strerror(zmq_errno()));
  curve_pair keys{public_key.data(), secret_key.data()};
  auto key_file = folder / (name + ".key"), pub_file = folder / (name + ".pub");
  if (auto r = write_new(pub_file, name + " " + keys.public_key + "\n", 0644); !r) return r.error();
  if (auto r = write_new(
          key_file, "# The secret key of node '" + name + "'. Its public half is in " + name + ".pub.\n" + keys.secret_key + "\n",
          0600);
      !r) {
    ::unlink(pub_file.c_str());
    return r.error();
  }
  // The names too must be on the disk: a peers file may name this key from now on.
  fd dir(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (dir.value < 0 || ::fsync(dir.value) != 0) return io("cannot sync", folder.empty() ? "." : folder);
  return keys;
}

result<curve_pair> read_key_file(const std::filesystem::path& file) {
  fd in(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (in.value < 0) return io("cannot read the link's key", file);
  struct stat s {};
  if (::fstat(in.value, &s) != 0) return io("cannot read the link's key", file);
  if (!S_ISREG(s.st_mode)) return failure(errc::invalid, "the link's key " + file.string() + " is no regular file");
  if ((s.st_mode & 077) != 0) {
    std::ostringstream mode;
    mode << std::oct << (s.st_mode & 07777);
    return failure(errc::invalid, "the link's key " + file.string() + " has mode " + mode.str() +
                                      ": others than its owner may use it. Run: chmod 600 " + file.string());
  }
  std::array<char, 4096> room{};
  auto n = ::read(in.value, room.data(), room.size());
  if (n < 0) return io("cannot read the link's key", file);
  std::istringstream lines(std::string(room.data(), static_cast<std::size_t>(n)));
  std::string line, secret;
  for (int number = 1; std::getline(lines, line); ++number) {
    if (line.empty() || line.front() == '#') continue;
    if (!secret.empty() || !is_curve_key(line)) // never quoted: it may be most of a secret
      return failure(errc::invalid, file.string() + ":" + std::to_string(number) +
                                        ": expected one secret key, 40 characters of Z85, as `millrace keygen` writes it");
    secret = line;
  }
  if (secret.empty())
    return failure(errc::invalid, file.string() + " holds no key; expected the file that `millrace keygen` wrote");
  std::array<char, z85_bytes + 1> public_key{};
  if (zmq_curve_public(public_key.data(), secret.c_str()) != 0)
    return failure(errc::invalid, file.string() + ": libzmq takes the key for none: " + zmq_strerror(zmq_errno()));
  return curve_pair{public_key.data(), secret};
}

} // namespace millrace::runtime::link
