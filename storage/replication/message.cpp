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

/// Smaller entries share parts: a part costs the link more than their copy does, and a frame has a bounded number of them. A
/// message of 8 MiB has at most 257.
constexpr std::size_t shared_part_bytes = 64u << 10;

void append_length(std::string& to, std::size_t n) {
  for (int shift = 0; shift < 32; shift += 8) to.push_back(static_cast<char>(n >> shift & 0xff));
}
std::size_t read_length(std::string_view from) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < 4; ++i) n |= static_cast<std::size_t>(static_cast<unsigned char>(from[i])) << (8 * i);
  return n;
}

struct packed_entries {
  std::vector<shared_bytes> parts;
  std::vector<std::uint32_t> per_part;
};

/// Large entries as they lie, without a copy; runs of small ones together.
packed_entries pack(const std::vector<raw_entry>& entries) {
  packed_entries out;
  for (std::size_t i = 0; i < entries.size();) {
    std::size_t end = i, bytes = 0;
    while (end < entries.size() && bytes < shared_part_bytes && entries[end].value->size() < shared_part_bytes)
      bytes += entries[end++].value->size();
    if (end - i < 2) {
      out.parts.push_back(entries[i].value);
      out.per_part.push_back(1);
      ++i;
      continue;
    }
    auto part = std::make_shared<std::string>();
    part->reserve(bytes + 4 * (end - i));
    out.per_part.push_back(static_cast<std::uint32_t>(end - i));
    for (; i < end; ++i) {
      append_length(*part, entries[i].value->size());
      part->append(*entries[i].value);
    }
    out.parts.push_back(std::move(part));
  }
  return out;
}

void write_body(const message& m, const packed_entries& packed, schemas::ReplicationMessage::Builder out) {
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
                   to.setFull(b.full);
                   to.setUnheard(b.unheard);
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
                   if (packed.parts.size() == b.entries.size()) return; // one each
                   auto list = to.initPerPart(static_cast<unsigned>(packed.per_part.size()));
                   for (unsigned i = 0; i < list.size(); ++i) list.set(i, packed.per_part[i]);
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

/// The parts cut into entries again.
result<std::vector<shared_bytes>> unpack(schemas::ReplicationMessage::Data::Reader in, std::vector<shared_bytes>& parts) {
  const auto per_part = in.getPerPart();
  if (per_part.size() == 0) {
    if (parts.size() != in.getEntries())
      return malformed("announces " + std::to_string(in.getEntries()) + " entries and has " + std::to_string(parts.size()));
    return std::move(parts);
  }
  if (parts.size() != per_part.size())
    return malformed("announces " + std::to_string(per_part.size()) + " parts and has " + std::to_string(parts.size()));
  std::vector<shared_bytes> values;
  for (unsigned i = 0; i < per_part.size(); ++i) {
    if (!parts[i]) return malformed("has a part without bytes");
    if (per_part[i] == 1) {
      values.push_back(std::move(parts[i]));
      continue;
    }
    std::string_view rest = *parts[i];
    std::uint64_t found = 0;
    for (; !rest.empty(); ++found) {
      const auto length = rest.size() < 4 ? rest.size() : read_length(rest);
      if (rest.size() < 4 || length > rest.size() - 4)
        return malformed("has an entry that is cut short in part " + std::to_string(i));
      values.push_back(parts[i].piece(parts[i]->size() - rest.size() + 4, length));
      rest.remove_prefix(4 + length);
    }
    if (found != per_part[i])
      return malformed("announces " + std::to_string(per_part[i]) + " entries in part " + std::to_string(i) + " and has " +
                       std::to_string(found));
  }
  if (values.size() != in.getEntries())
    return malformed("announces " + std::to_string(in.getEntries()) + " entries and has " + std::to_string(values.size()));
  return values;
}

/// Entries that follow each other from `from` on.
result<std::vector<raw_entry>> read_entries(offset from, std::vector<shared_bytes> values, const entry_parser& parse) {
  std::vector<raw_entry> entries;
  entries.reserve(values.size());
  for (auto& value : values) {
    if (!value) return malformed("has an entry without bytes");
    auto entry = parse(std::move(value));
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

result<data> read_data(schemas::ReplicationMessage::Data::Reader in, std::vector<shared_bytes>& parts,
                       const entry_parser& parse) {
  data d;
  d.from = {in.getFrom()};
  d.high_watermark = {in.getHighWatermark()};
  d.log_start = {in.getLogStart()};
  d.verified = in.getVerified();
  d.run = in.getRun();
  d.round = in.getRound();
  auto values = unpack(in, parts);
  if (!values) return values.error();
  auto entries = read_entries(d.from, std::move(values.value()), parse);
  if (!entries) return entries.error();
  d.entries = std::move(entries.value());
  return d;
}

result<void> read_body(incoming in, std::vector<shared_bytes>& parts, const entry_parser& parse, message& m) {
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
    const fetch f{{b.getFrom()},    {b.getHashLow(), b.getHashHigh()},
                  {b.getDurable()}, b.getCredit(),
                  b.getRound(),     b.getEmpty(),
                  b.getFull(),      b.getUnheard()};
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
  const auto* d = std::get_if<data>(&m.body);
  auto packed = d ? pack(d->entries) : packed_entries{};
  write_body(m, packed, out);
  wire_message wire;
  const auto words = capnp::messageToFlatArray(builder);
  const auto bytes = words.asChars();
  wire.head.assign(bytes.begin(), bytes.size());
  wire.parts = std::move(packed.parts);
  return wire;
}

result<message> decode(std::string_view head, std::vector<shared_bytes> parts, const entry_parser& parse) {
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
