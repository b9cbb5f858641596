// An entry as readers see it: views into one message in memory.
#include "storage/bytes_internal.hpp"
#include "storage/compression_internal.hpp"
#include "storage/entry_internal.hpp"

#include "schemas/log.capnp.h"

#include <capnp/any.h>
#include <capnp/message.h>

#include <algorithm>
#include <cstdio>

namespace millrace::storage {
namespace {

class stored_batch final : public batch {
public:
  stored_batch(const entry_fields& fields, message_words raw) : fields_(fields), raw_(std::move(raw)) {}

  batch_kind kind() const noexcept override { return fields_.kind; }
  offset base() const noexcept override { return fields_.base; }
  std::uint32_t count() const noexcept override { return fields_.count; }
  storage::epoch epoch() const noexcept override { return fields_.epoch; }
  timestamp first_time() const noexcept override { return fields_.first_time; }
  timestamp last_time() const noexcept override { return fields_.last_time; }
  std::uint64_t changes_before() const noexcept override { return fields_.changes_before; }
  std::size_t bytes() const noexcept override { return sizeof *this + raw_.chars().size(); }
  std::string_view payloads() const noexcept override { return payloads_; }
  std::string_view payload(std::uint32_t i) const noexcept override { return {payloads_.data() + starts_[i], lengths_[i]}; }
  payload_format format() const noexcept override { return format_; }
  storage::envelope envelope() const noexcept override { return envelope_; }
  std::string_view origin() const noexcept override { return origin_; }
  std::string_view context() const noexcept override { return context_; }
  std::span<const source_transaction> transactions() const noexcept override { return transactions_; }
  bool open_end() const noexcept override { return open_end_; }
  std::string source_position(std::uint32_t i) const override {
    if (const auto* t = transaction_of(i))
      return std::string(origin_) + (origin_.empty() ? "" : " ") + lsn_text(t->position) + '#' +
             std::to_string(t->first_index + (i - t->first_change));
    return std::string(origin_) + ':' + std::to_string(origin_position_ + starts_[i]);
  }
  const control_entry& control() const noexcept override { return control_; }

  result<void> open() {
    try {
      const kj::ArrayPtr<const capnp::word> segments[] = {raw_.words};
      // Each list is read once, so a few times the message's size is all that a sound one needs.
      capnp::SegmentArrayMessageReader message(kj::arrayPtr(segments, 1), {raw_.words.size() * 4 + 64, 16});
      return fields_.kind == batch_kind::changes ? open_changes(message.getRoot<schemas::Changes>())
                                                 : open_control(message.getRoot<schemas::Control>());
    } catch (const kj::Exception& e) {
      return failure{errc::corrupt, std::string("its body cannot be read: ") + e.getDescription().cStr()};
    }
  }

private:
  static std::string_view view(kj::ArrayPtr<const kj::byte> data) {
    return {reinterpret_cast<const char*>(data.begin()), data.size()};
  }

  /// The list's memory, or null if it is not the plain array of `count` numbers that encode() writes.
  static const std::uint32_t* array_of(capnp::List<std::uint32_t>::Reader list, std::uint32_t count) {
    const auto raw = capnp::AnyList::Reader(list).getRawBytes();
    if (list.size() != count || raw.size() != std::size_t{count} * sizeof(std::uint32_t)) return nullptr;
    return reinterpret_cast<const std::uint32_t*>(raw.begin());
  }

  result<void> open_changes(schemas::Changes::Reader changes) {
    payloads_ = view(changes.getPayloads());
    starts_ = array_of(changes.getStarts(), fields_.count);
    lengths_ = array_of(changes.getLengths(), fields_.count);
    if (starts_ == nullptr || lengths_ == nullptr)
      return failure{errc::corrupt, "its columns do not have the " + std::to_string(fields_.count) + " changes its header names"};
    bool outside = false; // no early exit: the loop stays branch-free
    for (std::uint32_t i = 0; i < fields_.count; ++i) outside |= std::uint64_t{starts_[i]} + lengths_[i] > payloads_.size();
    if (outside) return failure{errc::corrupt, "a change lies outside of its payload bytes"};
    format_ = static_cast<payload_format>(changes.getFormat());
    envelope_ = static_cast<storage::envelope>(changes.getEnvelope());
    const auto origin = changes.getOrigin();
    origin_ = {origin.begin(), origin.size()};
    origin_position_ = changes.getOriginPosition();
    context_ = view(changes.getContext());
    const auto list = changes.getTransactions();
    transactions_.reserve(list.size());
    for (const auto t : list) {
      const bool rises = transactions_.empty() ? t.getFirstChange() == 0 : t.getFirstChange() > transactions_.back().first_change;
      if (!rises || t.getFirstChange() >= fields_.count) return failure{errc::corrupt, "its transactions are out of order"};
      transactions_.push_back({t.getFirstChange(), t.getId(), t.getPosition(), t.getTimeUs(), t.getFirstIndex()});
    }
    open_end_ = changes.getOpenEnd();
    return success();
  }

  result<void> open_control(schemas::Control::Reader control) {
    control_.load = control.getLoad();
    for (const auto o : control.getOffsets()) control_.offsets.push_back({o});
    for (const auto r : control.getReasons()) control_.reasons.emplace_back(r.begin(), r.size());
    control_.to = {control.getTo()};
    control_.flag = control.getFlag();
    control_.letters = view(control.getLetters());
    control_.settled_below = {control.getSettledBelow()};
    return success();
  }

  const entry_fields fields_;
  const message_words raw_;
  std::string_view payloads_, origin_, context_;
  const std::uint32_t* starts_ = nullptr;
  const std::uint32_t* lengths_ = nullptr;
  std::uint64_t origin_position_ = 0;
  payload_format format_ = payload_format::json;
  storage::envelope envelope_ = storage::envelope::none;
  std::vector<source_transaction> transactions_;
  bool open_end_ = false;
  control_entry control_;
};

} // namespace

const source_transaction* batch::transaction_of(std::uint32_t i) const noexcept {
  const auto all = transactions();
  const auto after = std::upper_bound(all.begin(), all.end(), i,
                                      [](std::uint32_t change, const source_transaction& t) { return change < t.first_change; });
  return after == all.begin() ? nullptr : &*(after - 1);
}

std::string lsn_text(std::uint64_t position) {
  char text[24];
  std::snprintf(text, sizeof text, "%X/%X", static_cast<unsigned>(position >> 32), static_cast<unsigned>(position));
  return text;
}

result<batch_ptr> open_batch(const entry_fields& fields, message_words raw) {
  auto made = std::make_shared<stored_batch>(fields, std::move(raw));
  if (auto ok = made->open(); !ok) return ok.error();
  return batch_ptr(std::move(made));
}

result<batch_ptr> decode_entry(const parsed_entry& entry) {
  const std::size_t words = entry.fields.raw_bytes / sizeof(capnp::word);
  auto memory = std::make_shared_for_overwrite<std::uint64_t[]>(words);
  if (auto ok = decompress(entry.fields.codec, entry.body, {reinterpret_cast<char*>(memory.get()), entry.fields.raw_bytes}); !ok)
    return ok.error();
  const kj::ArrayPtr<const capnp::word> view(reinterpret_cast<const capnp::word*>(memory.get()), words);
  return open_batch(entry.fields, {std::move(memory), view});
}

} // namespace millrace::storage
