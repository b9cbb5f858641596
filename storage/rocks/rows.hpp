#pragma once
// Small Cap'n Proto messages as RocksDB values, framed with their segment table.

#include "storage/result.hpp"

#include <capnp/message.h>
#include <capnp/serialize.h>

#include <cstring>
#include <iterator>
#include <string>
#include <vector>

namespace millrace::storage::rocks {

inline kj::StringPtr text(const std::string& s) { return {s.c_str(), s.size()}; }
inline kj::ArrayPtr<const kj::byte> blob(std::string_view s) { return {reinterpret_cast<const kj::byte*>(s.data()), s.size()}; }
inline std::string_view view(kj::ArrayPtr<const kj::byte> d) { return {reinterpret_cast<const char*>(d.begin()), d.size()}; }

template <class Schema, class Fill>
std::string write_row(Fill&& fill) {
  capnp::MallocMessageBuilder message;
  fill(message.initRoot<Schema>());
  const auto words = capnp::messageToFlatArray(message);
  const auto bytes = words.asChars();
  return {bytes.begin(), bytes.size()};
}

/// Calls visit(reader). Errors: corrupt, naming `where`.
template <class Schema, class Visit>
result<void> read_row(std::string_view row, const std::string& where, Visit&& visit) {
  // Values lie anywhere in a block; messages are read in words.
  std::uint64_t small[32];
  std::vector<std::uint64_t> large;
  auto* words = small;
  const std::size_t count = row.size() / sizeof(capnp::word);
  if (count > std::size(small)) {
    large.resize(count);
    words = large.data();
  }
  std::memcpy(words, row.data(), count * sizeof(capnp::word));
  try {
    const kj::ArrayPtr<const capnp::word> view(reinterpret_cast<const capnp::word*>(words), count);
    capnp::FlatArrayMessageReader message(view, {count * 8 + 64, 16});
    visit(message.getRoot<Schema>());
    return success();
  } catch (const kj::Exception& e) {
    return failure{errc::corrupt, where + " cannot be read: " + e.getDescription().cStr()};
  }
}

} // namespace millrace::storage::rocks
