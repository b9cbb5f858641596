#include "runtime/link/peers_file.hpp"

#include "runtime/config/document_reader.hpp"
#include "runtime/link/curve_keys.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

namespace millrace::runtime::link {
namespace {

using storage::errc;
using storage::failure;

constexpr std::size_t max_file_bytes = 1 << 20; // thousands of nodes

const std::string* find(const std::map<std::string, std::string>& in, const std::string& what) {
  auto at = in.find(what);
  return at == in.end() ? nullptr : &at->second;
}

} // namespace

const std::string* peer_keys::key_of(const std::string& node) const { return find(by_node, node); }
const std::string* peer_keys::node_of(const std::string& key) const { return find(by_key, key); }

result<peer_keys> parse_peers(const std::string& text, const std::string& file) {
  peer_keys out;
  std::map<std::string, int> line_of;
  std::string mistakes;
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    auto wrong = [&](const std::string& what) {
      mistakes += (mistakes.empty() ? "" : "\n") + file + ":" + std::to_string(number) + ": " + what;
    };
    std::istringstream words(line);
    std::string node, key, more;
    if (!(words >> node) || node.front() == '#') continue;
    // Z85 may hold a '#': only a word of its own that begins with it is a comment.
    if (!(words >> key) || ((words >> more) && more.front() != '#')) {
      wrong("expected NAME KEY, as `millrace keygen` writes it into NAME.pub");
      continue;
    }
    if (!config::is_name(node)) wrong("'" + node + "' can be no node's name");
    if (!is_curve_key(key)) {
      wrong("the key of '" + node + "' is no public key; expected 40 characters of Z85, this has " + std::to_string(key.size()));
    } else if (!out.by_node.emplace(node, key).second) {
      wrong("a second key for node '" + node + "'; the first is in line " + std::to_string(line_of[node]));
    } else if (auto [at, fresh] = out.by_key.emplace(key, node); !fresh) {
      wrong("node '" + node + "' has the key of node '" + at->second + "' in line " + std::to_string(line_of[at->second]) +
            "; each node needs a key of its own");
    }
    line_of.emplace(node, number);
  }
  if (!mistakes.empty()) return failure(errc::invalid, mistakes);
  return out;
}

peers_file::stamp peers_file::stamp_now() const noexcept {
  struct stat s {};
  if (::stat(file_.c_str(), &s) != 0) return {};
  return {s.st_mtim, s.st_size, s.st_ino};
}

result<peer_keys> peers_file::read() {
  last_ = stamp_now(); // before reading: a change in between is seen as one the next time
  std::ifstream in(file_, std::ios::binary);
  std::string text(max_file_bytes + 1, '\0');
  if (!in) return failure(errc::io_failed, "cannot read the peers file " + file_.string() + ": " + std::strerror(errno));
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad()) return failure(errc::io_failed, "cannot read the peers file " + file_.string() + ": " + std::strerror(errno));
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.size() > max_file_bytes) return failure(errc::invalid, "the peers file " + file_.string() + " is larger than 1 MiB");
  return parse_peers(text, file_.string());
}

std::optional<result<peer_keys>> peers_file::read_if_changed() {
  if (stamp_now() == last_) return std::nullopt;
  return read();
}

} // namespace millrace::runtime::link
