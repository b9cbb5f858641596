#pragma once
// Who may talk to this node: lines "NAME KEY", as `millrace keygen` writes them into NAME.pub. '#' begins a comment.

#include "storage/result.hpp"

#include <sys/stat.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace millrace::runtime::link {

using storage::result;

/// Public keys (Z85) by node, and back. One key a node, one node a key.
struct peer_keys {
  std::map<std::string, std::string> by_node, by_key;
  const std::string* key_of(const std::string& node) const;
  const std::string* node_of(const std::string& key) const;
  friend bool operator==(const peer_keys&, const peer_keys&) = default;
};

/// Errors: invalid, with every mistake as "FILE:LINE: what", one a line.
result<peer_keys> parse_peers(const std::string& text, const std::string& file);

/// The file on the disk. Not thread safe.
class peers_file {
public:
  explicit peers_file(std::filesystem::path file) : file_(std::move(file)) {}
  /// Errors: io_failed; invalid.
  result<peer_keys> read();
  /// read() if the file is another one than at the last read(), by its time, size and inode; else nothing.
  std::optional<result<peer_keys>> read_if_changed();
  const std::filesystem::path& path() const noexcept { return file_; }

private:
  struct stamp {
    timespec modified{};
    off_t size = -1;
    ino_t inode = 0;
    bool operator==(const stamp& o) const noexcept {
      return modified.tv_sec == o.modified.tv_sec && modified.tv_nsec == o.modified.tv_nsec && size == o.size && inode == o.inode;
    }
  };
  stamp stamp_now() const noexcept;
  std::filesystem::path file_;
  stamp last_;
};

} // namespace millrace::runtime::link
