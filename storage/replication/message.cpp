#include "storage/replication/message.hpp"

#include "schemas/replication.capnp.h"

#include <capnp/message.h>
#include <capnp/serialize.h>

#include <cstring>

namespace millrace::storage::replication {
namespace {

template <class... F>
struct overloaded : F... {
  using F::operator()...;
};
template <class... F>
overloaded(F...) -> overloaded<F...>;

kj::StringPtr text(const std::string& s) { return {s.c_str(), s.size()}; }
std::string str(capnp::Text::Reader t) { return {t.begin(), t.size()}; }
failure malformed(const std::string& what) { return {errc::corrupt, "a replication message " + what}; }

constexpr std::size_t name_bytes_max = 255;

void write_body(const message& m, schemas::ReplicationMessage::Builder out) {
  std::visit(overloaded{
                 [&](const attach& b) {
                   auto to = out.initAttach();
                   to.setLastEpoch(b.last_epoch.value);
                   to.setEnd(b.end.value);
                   to.setNonce(b.nonce);
                 },
                 [&](const attach_reply& b) {
                   auto to = out.initAttachReply();
                   to.setNonce(b.nonce);
                   to.setBackEpoch(b.back_epoch.value);
                   to.setBackEnd(b.back_end.value);
                   to.setLogStart(b.log_start.value);
                   to.setHighWatermark(b.high_watermark.value);
                 },
                 [&](const fetch& b) {
                   auto to = out.initFetch();
                   to.setFrom(b.from.value);
                   to.setHashLow(b.hash.low);
                   to.setHashHigh(b.hash.high);
                   to.setDurable(b.durable.value);
                   to.setCredit(b.credit);
                   to.setRound(b.round);
                   to.setEmpty(b.empty);
                 },
                 [&](const data& b) {
                   auto to = out.initData();
                   to.setFrom(b.from.value);
                   to.setHighWatermark(b.high_watermark.value);
                   to.setLogStart(b.log_start.value);
                   to.setVerified(b.verified);
                   to.setRun(b.run);
                   to.setRound(b.round);
                   to.setEntries(static_cast<std::uint32_t>(b.entries.size()));
                 },
                 [&](const query& b) {
                   auto to = out.initQuery();
                   to.setTargetEpoch(b.target.value);
                   to.setNonce(b.nonce);
                 },
                 [&](const report& b) {
                   auto to = out.initReport();
                   to.setTargetEpoch(b.target.value);
                   to.setNonce(b.nonce);
                   to.setLastEpoch(b.last_epoch.value);
                   to.setEnd(b.end.value);
                 },
                 [&](const stand& b) { out.initStand().setTargetEpoch(b.target.value); },
                 [&](const refuse& b) { out.initRefuse().setSeenEpoch(b.seen.value); },
             },
             m.body);
}

/// Entries that follow each other from `from` on, as `count` said there would be.
result<std::vector<raw_entry>> read_entries(offset from, std::uint32_t count,
                                            std::vector<std::shared_ptr<const std::string>>& parts, const entry_parser& parse) {
  if (parts.size() != count)
    return malformed("announces " + std::to_string(count) + " entries and has " + std::to_string(parts.size()));
  std::vector<raw_entry> entries;
  entries.reserve(count);
  for (auto& part : parts) {
    if (!part) return malformed("has an entry without bytes");
    auto entry = parse(std::move(part));
    if (!entry)
      return malformed("has an entry at or after offset " + std::to_string(from.value) +
                       " that is damaged: " + entry.error().message);
    auto& e = entry.value();
    const auto expected = entries.empty() ? from : entries.back().end();
    if (e.count == 0 || e.base != expected || e.end() < e.base)
      return malformed("has an entry [" + std::to_string(e.base.value) + ", +" + std::to_string(e.count) + ") where offset " +
                       std::to_string(expected.value) + " must follow");
    if (!entries.empty() && !(e.prev == entries.back().hash))
      return malformed("has an entry at offset " + std::to_string(e.base.value) +
                       " whose hash does not continue the one before it");
    if (!entries.empty() && e.epoch < entries.back().epoch)
      return malformed("has an entry at offset " + std::to_string(e.base.value) + " of an older epoch than the one before it");
    entries.push_back(std::move(e));
  }
  return entries;
}

using incoming = schemas::ReplicationMessage::Reader;

result<data> read_data(schemas::ReplicationMessage::Data::Reader in, std::vector<std::shared_ptr<const std::string>>& parts,
                       const entry_parser& parse) {
  data d;
  d.from = {in.getFrom()};
  d.high_watermark = {in.getHighWatermark()};
  d.log_start = {in.getLogStart()};
  d.verified = in.getVerified();
  d.run = in.getRun();
  d.round = in.getRound();
  auto entries = read_entries(d.from, in.getEntries(), parts, parse);
  if (!entries) return entries.error();
  d.entries = std::move(entries.value());
  return d;
}

result<void> read_body(incoming in, std::vector<std::shared_ptr<const std::string>>& parts, const entry_parser& parse,
                       message& m) {
  switch (in.which()) {
  case schemas::ReplicationMessage::ATTACH: {
    const auto b = in.getAttach();
    m.body = attach{{b.getLastEpoch()}, {b.getEnd()}, b.getNonce()};
    return success();
  }
  case schemas::ReplicationMessage::ATTACH_REPLY: {
    const auto b = in.getAttachReply();
    m.body = attach_reply{b.getNonce(), {b.getBackEpoch()}, {b.getBackEnd()}, {b.getLogStart()}, {b.getHighWatermark()}};
    return success();
  }
  case schemas::ReplicationMessage::FETCH: {
    const auto b = in.getFetch();
    const fetch f{{b.getFrom()}, {b.getHashLow(), b.getHashHigh()}, {b.getDurable()}, b.getCredit(), b.getRound(), b.getEmpty()};
    if (f.durable > f.from)
      return malformed("says that it has synced up to offset " + std::to_string(f.durable.value) + " and written only up to " +
                       std::to_string(f.from.value));
    m.body = f;
    return success();
  }
  case schemas::ReplicationMessage::DATA: {
    auto d = read_data(in.getData(), parts, parse);
    if (!d) return d.error();
    m.body = std::move(d.value());
    return success();
  }
  case schemas::ReplicationMessage::QUERY:
    m.body = query{{in.getQuery().getTargetEpoch()}, in.getQuery().getNonce()};
    return success();
  case schemas::ReplicationMessage::REPORT: {
    const auto b = in.getReport();
    m.body = report{{b.getTargetEpoch()}, b.getNonce(), {b.getLastEpoch()}, {b.getEnd()}};
    return success();
  }
  case schemas::ReplicationMessage::STAND:
    m.body = stand{{in.getStand().getTargetEpoch()}};
    return success();
  case schemas::ReplicationMessage::REFUSE:
    m.body = refuse{{in.getRefuse().getSeenEpoch()}};
    return success();
  }
  return malformed("is of kind " + std::to_string(static_cast<unsigned>(in.which())) + ", which this version does not know");
}

/// Runs `visit` with the message in `head`; whatever Cap'n Proto finds wrong becomes an error.
template <class Visit>
result<void> with_head(std::string_view head, Visit&& visit) {
  if (head.empty() || head.size() > head_bytes_max || head.size() % sizeof(capnp::word) != 0)
    return malformed("has a head of " + std::to_string(head.size()) + " bytes; expected whole words, at most " +
                     std::to_string(head_bytes_max));
  alignas(capnp::word) char aligned[head_bytes_max];
  std::memcpy(aligned, head.data(), head.size());
  try {
    const auto* begin = reinterpret_cast<const capnp::word*>(aligned);
    capnp::FlatArrayMessageReader reader(kj::arrayPtr(begin, head.size() / sizeof(capnp::word)), {4 * head_bytes_max / 8, 8});
    if (reader.getEnd() != begin + head.size() / sizeof(capnp::word)) return malformed("has bytes behind its head");
    return visit(reader.getRoot<schemas::ReplicationMessage>());
  } catch (const kj::Exception& e) {
    return malformed(std::string("cannot be read: ") + e.getDescription().cStr());
  }
}

} // namespace

const char* kind_of(const message& m) {
  static constexpr const char* names[] = {"attach", "attach_reply", "fetch", "data", "query", "report", "stand", "refuse"};
  return names[m.body.index()];
}

wire_message encode(const message& m) {
  capnp::word scratch[128];
  std::memset(scratch, 0, sizeof scratch); // the builder asks for zeroed memory
  capnp::MallocMessageBuilder builder(kj::arrayPtr(scratch, 128));
  auto out = builder.initRoot<schemas::ReplicationMessage>();
  out.setUid(text(m.partition.uid));
  out.setPartition(m.partition.partition);
  out.setEpoch(m.epoch.value);
  out.setNode(text(m.node));
  out.setRun(m.run);
  out.setStore(m.store);
  write_body(m, out);
  wire_message wire;
  const auto words = capnp::messageToFlatArray(builder);
  const auto bytes = words.asChars();
  wire.head.assign(bytes.begin(), bytes.size());
  if (const auto* d = std::get_if<data>(&m.body)) {
    wire.parts.reserve(d->entries.size());
    for (const auto& e : d->entries) wire.parts.push_back(e.value);
  }
  return wire;
}

result<message> decode(std::string_view head, std::vector<std::shared_ptr<const std::string>> parts, const entry_parser& parse) {
  message m;
  auto done = with_head(head, [&](incoming in) -> result<void> {
    if (in.getUid().size() == 0 || in.getUid().size() > name_bytes_max || in.getNode().size() == 0 ||
        in.getNode().size() > name_bytes_max)
      return malformed("has a pipeline's or a node's name that is empty or longer than " + std::to_string(name_bytes_max) +
                       " bytes");
    if (!in.isData() && !parts.empty()) return malformed("has parts and is not of the kind that carries entries");
    m.partition = {str(in.getUid()), in.getPartition()};
    m.epoch = {in.getEpoch()};
    m.node = str(in.getNode());
    m.run = in.getRun();
    m.store = in.getStore();
    return read_body(in, parts, parse, m);
  });
  if (!done) return done.error();
  return m;
}

result<partition_name> partition_of(std::string_view head) {
  partition_name name;
  auto done = with_head(head, [&](incoming in) -> result<void> {
    if (in.getUid().size() == 0 || in.getUid().size() > name_bytes_max)
      return malformed("has a pipeline's name that is empty or too long");
    name = {str(in.getUid()), in.getPartition()};
    return success();
  });
  if (!done) return done.error();
  return name;
}

} // namespace millrace::storage::replication
