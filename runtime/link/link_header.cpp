#include "runtime/link/link_header.hpp"

#include "schemas/link.capnp.h"

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <kj/exception.h>

#include <array>
#include <cstring>

namespace millrace::runtime::link {
namespace {

using storage::errc;
using storage::failure;

// A header is one or two small structs: words of every text and list, read once. Both limits turn pointer bombs into errors.
constexpr capnp::ReaderOptions reader_limits{max_header_bytes / sizeof(capnp::word), 4};
constexpr std::size_t max_words = max_header_bytes / sizeof(capnp::word);

std::optional<refusal> refusal_of(schemas::LinkRefusal r) {
  switch (r) {
  case schemas::LinkRefusal::NONE:
    return std::nullopt;
  case schemas::LinkRefusal::CLUSTER:
    return refusal::cluster;
  case schemas::LinkRefusal::NODE:
    return refusal::node;
  case schemas::LinkRefusal::TARGET:
    return refusal::target;
  case schemas::LinkRefusal::VERSION:
    return refusal::version;
  case schemas::LinkRefusal::REPLAYED:
    return refusal::replayed;
  }
  return refusal::version; // a reason newer than this build: refused all the same, and the text says why
}

schemas::LinkRefusal schema_of(const std::optional<refusal>& r) {
  if (!r) return schemas::LinkRefusal::NONE;
  switch (*r) {
  case refusal::cluster:
    return schemas::LinkRefusal::CLUSTER;
  case refusal::target:
    return schemas::LinkRefusal::TARGET;
  case refusal::version:
    return schemas::LinkRefusal::VERSION;
  case refusal::replayed:
    return schemas::LinkRefusal::REPLAYED;
  default: // those that end a connection before a hello never get a reply
    return schemas::LinkRefusal::NODE;
  }
}

kj::StringPtr cut(const std::string& text, std::string& room) {
  if (text.size() <= max_text_bytes) return kj::StringPtr(text.c_str(), text.size());
  room = text.substr(0, max_text_bytes);
  return kj::StringPtr(room.c_str(), room.size());
}

struct writer {
  schemas::LinkHeader::Builder to;
  std::string room{};

