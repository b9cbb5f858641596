#pragma once

#include "storage/result.hpp"

#include <string>

namespace millrace::runtime::link {

/// "HOST:PORT" as libzmq's endpoint. `to_listen`: port 0 and host "*" are allowed. Errors: invalid, with what is wrong.
storage::result<std::string> endpoint_of(const std::string& address, bool to_listen);

} // namespace millrace::runtime::link
