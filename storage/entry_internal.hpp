#pragma once
// One entry of a log as it lies on disk: u32 header words | header message | body (schemas/log.capnp, BatchHeader).

#include "storage/batch.hpp"

#include <capnp/common.h>
#include <kj/common.h>

namespace millrace::storage {

/// The header's numbers.
struct entry_fields {
  offset base;
  std::uint32_t count = 0;
  batch_kind kind = batch_kind::changes;
  storage::codec codec = codec::none;
  storage::epoch epoch;
  timestamp first_time{}, last_time{};
  std::uint64_t changes_before = 0;
  std::uint64_t bytes_before = 0;
  std::uint32_t body_bytes = 0; ///< as stored
  std::uint32_t raw_bytes = 0;  ///< decompressed
  std::uint32_t states = 0;     ///< entries of the source's state in the header
  hash128 prev, hash;

  offset end() const { return {base.value + count}; }
  std::uint64_t changes() const { return kind == batch_kind::changes ? count : 0; }
};

/// The words of one message and what keeps them in memory.
struct message_words {
  std::shared_ptr<const void> owner;
  kj::ArrayPtr<const capnp::word> words;
  std::string_view chars() const { return {reinterpret_cast<const char*>(words.begin()), words.size() * sizeof(capnp::word)}; }
};

/// Entry ready to append but for its place in the log. Keeps the raw message, so that the tail cache need not decompress.
class staged_entry final : public staged_batch {
public:
  batch_kind kind = batch_kind::changes;
  std::uint32_t entry_count = 0;
  message_words raw;
  storage::codec codec = codec::none; ///< of `compressed`; none: the body is `raw`
  std::string compressed;
  std::vector<state_entry> state;

  std::uint32_t count() const noexcept override { return entry_count; }
  std::size_t stored_bytes() const noexcept override { return body().size(); }
  std::size_t raw_bytes() const noexcept override { return raw.chars().size() + compressed.capacity(); }
  std::string_view body() const noexcept { return codec == codec::none ? raw.chars() : std::string_view(compressed); }
};

/// Largest payload bytes of one block: a Cap'n Proto list has a 29-bit length.
inline constexpr std::size_t payload_bytes_max = (std::size_t{1} << 29) - 8;

/// Control entries take one offset; only `position` has source state.
result<std::shared_ptr<staged_entry>> encode_control(batch_kind kind, const control_entry& control, codec c = codec::none);

/// The frame before the body: header length and header. Fills in `fields.hash`.
std::string make_header(entry_fields& fields, std::span<const state_entry> state, std::string_view body);

struct parsed_entry {
  entry_fields fields;
  std::string_view body; ///< inside of the value that was parsed
};
/// Checks structure and hash. The failure (corrupt) says what is wrong; the caller adds where.
result<parsed_entry> parse_entry(std::string_view value);

/// The source's state in the header of an entry that was parsed before.
result<std::vector<state_entry>> state_in(std::string_view value);

/// The decompressed body, in one aligned allocation.
result<batch_ptr> decode_entry(const parsed_entry& entry);
/// The same from words that are already in memory: no copy.
result<batch_ptr> open_batch(const entry_fields& fields, message_words raw);

} // namespace millrace::storage
