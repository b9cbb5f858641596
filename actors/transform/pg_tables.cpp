#include "actors/transform/pg_tables.hpp"

#include "schemas/source.capnp.h"

#include <algorithm>
#include <capnp/message.h>
#include <cstring>
#include <map>
#include <simdjson.h>

namespace millrace::actors::transform {

namespace {
/// PostgreSQL's pg_type.dat: these oids are fixed for ever.
pg_kind kind_of(std::uint32_t oid) {
  switch (oid) {
  case 16:
    return pg_kind::boolean;
  case 20: // int8
  case 21: // int2
  case 23: // int4
  case 26: // oid
    return pg_kind::integer;
  case 700:
  case 701:
    return pg_kind::real;
  case 1700:
    return pg_kind::numeric;
  case 17:
    return pg_kind::bytes;
  case 114:
  case 3802:
    return pg_kind::json;
  case 2950:
    return pg_kind::uuid;
  case 1082:
    return pg_kind::date;
  case 1114:
  case 1184:
    return pg_kind::timestamp;
  default:
    return pg_kind::text;
  }
}

std::string text_of(capnp::Text::Reader t) { return {t.begin(), t.size()}; }
bool is_name(const std::string& text) {
  return text.find('\0') == std::string::npos && simdjson::validate_utf8(text.data(), text.size());
}

pg_table table_of(schemas::SourceTable::Reader from) {
  pg_table out;
  out.id = from.getId();
  out.schema = text_of(from.getSchema());
  out.name = text_of(from.getName());
  out.full = out.schema.empty() ? out.name : out.schema + '.' + out.name;
  out.replica_identity = text_of(from.getReplicaIdentity());
  out.snapshotting = from.getSnapshotting();
  std::map<std::uint16_t, std::uint32_t> primary; // by place in the key
  std::vector<std::uint32_t> identity;
  for (const auto c : from.getColumns()) {
    if (c.getGenerated()) continue; // the source does not send it: neither messages nor copied rows have it
    const auto index = static_cast<std::uint32_t>(out.columns.size());
    const std::uint32_t base = c.getBaseTypeId() ? c.getBaseTypeId() : c.getTypeId();
    out.columns.push_back({text_of(c.getName()), text_of(c.getType()), kind_of(base), c.getIdentity()});
    if (c.getKey() > 0) primary.emplace(c.getKey(), index);
    if (c.getIdentity()) identity.push_back(index);
  }
  for (const auto& [place, column] : primary) out.key.push_back(column);
  if (out.key.empty() && out.replica_identity != "full") out.key = std::move(identity);
  return out;
}
} // namespace

data_type type_of(pg_kind k) noexcept {
  switch (k) {
  case pg_kind::boolean:
    return data_type::boolean;
  case pg_kind::integer:
    return data_type::int64;
  case pg_kind::real:
    return data_type::float64;
  case pg_kind::numeric:
    return data_type::decimal;
  case pg_kind::bytes:
    return data_type::bytes;
  case pg_kind::json:
    return data_type::json;
  case pg_kind::uuid:
    return data_type::uuid;
  case pg_kind::date:
    return data_type::date;
  case pg_kind::timestamp:
    return data_type::timestamp;
  case pg_kind::text:
    break;
  }
  return data_type::text;
}

const pg_table* pg_tables::find(std::uint32_t id) const {
  for (const pg_table& t : tables)
    if (t.id == id) return &t;
  return nullptr;
}

pg_tables_ptr parse_pg_tables(std::string_view words) {
  auto out = std::make_shared<pg_tables>();
  const auto broken = [&](const std::string& why) {
    out->tables.clear();
    out->error = "the block's description of its tables cannot be read: " + why;
    return out;
  };
  if (words.empty() || words.size() % sizeof(capnp::word) != 0)
    return broken("found " + std::to_string(words.size()) + " bytes, expected words of " + std::to_string(sizeof(capnp::word)));
  std::vector<capnp::word> aligned(words.size() / sizeof(capnp::word)); // a view of a log's entry may begin anywhere
  std::memcpy(static_cast<void*>(aligned.data()), words.data(), words.size());
  try {
    const kj::ArrayPtr<const capnp::word> segments[] = {kj::arrayPtr(aligned.data(), aligned.size())};
    capnp::SegmentArrayMessageReader message(kj::arrayPtr(segments, 1), {aligned.size() * 4 + 64, 16});
    for (const auto t : message.getRoot<schemas::SourceTables>().getTables()) out->tables.push_back(table_of(t));
    for (const pg_table& t : out->tables) {
      bool good = is_name(t.full);
      for (const pg_column& c : t.columns) good = good && is_name(c.name) && is_name(c.source_type);
      if (!good) return broken("found a name that is no UTF-8 text");
    }
  } catch (const kj::Exception& e) {
    return broken(e.getDescription().cStr());
  }
  return out;
}

pg_tables_ptr pg_table_cache::of(std::string_view context) {
  constexpr std::size_t kept = 16; // one for the stream, one for each table that is being copied
  auto it = std::find_if(entries_.begin(), entries_.end(), [&](const entry& e) { return e.context == context; });
  if (it == entries_.end()) {
    if (entries_.size() == kept) entries_.pop_back();
    entries_.push_back({std::string(context), parse_pg_tables(context)});
    it = entries_.end() - 1;
  }
  std::rotate(entries_.begin(), it, it + 1);
  return entries_.front().tables;
}

} // namespace millrace::actors::transform
