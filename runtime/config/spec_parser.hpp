#pragma once
// A pipeline's spec: YAML text in, a validated pipeline_spec out, or every mistake with its place. interfaces.md says what
// the keys mean. Pure but for ${env:} and ${file:}.

#include "actors/node.hpp"
#include "runtime/config/mistakes.hpp"
#include "runtime/config/references.hpp"

namespace millrace::runtime::config {

struct spec_options {
  environment env = process_environment();
  /// validate: a reference that cannot be resolved here may be resolvable on the node. Its value is then left empty.
  bool unset_is_warning = false;
  /// Default of a source's max_record_bytes: the node's limits.record.
  std::uint64_t record_bytes = 16u << 20;
};

struct parsed_specs {
  std::vector<actors::pipeline_spec_ptr> specs; ///< one a document, those without errors only
  std::vector<mistake> mistakes;                ///< warnings too
};

/// Defaults filled in: source.format ndjson, envelope none, follow false, max_record_bytes above, no token; log.partitions,
/// replicas and min_in_sync 1, compression zstd, retention for ever, retention.force false; load.mode upsert, schema_change
/// ignore beside a schema else add_columns, workers {min 1, max the node's limits.workers, target_depth 10000}, on_error
/// {quarantine, hold}; alert.group_wait 5s, repeat 1h.
/// `base_dir` is absolute; relative paths start there.
parsed_specs parse_specs(const std::string& text, const std::string& file, const std::string& base_dir,
                         const spec_options& options);

/// Several files as one: also refuses a pipeline name that occurs twice.
struct spec_file {
  std::string name, base_dir, text;
};
parsed_specs parse_files(const std::vector<spec_file>& files, const spec_options& options);

/// What node_options::parse wants: one stored spec.
actors::spec_parser stored_spec_parser(spec_options options);

} // namespace millrace::runtime::config
