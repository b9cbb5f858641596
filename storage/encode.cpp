// From a block of changes, or an operator's word, to an entry ready to append.
#include "storage/compression_internal.hpp"
#include "storage/entry_internal.hpp"

#include "schemas/log.capnp.h"

#include <capnp/message.h>

#include <cstring>

namespace millrace::storage {
namespace {

constexpr std::size_t state_bytes_max = 64u << 20;
constexpr std::size_t text_bytes_max = 64u << 20;
constexpr std::size_t transaction_words = 5; ///< of schemas::Transaction

std::size_t words_for(std::size_t bytes) { return (bytes + sizeof(capnp::word) - 1) / sizeof(capnp::word); }

kj::ArrayPtr<const kj::byte> as_data(std::string_view s) { return {reinterpret_cast<const kj::byte*>(s.data()), s.size()}; }

failure invalid(std::string what) { return {errc::invalid, std::move(what)}; }

result<void> check(const change_block& block) {
  if (block.starts.size() != block.lengths.size())
    return invalid("a block has " + std::to_string(block.starts.size()) + " starts and " + std::to_string(block.lengths.size()) +
                   " lengths; they must be as many");
  if (block.payloads.size() > payload_bytes_max)
    return invalid("a block has " + std::to_string(block.payloads.size()) + " bytes of payload, at most " +
                   std::to_string(payload_bytes_max) + " are possible");
  if (block.starts.size() > (payload_bytes_max >> 2)) return invalid("a block has too many changes");
  if (block.origin.size() > text_bytes_max || block.context.size() > text_bytes_max)
    return invalid("a block's origin or context is larger than 64 MiB");
  for (std::size_t i = 0; i < block.starts.size(); ++i) {
    if (std::uint64_t{block.starts[i]} + block.lengths[i] > block.payloads.size())
      return invalid("change " + std::to_string(i) + " of a block lies at " + std::to_string(block.starts[i]) + " with " +
                     std::to_string(block.lengths[i]) + " bytes, outside of its " + std::to_string(block.payloads.size()) +
                     " bytes of payload");
  }
  for (std::size_t i = 0; i < block.transactions.size(); ++i) {
    const auto first = block.transactions[i].first_change;
    if (first >= block.starts.size() || (i == 0 ? first != 0 : first <= block.transactions[i - 1].first_change))
      return invalid("transaction " + std::to_string(i) + " of a block begins at change " + std::to_string(first) +
                     "; expected the first at 0, then rising ones below " + std::to_string(block.starts.size()));
  }
  std::size_t state = 0;
  for (const auto& s : block.source_state) {
    if (s.key.empty()) return invalid("a key of the source's state is empty");
    state += s.key.size() + s.value.size();
  }
  if (state > state_bytes_max)
    return invalid("the source's state in one block has " + std::to_string(state) + " bytes, at most 64 MiB are possible");
  return success();
}

/// The message's words; its builder stays their owner.
message_words finish(std::shared_ptr<capnp::MallocMessageBuilder> message) {
  const auto segments = message->getSegmentsForOutput();
  KJ_ASSERT(segments.size() == 1, "the estimate of a message's size must hold it in one segment");
  return {std::move(message), segments[0]};
}

void copy_list(capnp::List<std::uint32_t>::Builder to, const std::vector<std::uint32_t>& from) {
  for (unsigned i = 0; i < from.size(); ++i) to.set(i, from[i]);
}

message_words build_changes(const change_block& block) {
  const std::size_t words = 32 + words_for(block.payloads.size()) + 2 * words_for(4 * block.starts.size()) +
                            words_for(block.origin.size() + 1) + words_for(block.context.size()) +
                            transaction_words * block.transactions.size();
  auto message =
      std::make_shared<capnp::MallocMessageBuilder>(static_cast<unsigned>(words), capnp::AllocationStrategy::FIXED_SIZE);
  auto root = message->initRoot<schemas::Changes>();
  root.setPayloads(as_data(block.payloads));
  const auto count = static_cast<unsigned>(block.starts.size());
  copy_list(root.initStarts(count), block.starts);
  copy_list(root.initLengths(count), block.lengths);
  root.setFormat(static_cast<schemas::PayloadFormat>(block.format));
  root.setEnvelope(static_cast<schemas::Envelope>(block.envelope));
  root.setOrigin(kj::StringPtr(block.origin.c_str(), block.origin.size()));
  root.setOriginPosition(block.origin_position);
  root.setContext(as_data(block.context));
  if (!block.transactions.empty()) {
    auto list = root.initTransactions(static_cast<unsigned>(block.transactions.size()));
    for (unsigned i = 0; i < block.transactions.size(); ++i) {
      const auto& t = block.transactions[i];
      auto to = list[i];
      to.setFirstChange(t.first_change);
      to.setId(t.id);
      to.setPosition(t.position);
      to.setTimeUs(t.time_us);
      to.setFirstIndex(t.first_index);
    }
  }
  root.setOpenEnd(block.open_end);
  return finish(std::move(message));
}

} // namespace

result<staged_batch_ptr> encode(const change_block& block, codec c) {
  if (auto ok = check(block); !ok) return ok.error();
  auto entry = std::make_shared<staged_entry>();
  entry->entry_count = static_cast<std::uint32_t>(block.starts.size());
  entry->state = block.source_state;
  if (entry->entry_count != 0) {
    entry->raw = build_changes(block);
    const auto raw = entry->raw.chars();
    entry->codec = compress(c, raw, entry->compressed);
  }
  return staged_batch_ptr(std::move(entry));
}

result<std::shared_ptr<staged_entry>> encode_control(batch_kind kind, const control_entry& control, codec c) {
  if (control.offsets.size() > (payload_bytes_max >> 4))
    return invalid("an entry names " + std::to_string(control.offsets.size()) + " changes, too many for one");
  if (!control.reasons.empty() && control.reasons.size() != control.offsets.size())
    return invalid("an entry has " + std::to_string(control.offsets.size()) + " offsets and " +
                   std::to_string(control.reasons.size()) + " reasons; they must be as many");
  if (control.letters.size() > payload_bytes_max)
    return invalid("an entry carries dead letters of " + std::to_string(control.letters.size()) + " bytes, at most " +
                   std::to_string(payload_bytes_max) + " are possible");
  std::size_t words = 32 + control.offsets.size() + words_for(control.load.size() + 1) + words_for(control.letters.size());
  for (const auto& r : control.reasons) words += 1 + words_for(r.size() + 1);
  auto message =
      std::make_shared<capnp::MallocMessageBuilder>(static_cast<unsigned>(words), capnp::AllocationStrategy::FIXED_SIZE);
  auto root = message->initRoot<schemas::Control>();
  root.setLoad(kj::StringPtr(control.load.c_str(), control.load.size()));
  auto offsets = root.initOffsets(static_cast<unsigned>(control.offsets.size()));
  for (unsigned i = 0; i < control.offsets.size(); ++i) offsets.set(i, control.offsets[i].value);
  auto reasons = root.initReasons(static_cast<unsigned>(control.reasons.size()));
  for (unsigned i = 0; i < control.reasons.size(); ++i)
    reasons.set(i, kj::StringPtr(control.reasons[i].c_str(), control.reasons[i].size()));
  root.setTo(control.to.value);
  root.setFlag(control.flag);
  if (!control.letters.empty()) root.setLetters(as_data(control.letters));
  root.setSettledBelow(control.settled_below.value);

  auto entry = std::make_shared<staged_entry>();
  entry->kind = kind;
  entry->entry_count = 1;
  entry->raw = finish(std::move(message));
  entry->codec = compress(c, entry->raw.chars(), entry->compressed);
  return entry;
}

batch_ptr single_change(offset at, timestamp time, std::string_view payload, payload_format format, envelope env,
                        std::string_view origin, std::string_view context) {
  change_block block;
  block.payloads = payload;
  block.starts = {0};
  block.lengths = {static_cast<std::uint32_t>(payload.size())};
  block.format = format;
  block.envelope = env;
  block.origin = origin;
  block.context = context;
  entry_fields fields;
  fields.base = at;
  fields.count = 1;
  fields.first_time = fields.last_time = time;
  auto opened = open_batch(fields, build_changes(block));
  return std::move(opened).value(); // a message that was just built can be read
}

} // namespace millrace::storage
