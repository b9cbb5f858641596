#include "actors/supervisor/pipeline_record.hpp"

#include "schemas/catalog.capnp.h"

#include <capnp/message.h>
#include <capnp/serialize.h>

#include <cstring>

namespace millrace::actors::supervisor {

std::string encode_record(const pipeline_record& r) {
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<schemas::PipelineRecord>();
  out.setName(r.name);
  out.setUid(r.uid);
  out.setSpecText(r.text);
  out.setSpecFile(r.file);
  out.setBaseDir(r.base_dir);
  out.setRevision(r.revision);
  out.setPaused(r.paused);
  out.setPin(r.pin);
  out.setReplicas(r.replicas);
  out.setMinInSync(r.min_in_sync);
  const auto words = capnp::messageToFlatArray(message);
  const auto bytes = words.asBytes();
  return {reinterpret_cast<const char*>(bytes.begin()), bytes.size()};
}

std::optional<pipeline_record> decode_record(const std::string& bytes) {
  if (bytes.size() % sizeof(capnp::word) != 0) return std::nullopt;
  auto words = kj::heapArray<capnp::word>(bytes.size() / sizeof(capnp::word));
  std::memcpy(words.begin(), bytes.data(), bytes.size());
  try {
    capnp::FlatArrayMessageReader reader(words);
    const auto in = reader.getRoot<schemas::PipelineRecord>();
    return pipeline_record{in.getName(),     in.getUid(),    in.getSpecText(), in.getSpecFile(), in.getBaseDir(),
                           in.getRevision(), in.getPaused(), in.getPin(),      in.getReplicas(), in.getMinInSync()};
  } catch (const kj::Exception&) {
    return std::nullopt;
  }
}

} // namespace millrace::actors::supervisor
