#pragma once
// Schema-on-read: the fields of one record into the columns of a frame.

#include "actors/transform/csv_record.hpp"
#include "actors/transform/frame.hpp"

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

namespace millrace::actors::transform {

/// Why a record is no row. Of several bad columns the first in the schema's order is told.
struct decode_problem {
  std::string reason, message, column;
};

/// Owner: one transformer, one per table. Remembers the order of the last record's keys, because the next one mostly has the
/// same.
class record_decoder {
public:
  enum class image : std::uint8_t {
    row, ///< every column counts
    key, ///< a delete or an update's `before`: a bad value outside the key is taken as NULL, unknown fields are ignored
  };

  /// `key` has the names that the key's columns have when they are decoded; empty names are made by steps.
  /// `errors` gets defaults that do not fit their type.
  record_decoder(const table_spec& table, std::vector<std::string> key, std::vector<std::pair<mark, std::string>>& errors);

  const std::vector<frame_column>& columns() const { return columns_; }
  const std::vector<cell>& defaults() const { return defaults_; }
  /// What defaults point into: a row_set outlives the transformer that made it.
  std::shared_ptr<void> default_memory() const { return default_memory_; }
  /// Must follow frame::begin() of every run.
  void begin_run(frame& f);
  /// What Debezium's mark for a value it was not sent becomes: in an update the destination's value stays.
  enum class unavailable : std::uint8_t { is_text, is_null, is_missing };

  /// Fields of a JSON object into a slot. False: no row; cells that could be read are there, key columns among them, unless the
  /// reason is `parse`.
  bool decode_json(frame& f, std::uint32_t slot, std::string_view object, const char* readable, image what, unavailable marks,
                   arena& memory, decode_problem& problem);
  bool decode_csv(frame& f, std::uint32_t slot, std::string_view record, std::string_view header, arena& memory,
                  decode_problem& problem);
  /// XXH3 over the decoded key's typed values, never 0; 0 if a part of it is missing, null or failed to decode.
  std::uint64_t key_hash(frame& f, std::uint32_t slot) const;

private:
  struct target {
    std::uint32_t column = 0;
    std::vector<std::string> path; ///< JSON pointer behind the first token
  };
  struct source_field {
    std::string name;
    std::vector<target> targets;
    bool known = false;     ///< the schema names it; else it is inferred, ignored or refused by policy
    bool simple = false;    ///< one target without a path
    std::uint64_t seen = 0; ///< the record that had it last
    std::uint64_t run = 0;  ///< inferred: the run for which `column` holds
    std::uint32_t column = 0;
  };
  source_field* find(std::string_view name);
  source_field* learn(std::string_view name);
  void apply(frame& f, std::uint32_t slot, source_field& field, const json_value& v, arena& memory);
  void put(frame& f, std::uint32_t slot, std::uint32_t column, const json_value& v, arena& memory);
  void unknown(frame& f, std::uint32_t slot, source_field& field, const json_value& v, arena& memory);
  void note(std::uint32_t column, std::string reason, std::string message, std::string name);
  void forget(std::uint32_t column);
  bool finish(decode_problem& problem) const;
  bool is_key(const frame& f, std::uint32_t column) const;

  const table_spec& table_;
  std::vector<std::string> key_names_;
  std::vector<frame_column> columns_;
  std::vector<cell> defaults_;
  std::shared_ptr<arena> default_memory_ = std::make_shared<arena>();
  arena header_memory_;
  std::unordered_map<std::string_view, std::unique_ptr<source_field>> fields_; ///< keys are the fields' own names
  std::vector<source_field*> order_;                                           ///< of the last record's keys
  std::vector<source_field*> header_fields_;
  std::string header_;
  bool header_read_ = false;
  std::string header_error_;
  std::vector<csv_cell> cells_;
  std::uint64_t record_ = 0, run_ = 0;
  image image_ = image::row;
  unavailable marks_ = unavailable::is_text;
  struct noted_problem {
    std::uint32_t column;
    decode_problem problem;
  };
  std::vector<noted_problem> problems_; ///< of the record at hand; empty nearly always
};

} // namespace millrace::actors::transform
