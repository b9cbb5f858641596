#include "storage/replication/record.hpp"

#include "schemas/catalog.capnp.h"

#include <capnp/message.h>
#include <capnp/serialize.h>

#include <charconv>
#include <cstring>

namespace millrace::storage {
namespace {

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
  if (value.empty() || value.size() % sizeof(capnp::word) != 0)
    return failure{errc::corrupt,
                   "catalog key " + std::string(key) + ": a record of " + std::to_string(value.size()) + " bytes is cut short"};
  auto words = kj::heapArray<capnp::word>(value.size() / sizeof(capnp::word)); // the value may lie unaligned
  std::memcpy(words.begin(), value.data(), value.size());
  try {
    capnp::FlatArrayMessageReader message(words, {words.size() * 8 + 64, 16});
    visit(message.getRoot<Schema>());
    return success();
  } catch (const kj::Exception& e) {
    return failure{errc::corrupt, "catalog key " + std::string(key) + " cannot be read: " + e.getDescription().cStr()};
  }
}

std::optional<std::uint32_t> number(std::string_view s) {
  std::uint32_t n = 0;
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), n);
  if (s.empty() || error != std::errc{} || end != s.data() + s.size()) return std::nullopt;
  return n;
}

} // namespace

std::string encode_partition_record(const partition_record& r) {
  return write<schemas::PartitionRecord>([&](auto out) {
    out.setLogId(r.log_id.value);
    out.setEpoch(r.epoch.value);
    out.setLeaderNode(text(r.leader_node));
    out.setLeaderSession(r.leader_session);
    auto isr = out.initIsr(static_cast<unsigned>(r.isr.size()));
    for (unsigned i = 0; i < r.isr.size(); ++i) {
      isr[i].setNode(text(r.isr[i].node));
      isr[i].setStore(r.isr[i].store);
    }
    auto replicas = out.initReplicas(static_cast<unsigned>(r.replicas.size()));
    for (unsigned i = 0; i < r.replicas.size(); ++i) replicas.set(i, text(r.replicas[i]));
    out.setMinIsr(r.min_in_sync);
  });
}

result<partition_record> decode_partition_record(std::string_view key, std::string_view value, std::uint64_t mod_revision) {
  partition_record r;
  auto ok = read<schemas::PartitionRecord>(key, value, [&](auto in) {
    r.log_id = {in.getLogId()};
    r.epoch = {in.getEpoch()};
    r.leader_node = str(in.getLeaderNode());
    r.leader_session = in.getLeaderSession();
    for (auto m : in.getIsr()) r.isr.push_back({str(m.getNode()), m.getStore()});
    for (auto name : in.getReplicas()) r.replicas.push_back(str(name));
    r.min_in_sync = in.getMinIsr();
  });
  if (!ok) return ok.error();
  r.mod_revision = mod_revision;
  return r;
}

std::string encode_store_record(const store_record& r) {
  return write<schemas::StoreRecord>([&](auto out) {
    out.setStore(r.store);
    out.setLogId(r.log_id.value);
  });
}

result<store_record> decode_store_record(std::string_view key, std::string_view value) {
  store_record r;
  auto ok = read<schemas::StoreRecord>(key, value, [&](auto in) { r = {in.getStore(), {in.getLogId()}}; });
  if (!ok) return ok.error();
  return r;
}

std::string part_key(const partition_name& p) { return std::string(part_prefix) + p.uid + '/' + std::to_string(p.partition); }
std::string store_key_prefix(const partition_name& p) {
  return std::string(store_prefix) + p.uid + '/' + std::to_string(p.partition) + '/';
}
std::string store_key(const partition_name& p, std::string_view node) { return store_key_prefix(p) + std::string(node); }

std::optional<partition_name> parse_part_key(std::string_view key) {
  if (!key.starts_with(part_prefix)) return std::nullopt;
  key.remove_prefix(part_prefix.size());
  const auto slash = key.find('/');
  if (slash == key.npos || slash == 0) return std::nullopt;
  const auto n = number(key.substr(slash + 1));
  if (!n) return std::nullopt;
  return partition_name{std::string(key.substr(0, slash)), *n};
}

std::optional<std::pair<partition_name, std::string>> parse_store_key(std::string_view key) {
  if (!key.starts_with(store_prefix)) return std::nullopt;
  key.remove_prefix(store_prefix.size());
  const auto first = key.find('/');
  if (first == key.npos || first == 0) return std::nullopt;
  const auto second = key.find('/', first + 1);
  if (second == key.npos || second + 1 == key.size()) return std::nullopt;
  const auto n = number(key.substr(first + 1, second - first - 1));
  if (!n) return std::nullopt;
  return std::pair{partition_name{std::string(key.substr(0, first)), *n}, std::string(key.substr(second + 1))};
}

} // namespace millrace::storage
