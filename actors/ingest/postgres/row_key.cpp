#include "actors/ingest/postgres/row_key.hpp"

#include "actors/ingest/postgres/bytes.hpp"

#include <xxhash.h>

#include <algorithm>

namespace millrace::actors::ingest::postgres {
namespace {

constexpr std::uint32_t null_length = UINT32_MAX;

void put(std::string& key, std::optional<std::string_view> value) {
  put_number(key, value ? value->size() : null_length, 4);
  if (value) key += *value;
}

int digit(char c, int base) {
  const int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;
  return d < base ? d : -1;
}

/// What COPY's escapes stand for (PostgreSQL's documentation, COPY, "Text Format").
std::string unescaped(std::string_view cell) {
  std::string out;
  out.reserve(cell.size());
  for (std::size_t i = 0; i < cell.size(); ++i) {
    if (cell[i] != '\\' || i + 1 == cell.size()) {
      out += cell[i];
      continue;
    }
    const char c = cell[++i];
    switch (c) {
    case 'b':
      out += '\b';
      break;
    case 'f':
      out += '\f';
      break;
    case 'n':
      out += '\n';
      break;
    case 'r':
      out += '\r';
      break;
    case 't':
      out += '\t';
      break;
    case 'v':
      out += '\v';
      break;
    default: {
      const bool hex = c == 'x';
      const int base = hex ? 16 : 8, most = hex ? 2 : 3;
      std::size_t at = hex ? i + 1 : i;
      int value = 0, digits = 0;
      for (; digits < most && at < cell.size() && digit(cell[at], base) >= 0; ++digits)
        value = value * base + digit(cell[at++], base);
      if (digits == 0) {
        out += c;
      } else {
        out += static_cast<char>(value);
        i = at - 1;
      }
    }
    }
  }
  return out;
}

} // namespace

std::string key_bytes(std::span<const std::optional<std::string_view>> values) {
  std::string key;
  for (const auto& v : values) put(key, v);
  return key;
}

std::optional<std::vector<std::optional<std::string>>> key_values(std::string_view bytes) {
  byte_reader in(bytes);
  std::vector<std::optional<std::string>> out;
  while (in.good() && !in.at_end()) {
    const auto size = in.u32();
    if (size == null_length)
      out.push_back(std::nullopt);
    else
      out.push_back(std::string(in.take(size)));
  }
  if (!in.good()) return std::nullopt;
  return out;
}

std::optional<std::string> key_of(std::span<const tuple_cell> tuple, std::span<const std::size_t> columns) {
  std::string key;
  for (const auto c : columns) {
    if (c >= tuple.size() || tuple[c].k == tuple_cell::kind::unchanged) return std::nullopt;
    if (tuple[c].k == tuple_cell::kind::null)
      put(key, std::nullopt);
    else
      put(key, tuple[c].text);
  }
  return key;
}

std::optional<std::string> key_of_line(std::string_view line, std::span<const std::size_t> columns) {
  const auto cell_at = [&](std::size_t n) -> std::optional<std::string_view> {
    auto rest = line;
    for (; n != 0; --n) {
      const auto tab = rest.find('\t');
      if (tab == std::string_view::npos) return std::nullopt;
      rest.remove_prefix(tab + 1);
    }
    return rest.substr(0, rest.find('\t'));
  };
  std::string key;
  for (const auto c : columns) {
    const auto cell = cell_at(c);
    if (!cell) return std::nullopt;
    if (*cell == "\\N")
      put(key, std::nullopt);
    else if (cell->find('\\') == std::string_view::npos)
      put(key, *cell);
    else
      put(key, unescaped(*cell));
  }
  return key;
}

key_hash hash_of(std::string_view key) {
  const auto h = XXH3_128bits(key.data(), key.size());
  return {h.low64, h.high64};
}

} // namespace millrace::actors::ingest::postgres
