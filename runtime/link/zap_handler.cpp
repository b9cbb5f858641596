#include "runtime/link/zap_handler.hpp"

#include <arpa/inet.h>

#include <array>
#include <vector>

namespace millrace::runtime::link {
namespace {

constexpr int answers_at_once = 64;
constexpr std::size_t key_bytes = 32;

/// ZMTP's metadata: length of the name (1), name, length of the value (4, big-endian), value.
std::string property(std::string_view name, std::string_view value) {
  std::string out(1, static_cast<char>(name.size()));
  out += name;
  auto length = htonl(static_cast<std::uint32_t>(value.size()));
  out.append(reinterpret_cast<const char*>(&length), sizeof length);
  return out += value;
}

} // namespace

zap_handler::zap_handler(zmq::context_t& context, refused on_refused)
    : socket_(context, zmq::socket_type::router), on_refused_(std::move(on_refused)) {
  socket_.set(zmq::sockopt::linger, 0);
  socket_.bind("inproc://zeromq.zap.01");
}

void zap_handler::answer(const peer_keys& allowed) {
  for (int i = 0; i < answers_at_once && answer_one(allowed); ++i) {
  }
}

bool zap_handler::answer_one(const peer_keys& allowed) {
  std::vector<std::string> parts;
  zmq::message_t part;
  do {
    if (!socket_.recv(part, zmq::recv_flags::dontwait)) return false;
    parts.push_back(part.to_string());
  } while (part.more());
  // routing id, delimiter, "1.0", request id, domain, address, identity, mechanism, credentials
  if (parts.size() < 8 || parts[2] != "1.0") return true;
  std::string status = "400", text = "refused", user, metadata, why;
  if (parts[4] != zap_domain || parts[7] != "CURVE" || parts.size() != 9 || parts[8].size() != key_bytes) {
    why = "mechanism " + parts[7] + " instead of CURVE";
  } else {
    std::array<char, 41> key{};
    zmq_z85_encode(key.data(), reinterpret_cast<const std::uint8_t*>(parts[8].data()), key_bytes);
    if (const auto* node = allowed.node_of(key.data())) {
      status = "200";
      text = "OK";
      user = *node;
      metadata = property(key_property, key.data());
    } else {
      why = std::string("its public key ") + key.data() + " is in no line of the peers file";
    }
  }
  const std::array<std::string_view, 8> reply = {parts[0], "", "1.0", parts[3], status, text, user, metadata};
  for (std::size_t i = 0; i < reply.size(); ++i)
    (void)socket_.send(zmq::buffer(reply[i]),
                       zmq::send_flags::dontwait | (i + 1 < reply.size() ? zmq::send_flags::sndmore : zmq::send_flags::none));
  if (!why.empty()) on_refused_(parts[5], why);
  return true;
}

} // namespace millrace::runtime::link
