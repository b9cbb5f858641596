#include "runtime/link/endpoint.hpp"

#include <algorithm>
#include <charconv>

namespace millrace::runtime::link {

storage::result<std::string> endpoint_of(const std::string& address, bool to_listen) {
  auto wrong = [&](const std::string& what) {
    return storage::failure(storage::errc::invalid,
                            "the link's address '" + address + "' " + what + "; expected HOST:PORT, for example 10.0.0.11:7072");
  };
  auto colon = address.rfind(':');
  if (colon == std::string::npos) return wrong("has no port");
  auto host = address.substr(0, colon), port = address.substr(colon + 1);
  if (host.empty()) return wrong("has no host");
  auto allowed = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '-' || c == '_';
  };
  bool v6 = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (!v6 && !(to_listen && host == "*") && !std::all_of(host.begin(), host.end(), allowed)) return wrong("has no valid host");
  unsigned number = 0;
  auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (port.empty() || error != std::errc() || end != port.data() + port.size() || number > 65535 || (number == 0 && !to_listen))
    return wrong("has no valid port");
  return "tcp://" + host + ":" + (number == 0 ? "*" : std::to_string(number));
}

} // namespace millrace::runtime::link
