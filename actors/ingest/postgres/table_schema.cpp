#include "actors/ingest/postgres/table_schema.hpp"

#include "schemas/source.capnp.h"

#include <capnp/message.h>

namespace millrace::actors::ingest::postgres {
namespace {

const char* identity_name(char c) {
  switch (c) {
  case 'f':
    return "full";
  case 'i':
    return "index";
  case 'n':
    return "nothing";
  default:
    return "default";
  }
}

std::size_t words_of(const table_schema& t) {
  std::size_t bytes = 128 + t.schema.size() + t.name.size();
  for (const auto& c : t.columns) {
    bytes += 128 + c.name.size() + c.type.size() + c.kind.size();
    for (const auto& l : c.labels) bytes += 24 + l.size();
  }
  return bytes / sizeof(capnp::word) + 1;
}

} // namespace

std::string encode_tables(std::span<const table_schema_ptr> tables) {
  std::size_t words = 16;
  for (const auto& t : tables) words += words_of(*t);
  // One segment: a message of fixed size is grown only if it was too small, and it is not.
  capnp::MallocMessageBuilder message(static_cast<unsigned>(words), capnp::AllocationStrategy::FIXED_SIZE);
  auto list = message.initRoot<schemas::SourceTables>().initTables(static_cast<unsigned>(tables.size()));
  for (unsigned i = 0; i < tables.size(); ++i) {
    const auto& from = *tables[i];
    auto to = list[i];
    to.setId(from.id);
    to.setSchema(from.schema);
    to.setName(from.name);
    to.setReplicaIdentity(identity_name(from.identity));
    to.setSnapshotting(from.snapshotting);
    auto columns = to.initColumns(static_cast<unsigned>(from.columns.size()));
    for (unsigned k = 0; k < from.columns.size(); ++k) {
      const auto& c = from.columns[k];
      auto out = columns[k];
      out.setName(c.name);
      out.setType(c.type);
      out.setTypeId(c.type_id);
      out.setBaseTypeId(c.base_type_id);
      out.setTypeModifier(c.modifier);
      out.setIdentity(c.identity);
      out.setKey(c.key);
      out.setNotNull(c.not_null);
      out.setGenerated(c.generated);
      out.setKind(c.kind);
      if (c.labels.empty()) continue;
      auto labels = out.initLabels(static_cast<unsigned>(c.labels.size()));
      for (unsigned l = 0; l < c.labels.size(); ++l) labels.set(l, c.labels[l]);
    }
  }
  const auto segments = message.getSegmentsForOutput();
  KJ_ASSERT(segments.size() == 1, "a SourceTables message has more than one segment");
  const auto chars = segments[0].asChars();
  return {chars.begin(), chars.size()};
}

} // namespace millrace::actors::ingest::postgres
