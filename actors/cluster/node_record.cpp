#include "actors/cluster/node_record.hpp"

#include "schemas/catalog.capnp.h"

#include <capnp/message.h>
#include <capnp/serialize.h>

#include <cstring>

namespace millrace::actors::cluster {
namespace {

using storage::errc;
using storage::failure;
using storage::result;

kj::StringPtr text(const std::string& s) { return {s.c_str(), s.size()}; }
std::string str(capnp::Text::Reader t) { return {t.begin(), t.size()}; }

template <class Schema, class Fill>
std::string write(Fill&& fill) {
  capnp::MallocMessageBuilder message;
  fill(message.initRoot<Schema>());
  const auto words = capnp::messageToFlatArray(message);
  const auto bytes = words.asChars();
  return {bytes.begin(), bytes.size()};
}

template <class Schema, class Visit>
result<void> read(std::string_view key, std::string_view value, Visit&& visit) {
  const auto where = "catalog key " + std::string(key);
  if (value.empty() || value.size() % sizeof(capnp::word) != 0)
    return failure{errc::corrupt, where + ": the record is cut short"};
  auto words = kj::heapArray<capnp::word>(value.size() / sizeof(capnp::word));
  std::memcpy(words.begin(), value.data(), value.size());
  try {
    capnp::FlatArrayMessageReader message(words, {words.size() * 8 + 64, 16});
    visit(message.getRoot<Schema>());
    return storage::success();
  } catch (const kj::Exception& e) {
    return failure{errc::corrupt, where + " cannot be read: " + e.getDescription().cStr()};
  }
}

} // namespace

std::string encode_node_record(const node_record& r) {
  return write<schemas::NodeRecord>([&](auto out) {
    out.setProcess(r.process);
    out.setDataId(r.data_id);
    out.setLease(r.lease);
    out.setLinkAddress(text(r.link_address));
    out.setAdminAddress(text(r.admin_address));
    out.setHttpAddress(text(r.http_address));
    out.setPublicKey(text(r.public_key));
    out.setVersion(text(r.version));
    out.setHost(text(r.host));
    out.setStartedAtUs(r.started_at_us);
    auto labels = out.initLabels(static_cast<unsigned>(r.labels.size()));
    unsigned i = 0;
    for (const auto& [name, value] : r.labels) {
      labels[i].setName(text(name));
      labels[i++].setValue(text(value));
    }
  });
}

result<node_record> decode_node_record(std::string_view key, std::string_view value) {
  node_record r;
  auto ok = read<schemas::NodeRecord>(key, value, [&](auto in) {
    r.process = in.getProcess();
    r.data_id = in.getDataId();
    r.lease = in.getLease();
    r.link_address = str(in.getLinkAddress());
    r.admin_address = str(in.getAdminAddress());
    r.http_address = str(in.getHttpAddress());
    r.public_key = str(in.getPublicKey());
    r.version = str(in.getVersion());
    r.host = str(in.getHost());
    r.started_at_us = in.getStartedAtUs();
    for (auto l : in.getLabels()) r.labels[str(l.getName())] = str(l.getValue());
  });
  if (!ok) return ok.error();
  return r;
}

std::string encode_controller_record(const controller_record& r) {
  return write<schemas::ControllerRecord>([&](auto out) {
    out.setNode(text(r.node));
    out.setSession(r.session);
  });
}

result<controller_record> decode_controller_record(std::string_view value) {
  controller_record r;
  auto ok = read<schemas::ControllerRecord>(controller_key, value, [&](auto in) { r = {str(in.getNode()), in.getSession()}; });
  if (!ok) return ok.error();
  return r;
}

std::string encode_leave_record(const leave_record& r) {
  return write<schemas::LeaveRecord>([&](auto out) { out.setSuccessor(text(r.successor)); });
}

result<leave_record> decode_leave_record(std::string_view key, std::string_view value) {
  leave_record r;
  auto ok = read<schemas::LeaveRecord>(key, value, [&](auto in) { r.successor = str(in.getSuccessor()); });
  if (!ok) return ok.error();
  return r;
}

} // namespace millrace::actors::cluster
