#pragma once
// The socket file of the admin RPC.

#include "actors/errc.hpp"

#include <string>

namespace millrace::runtime::admin {

/// Binds and listens at `path`, mode 0600, and gives the descriptor (close-on-exec). A socket file that a dead process left is
/// replaced; one that answers, and a file of another kind, are refused. Missing parent folders are made, mode 0700.
/// Errors: refused, with the path; also for a path longer than the system's 107 bytes.
actors::result<int> listen_unix(const std::string& path);
/// Connects; the descriptor, close-on-exec. Errors: unavailable, with the path and what to check.
actors::result<int> connect_unix(const std::string& path);
/// Removes the file if it is still the socket with this identity.
void unlink_unix(const std::string& path, std::pair<unsigned long, unsigned long> identity);
/// Device and inode of the file at `path`; zeros if there is none.
std::pair<unsigned long, unsigned long> identity_of(const std::string& path);

} // namespace millrace::runtime::admin
