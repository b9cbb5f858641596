#pragma once
// What the catalog keeps of a pipeline: schemas/catalog.capnp, PipelineRecord.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace millrace::actors::supervisor {

// Keys of the catalog: pipeline/NAME is a record; retired/NAME/LOG a log of an earlier pipeline of this name.
inline constexpr std::string_view pipeline_prefix = "pipeline/";
inline std::string pipeline_key(const std::string& name) { return std::string(pipeline_prefix) + name; }
inline std::string retired_prefix(const std::string& name) { return "retired/" + name + "/"; }

struct pipeline_record {
  std::string name, uid, text, file, base_dir;
  std::uint64_t revision = 1;
  bool paused = false;
  std::string pin; ///< node whose disk it needs; empty: any
  std::uint32_t replicas = 1, min_in_sync = 1;
};
std::string encode_record(const pipeline_record& r);
/// None if the bytes are not a record.
std::optional<pipeline_record> decode_record(const std::string& bytes);

} // namespace millrace::actors::supervisor
