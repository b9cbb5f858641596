#include "actors/ingest/postgres/pgoutput.hpp"

#include "actors/ingest/postgres/bytes.hpp"

namespace millrace::actors::ingest::postgres {
namespace {

bool read_tuple(byte_reader& in, std::vector<tuple_cell>& cells) {
  const std::size_t count = in.u16();
  cells.clear();
  for (std::size_t i = 0; i < count && in.good(); ++i) {
    switch (in.u8()) {
    case 'n':
      cells.push_back({});
      break;
    case 'u':
      cells.push_back({tuple_cell::kind::unchanged, {}});
      break;
    case 't': {
      const auto size = in.u32();
      cells.push_back({tuple_cell::kind::text, in.take(size)});
      break;
    }
    default: // 'b' comes only when it was asked for
      return false;
    }
  }
  return in.good();
}

} // namespace

std::optional<begin_message> read_begin(std::string_view message) {
  byte_reader in(message);
  if (in.u8() != 'B') return std::nullopt;
  begin_message m;
  m.commit = {in.u64()};
  m.time_us = static_cast<std::int64_t>(in.u64()) + postgres_epoch_us;
  m.id = {in.u32()};
  if (!in.at_end()) return std::nullopt;
  return m;
}

std::optional<commit_message> read_commit(std::string_view message) {
  byte_reader in(message);
  if (in.u8() != 'C') return std::nullopt;
  in.u8(); // flags: none are defined
  commit_message m;
  m.commit = {in.u64()};
  m.end = {in.u64()};
  in.u64(); // time: the begin message has it
  if (!in.at_end()) return std::nullopt;
  return m;
}

std::optional<relation_message> read_relation(std::string_view message) {
  byte_reader in(message);
  if (in.u8() != 'R') return std::nullopt;
  relation_message m;
  m.id = in.u32();
  m.schema = in.text();
  if (m.schema.empty()) m.schema = "pg_catalog"; // so the protocol writes it
  m.name = in.text();
  m.identity = static_cast<char>(in.u8());
  const std::size_t count = in.u16();
  for (std::size_t i = 0; i < count && in.good(); ++i) {
    relation_message::column c;
    c.identity = (in.u8() & 1) != 0;
    c.name = in.text();
    c.type = in.u32();
    c.modifier = static_cast<std::int32_t>(in.u32());
    m.columns.push_back(std::move(c));
  }
  if (!in.at_end()) return std::nullopt;
  return m;
}

std::optional<truncate_message> read_truncate(std::string_view message) {
  byte_reader in(message);
  if (in.u8() != 'T') return std::nullopt;
  const std::size_t count = in.u32();
  truncate_message m;
  m.options = in.u8();
  if (count != in.left() / 4) return std::nullopt;
  for (std::size_t i = 0; i < count; ++i) m.relations.push_back(in.u32());
  if (!in.at_end()) return std::nullopt;
  return m;
}

std::optional<std::uint32_t> relation_of(std::string_view message) {
  byte_reader in(message);
  in.u8();
  const auto id = in.u32();
  return in.good() ? std::optional{id} : std::nullopt;
}

bool read_change(std::string_view message, row_change& change) {
  byte_reader in(message);
  change.kind = static_cast<char>(in.u8());
  change.relation = in.u32();
  change.old_kind = 0;
  change.before.clear();
  change.after.clear();
  auto tuple = static_cast<char>(in.u8());
  const bool has_old = tuple == 'K' || tuple == 'O';
  switch (change.kind) {
  case 'I':
    if (tuple != 'N') return false;
    break;
  case 'U':
    if (has_old) {
      change.old_kind = tuple;
      if (!read_tuple(in, change.before)) return false;
      tuple = static_cast<char>(in.u8());
    }
    if (tuple != 'N') return false;
    break;
  case 'D':
    if (!has_old) return false;
    change.old_kind = tuple;
    return read_tuple(in, change.before) && in.at_end();
  default:
    return false;
  }
  return read_tuple(in, change.after) && in.at_end();
}

std::string truncate_of(std::uint32_t relation, std::uint8_t options) {
  std::string out = "T";
  put_number(out, 1, 4);
  put_number(out, options, 1);
  put_number(out, relation, 4);
  return out;
}

} // namespace millrace::actors::ingest::postgres
