#pragma once
// The scripts that link_frame_fuzz runs, and some good ones to begin with.

#include "runtime/link/link_header.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// Reads zeros behind the end.
class script_reader {
public:
  explicit script_reader(std::string_view all) : rest_(all) {}
  bool empty() const { return rest_.empty(); }
  std::uint8_t byte() {
    if (rest_.empty()) return 0;
    auto b = static_cast<std::uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return b;
  }
  /// A length of two bytes, little endian, then as many bytes.
  std::string_view bytes() {
    std::size_t length = byte();
    length += static_cast<std::size_t>(byte()) << 8;
    auto out = rest_.substr(0, length);
    rest_.remove_prefix(out.size());
    return out;
  }

private:
  std::string_view rest_;
};

/// Sessions as they should be, for mutation to begin with.
inline std::vector<std::string> link_frame_seeds() {
  using namespace millrace::runtime::link;
  auto op = [](std::uint8_t code, const link_header& h) {
    auto bytes = encode(h);
    return std::string{static_cast<char>(code), static_cast<char>(bytes.size() & 255), static_cast<char>(bytes.size() >> 8)} +
           bytes;
  };
  const std::uint8_t receive = 0, receive_as_announced = 128, reply = 2;
  hello greeting{version_min, version_max, "c", "a", "b", 9, 1, 1 << 20, 1 << 20};
  auto newer = greeting;
  newer.session = 2;
  auto session = op(receive, greeting);
  for (std::uint64_t i = 1; i <= 4; ++i) session += op(receive_as_announced, data{1, i, 1, 3, {5, 700}});
  auto sending =
      op(reply, hello_reply{version_max, {}, {}, "b", 6, 1, 16 << 10, 8 << 10}) + std::string("\x04\x10\x04\x20\x04\x30", 6);
  return {session + op(receive, newer) + op(receive_as_announced, data{2, 1, 2, 0, {}}) + op(receive, goodbye{2, "bye"}),
          sending + op(reply, ack{1, 3, 16 << 10}) + op(reply, ack{1, 4, 8 << 10}) + std::string("\x04\x01\x05\xff\x06", 5),
          sending + op(reply, goodbye{0, "bye"}) + op(reply, hello_reply{0, refusal::cluster, "why", "b", 6, 2, 0, 0}),
          op(receive, ack{1, 1, 1}) + op(receive, hello_reply{}) + op(reply, greeting) + op(reply, data{1, 1, 1, 1, {1}})};
}