  void operator()(const hello& h) {
    auto b = to.initHello();
    b.setVersionMin(h.version_min);
    b.setVersionMax(h.version_max);
    b.setCluster(cut(h.cluster, room));
    b.setNode(cut(h.node, room));
    b.setTarget(cut(h.target, room));
    b.setRun(h.run);
    b.setSession(h.session);
    b.setWindowBytes(h.window_bytes);
    b.setMaxFrameBytes(h.max_frame_bytes);
  }
  void operator()(const hello_reply& h) {
    auto b = to.initHelloReply();
    b.setVersion(h.version);
    b.setRefusal(schema_of(h.refusal));
    b.setReason(cut(h.reason, room));
    b.setNode(cut(h.node, room));
    b.setRun(h.run);
    b.setSession(h.session);
    b.setWindowBytes(h.window_bytes);
    b.setMaxFrameBytes(h.max_frame_bytes);
  }
  void operator()(const data& d) {
    auto b = to.initData();
    b.setSession(d.session);
    b.setSequence(d.sequence);
    b.setChannel(d.channel);
    b.setHeadBytes(d.head_bytes);
    auto parts = b.initPartBytes(static_cast<unsigned>(d.part_bytes.size()));
    for (unsigned i = 0; i < parts.size(); ++i) parts.set(i, d.part_bytes[i]);
  }
  void operator()(const ack& a) {
    auto b = to.initAck();
    b.setSession(a.session);
    b.setNext(a.next);
    b.setCreditBytes(a.credit_bytes);
  }
  void operator()(const goodbye& g) {
    auto b = to.initGoodbye();
    b.setSession(g.session);
    b.setReason(cut(g.reason, room));
  }
};

std::string text_of(capnp::Text::Reader t) {
  KJ_REQUIRE(t.size() <= max_text_bytes, "a text is longer than any that we send", t.size());
  return {t.begin(), t.size()};
}

link_header read(schemas::LinkHeader::Reader from) {
  switch (from.which()) {
  case schemas::LinkHeader::HELLO: {
    auto h = from.getHello();
    return hello{h.getVersionMin(), h.getVersionMax(), text_of(h.getCluster()), text_of(h.getNode()), text_of(h.getTarget()),
                 h.getRun(),        h.getSession(),    h.getWindowBytes(),      h.getMaxFrameBytes()};
  }
  case schemas::LinkHeader::HELLO_REPLY: {
    auto h = from.getHelloReply();
    return hello_reply{h.getVersion(), refusal_of(h.getRefusal()), text_of(h.getReason()), text_of(h.getNode()), h.getRun(),
                       h.getSession(), h.getWindowBytes(),         h.getMaxFrameBytes()};
  }
  case schemas::LinkHeader::DATA: {
    auto d = from.getData();
    data out{d.getSession(), d.getSequence(), d.getChannel(), d.getHeadBytes(), {}};
    auto parts = d.getPartBytes();
    KJ_REQUIRE(parts.size() <= max_parts, "a frame has more parts than any that we send", parts.size());
    out.part_bytes.reserve(parts.size());
    for (auto bytes : parts) out.part_bytes.push_back(bytes);
    return out;
  }
  case schemas::LinkHeader::ACK: {
    auto a = from.getAck();
    return ack{a.getSession(), a.getNext(), a.getCreditBytes()};
  }
  case schemas::LinkHeader::GOODBYE: {
    auto g = from.getGoodbye();
    return goodbye{g.getSession(), text_of(g.getReason())};
  }
  }
  kj::throwFatalException(
      KJ_EXCEPTION(FAILED, "a kind of message that this version does not know", static_cast<int>(from.which())));
}

} // namespace

std::string encode(const link_header& h) {
  std::array<capnp::word, 256> scratch{}; // must be zero: Cap'n Proto's contract for a first segment of the caller's
  capnp::MallocMessageBuilder message(kj::arrayPtr(scratch.data(), scratch.size()));
  std::visit(writer{message.initRoot<schemas::LinkHeader>()}, h);
  auto words = capnp::messageToFlatArray(message);
  auto bytes = words.asChars();
  return {bytes.begin(), bytes.size()};
}

result<link_header> decode(std::string_view bytes) {
  if (bytes.empty() || bytes.size() > max_header_bytes || bytes.size() % sizeof(capnp::word) != 0)
    return failure(errc::corrupt, "a link header of " + std::to_string(bytes.size()) + " bytes; expected 8 to " +
                                      std::to_string(max_header_bytes) + ", a multiple of 8");
  // ZeroMQ's parts lie anywhere; Cap'n Proto reads aligned words.
  thread_local std::array<capnp::word, max_words> words;
  std::memcpy(words.data(), bytes.data(), bytes.size());
  try {
    capnp::FlatArrayMessageReader message(kj::arrayPtr(words.data(), bytes.size() / sizeof(capnp::word)), reader_limits);
    return read(message.getRoot<schemas::LinkHeader>());
  } catch (const kj::Exception& e) {
    return failure(errc::corrupt, "a link header that cannot be read: " + std::string(e.getDescription().cStr()));
  }
}

std::optional<frame_mistake> check_parts(const data& d, std::span<const std::size_t> sizes, std::uint64_t max_frame_bytes) {
  std::uint64_t total = 0;
  for (auto size : sizes) total += size;
  if (total > max_frame_bytes)
    return frame_mistake{bad_frame::too_large, "a frame of " + std::to_string(total) + " bytes; at most " +
                                                   std::to_string(max_frame_bytes) + " are taken"};
  if (sizes.size() != d.part_bytes.size() + 1)
    return frame_mistake{bad_frame::sizes, "a frame of " + std::to_string(sizes.size()) +
                                               " message parts; its header announces " + std::to_string(d.part_bytes.size() + 1)};
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    auto announced = i == 0 ? d.head_bytes : d.part_bytes[i - 1];
    if (sizes[i] != announced)
      return frame_mistake{bad_frame::sizes, "message part " + std::to_string(i) + " has " + std::to_string(sizes[i]) +
                                                 " bytes; its header announces " + std::to_string(announced)};
  }
  return std::nullopt;
}

} // namespace millrace::runtime::link
