#include "storage/entry_internal.hpp"

#include "schemas/log.capnp.h"
#include "storage/bytes_internal.hpp"
#include "storage/replica_log.hpp"

#include <capnp/any.h>
#include <capnp/message.h>
#include <capnp/schema.h>
#include <xxhash.h>

namespace millrace::storage {
namespace {

struct xxh3_closer {
  void operator()(XXH3_state_t* s) const noexcept { XXH3_freeState(s); }
};

hash128 hash_of(std::string_view header, std::string_view body) {
  thread_local const std::unique_ptr<XXH3_state_t, xxh3_closer> state{XXH3_createState()};
  XXH3_128bits_reset(state.get());
  XXH3_128bits_update(state.get(), header.data(), header.size());
  XXH3_128bits_update(state.get(), body.data(), body.size());
  const auto h = XXH3_128bits_digest(state.get());
  return {h.low64, h.high64};
}

/// Word of the header's data section in which a 64-bit field lies: the compiler's word, not a number copied from its output.
std::size_t slot_of(const char* field) {
  return capnp::Schema::from<schemas::BatchHeader>().getFieldByName(field).getProto().getSlot().getOffset();
}

void fill(schemas::BatchHeader::Builder to, const entry_fields& f, std::span<const state_entry> state) {
  to.setBaseOffset(f.base.value);
  to.setCount(f.count);
  to.setKind(static_cast<schemas::BatchKind>(f.kind));
  to.setCodec(static_cast<schemas::Codec>(f.codec));
  to.setEpoch(f.epoch.value);
  to.setFirstTimeUs(to_us(f.first_time));
  to.setLastTimeUs(to_us(f.last_time));
  to.setChangesBefore(f.changes_before);
  to.setBytesBefore(f.bytes_before);
  to.setBodyBytes(f.body_bytes);
  to.setRawBytes(f.raw_bytes);
  to.setPrevHashLow(f.prev.low);
  to.setPrevHashHigh(f.prev.high);
  if (state.empty()) return;
  auto list = to.initSourceState(static_cast<unsigned>(state.size()));
  for (unsigned i = 0; i < state.size(); ++i) {
    list[i].setKey({reinterpret_cast<const kj::byte*>(state[i].key.data()), state[i].key.size()});
    list[i].setValue({reinterpret_cast<const kj::byte*>(state[i].value.data()), state[i].value.size()});
  }
}

std::size_t words_for(std::size_t bytes) { return (bytes + sizeof(capnp::word) - 1) / sizeof(capnp::word); }

entry_fields fields_of(schemas::BatchHeader::Reader h) {
  entry_fields f;
  f.base = {h.getBaseOffset()};
  f.count = h.getCount();
  f.kind = static_cast<batch_kind>(h.getKind());
  f.codec = static_cast<codec>(h.getCodec());
  f.epoch = {h.getEpoch()};
  f.first_time = from_us(h.getFirstTimeUs());
  f.last_time = from_us(h.getLastTimeUs());
  f.changes_before = h.getChangesBefore();
  f.bytes_before = h.getBytesBefore();
  f.body_bytes = h.getBodyBytes();
  f.raw_bytes = h.getRawBytes();
  f.prev = {h.getPrevHashLow(), h.getPrevHashHigh()};
  f.hash = {h.getHashLow(), h.getHashHigh()};
  f.states = h.getSourceState().size();
  return f;
}

failure damaged(std::string what) { return {errc::corrupt, std::move(what)}; }

} // namespace

std::string make_header(entry_fields& fields, std::span<const state_entry> state, std::string_view body) {
  std::size_t words = 40; // the struct and its pointers, with room to grow
  for (const auto& s : state) words += 3 + words_for(s.key.size()) + words_for(s.value.size());
  capnp::MallocMessageBuilder message(static_cast<unsigned>(words), capnp::AllocationStrategy::FIXED_SIZE);
  auto root = message.initRoot<schemas::BatchHeader>();
  fill(root, fields, state);
  const auto segments = message.getSegmentsForOutput();
  KJ_ASSERT(segments.size() == 1, "the estimate above must hold the header in one segment");
  const auto bytes = segments[0].asChars();
  fields.hash = hash_of({bytes.begin(), bytes.size()}, body);
  root.setHashLow(fields.hash.low);
  root.setHashHigh(fields.hash.high);

  std::string frame;
  frame.reserve(sizeof(std::uint32_t) + bytes.size());
  const auto length = static_cast<std::uint32_t>(segments[0].size());
  frame.append(reinterpret_cast<const char*>(&length), sizeof length);
  frame.append(bytes.begin(), bytes.size());
  return frame;
}

result<parsed_entry> parse_entry(std::string_view value) {
  if (value.size() < sizeof(std::uint32_t)) return damaged("the entry is shorter than its frame");
  const std::size_t header_words = read_le32(value.data());
  const std::size_t header_bytes = header_words * sizeof(capnp::word);
  if (header_words == 0 || header_bytes > value.size() - sizeof(std::uint32_t))
    return damaged("the header's length, " + std::to_string(header_words) + " words, does not fit the entry of " +
                   std::to_string(value.size()) + " bytes");
  // The header is not aligned inside of the value, and its hash is taken with the hash fields zero: both ask for a copy.
  std::vector<std::uint64_t> copy(header_words);
  std::memcpy(copy.data(), value.data() + sizeof(std::uint32_t), header_bytes);
  const std::string_view body = value.substr(sizeof(std::uint32_t) + header_bytes);
  try {
    const kj::ArrayPtr<const capnp::word> segment(reinterpret_cast<const capnp::word*>(copy.data()), header_words);
    const kj::ArrayPtr<const capnp::word> segments[] = {segment};
    capnp::SegmentArrayMessageReader message(kj::arrayPtr(segments, 1), {header_words * 8 + 64, 16});
    const auto root = message.getRoot<schemas::BatchHeader>();
    parsed_entry entry{fields_of(root), body};

    static const std::size_t low_slot = slot_of("hashLow"), high_slot = slot_of("hashHigh");
    const auto data = capnp::toAny(root).getDataSection();
    if (data.size() < (std::max(low_slot, high_slot) + 1) * sizeof(std::uint64_t)) return damaged("the header is cut short");
    auto* slots = const_cast<kj::byte*>(data.begin()); // bytes of `copy`, ours to change
    std::memset(slots + low_slot * sizeof(std::uint64_t), 0, sizeof(std::uint64_t));
    std::memset(slots + high_slot * sizeof(std::uint64_t), 0, sizeof(std::uint64_t));
    if (hash_of({reinterpret_cast<const char*>(copy.data()), header_bytes}, body) != entry.fields.hash)
      return damaged("its hash does not match its bytes");
    if (entry.fields.body_bytes != body.size())
      return damaged("its body has " + std::to_string(body.size()) + " bytes, the header names " +
                     std::to_string(entry.fields.body_bytes));
    if (entry.fields.count == 0 || entry.fields.raw_bytes % sizeof(capnp::word) != 0)
      return damaged("its header is not one this version writes");
    return entry;
  } catch (const kj::Exception& e) {
    return damaged(std::string("its header cannot be read: ") + e.getDescription().cStr());
  }
}

result<std::vector<state_entry>> state_in(std::string_view value) {
  const std::size_t header_words = read_le32(value.data());
  std::vector<std::uint64_t> copy(header_words);
  std::memcpy(copy.data(), value.data() + sizeof(std::uint32_t), header_words * sizeof(capnp::word));
  try {
    const kj::ArrayPtr<const capnp::word> segment(reinterpret_cast<const capnp::word*>(copy.data()), header_words);
    const kj::ArrayPtr<const capnp::word> segments[] = {segment};
    capnp::SegmentArrayMessageReader message(kj::arrayPtr(segments, 1), {header_words * 8 + 64, 16});
    std::vector<state_entry> state;
    for (const auto s : message.getRoot<schemas::BatchHeader>().getSourceState()) {
      const auto key = s.getKey().asChars(), stored = s.getValue().asChars();
      state.push_back({{key.begin(), key.size()}, {stored.begin(), stored.size()}});
    }
    return state;
  } catch (const kj::Exception& e) {
    return damaged(std::string("the source's state in its header cannot be read: ") + e.getDescription().cStr());
  }
}

result<raw_entry> parse_raw(shared_bytes value) {
  auto parsed = parse_entry(*value);
  if (!parsed) return parsed.error();
  const auto& f = parsed.value().fields;
  return raw_entry{f.base, f.count, f.epoch, f.prev, f.hash, std::move(value)};
}

} // namespace millrace::storage
