#include "storage/etcd/json.hpp"

#include <array>
#include <charconv>

namespace millrace::storage::etcd {
namespace {

constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr auto reverse = [] {
  std::array<std::int8_t, 256> r{};
  r.fill(-1);
  for (std::size_t i = 0; i < alphabet.size(); ++i) r[static_cast<unsigned char>(alphabet[i])] = static_cast<std::int8_t>(i);
  return r;
}();

} // namespace

std::string to_base64(std::string_view in) {
  std::string out;
  out.reserve((in.size() + 2) / 3 * 4);
  std::size_t i = 0;
  const auto at = [&](std::size_t k) { return static_cast<std::uint32_t>(static_cast<unsigned char>(in[k])); };
  for (; i + 2 < in.size(); i += 3) {
    const auto v = at(i) << 16 | at(i + 1) << 8 | at(i + 2);
    for (int shift = 18; shift >= 0; shift -= 6) out += alphabet[v >> shift & 63];
  }
  if (i + 1 == in.size()) {
    const auto v = at(i) << 16;
    out += {alphabet[v >> 18], alphabet[v >> 12 & 63], '=', '='};
  } else if (i + 2 == in.size()) {
    const auto v = at(i) << 16 | at(i + 1) << 8;
    out += {alphabet[v >> 18], alphabet[v >> 12 & 63], alphabet[v >> 6 & 63], '='};
  }
  return out;
}

std::optional<std::string> from_base64(std::string_view in) {
  if (in.size() % 4 != 0) return std::nullopt;
  while (!in.empty() && in.back() == '=') in.remove_suffix(1);
  std::string out;
  out.reserve(in.size() * 3 / 4);
  std::uint32_t v = 0;
  int bits = 0;
  for (const char c : in) {
    const auto d = reverse[static_cast<unsigned char>(c)];
    if (d < 0) return std::nullopt;
    v = v << 6 | static_cast<std::uint32_t>(d);
    if ((bits += 6) < 8) continue;
    bits -= 8;
    out += static_cast<char>(v >> bits & 0xff);
  }
  return out;
}

std::uint64_t number(const json& object, const char* name) {
  if (!object.is_object()) return 0;
  const auto at = object.find(name);
  if (at == object.end()) return 0;
  if (at->is_number_unsigned()) return at->get<std::uint64_t>();
  if (at->is_number_integer()) return static_cast<std::uint64_t>(at->get<std::int64_t>());
  if (!at->is_string()) return 0;
  const auto& s = at->get_ref<const std::string&>();
  std::uint64_t n = 0;
  std::from_chars(s.data(), s.data() + s.size(), n);
  return n;
}

std::string text(const json& object, const char* name) {
  if (!object.is_object()) return {};
  const auto at = object.find(name);
  return at != object.end() && at->is_string() ? at->get<std::string>() : std::string{};
}

std::string bytes(const json& object, const char* name) { return from_base64(text(object, name)).value_or(std::string{}); }

std::string range_end(std::string prefix) {
  while (!prefix.empty()) {
    if (static_cast<unsigned char>(prefix.back()) != 0xff) {
      ++prefix.back();
      return prefix;
    }
    prefix.pop_back();
  }
  return std::string(1, '\0'); // everything
}

} // namespace millrace::storage::etcd
