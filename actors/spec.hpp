#pragma once
// A pipeline's spec as the actors use it: parsed, validated, defaults filled in, references replaced (runtime/config does that).

#include "storage/batch.hpp"
#include "storage/partition_log.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace millrace::actors {

/// Where in the spec's file something stands, from 1; 0: not from a file.
struct mark {
  int line = 0, column = 0;
};

enum class data_type : std::uint8_t { boolean, int64, float64, decimal, text, bytes, date, timestamp, uuid, json };
const char* to_string(data_type t) noexcept;
std::optional<data_type> data_type_of(std::string_view name) noexcept;

struct field_spec {
  std::string name;
  data_type type = data_type::text;
  std::string from; ///< a field's name, or an RFC 6901 pointer when it begins with '/'; empty: the name
  bool required = false;
  std::optional<std::string> default_value; ///< as written in the spec; converted by the field's type like an input text
  std::string format;                       ///< strptime format for date and timestamp
  mark where;
};

enum class load_mode : std::uint8_t { upsert, append, soft_delete, history };
const char* to_string(load_mode m) noexcept;
enum class schema_change_policy : std::uint8_t { add_columns, ignore, quarantine };

enum class step_kind : std::uint8_t { where, set, rename, drop, mask, lua };
const char* to_string(step_kind k) noexcept;
struct transform_step {
  step_kind kind = step_kind::where;
  std::string text; ///< where: the expression; lua: the script
  std::vector<std::pair<std::string, std::string>>
      assignments;                  ///< set: column, expression; rename: old, new; mask: column, method
  std::vector<std::string> columns; ///< drop
  mark at;
};

/// One source table (or all of them) of a load and where its rows go.
struct table_spec {
  std::string name; ///< as the source names it, "schema.table" or "table"; empty: every change of the source
  std::string to;   ///< the destination's table
  load_mode mode = load_mode::upsert;
  std::vector<std::string> key;
  bool key_from_source = false; ///< `key` is left out: the source table's primary key, else its replica identity's index
  bool has_schema = false;      ///< false: columns are taken from the changes
  std::vector<field_spec> schema;
  schema_change_policy schema_change = schema_change_policy::ignore;
  std::vector<transform_step> transform;
  mark where;
};

struct destination_spec {
  std::string type;       ///< sqlite | postgres
  std::string path;       ///< sqlite: absolute
  std::string connection; ///< postgres: a libpq connection string or URI. Secret.
  std::string schema;     ///< postgres: of the tables whose name has none; empty: public
};

struct worker_bounds {
  std::uint32_t min = 1, max = 0;     ///< max 0: the node's limits.workers
  std::uint64_t target_depth = 10000; ///< changes that wait, a worker
};

enum class error_action : std::uint8_t { quarantine, halt };

struct load_spec {
  std::string name;
  std::vector<table_spec> tables; ///< at least one
  destination_spec destination;
  worker_bounds workers;
  error_action on_error = error_action::quarantine;
  bool hold_later_changes = true; ///< on_error.later_changes_of_key
  mark where;
};

enum class snapshot_mode : std::uint8_t { initial, never, only };
const char* to_string(snapshot_mode m) noexcept;

struct postgres_source_spec {
  std::string connection;  ///< a libpq connection string or URI. Secret.
  std::string publication; ///< made if absent and allowed
  std::string slot;
  std::vector<std::string> tables; ///< "schema.table"; at least one
  snapshot_mode snapshot = snapshot_mode::initial;
  std::uint32_t snapshot_workers = 2;    ///< connections that copy at once
  std::uint64_t snapshot_rate = 0;       ///< bytes a second over all of them; 0: as fast as it goes
  std::uint64_t snapshot_chunk_rows = 0; ///< 0: chosen by the rows' size
  std::chrono::milliseconds heartbeat{10000};
};

struct source_spec {
  std::string type; ///< file | http | postgres
  postgres_source_spec postgres;
  std::string path; ///< file: absolute glob
  storage::payload_format format = storage::payload_format::json;
  storage::envelope envelope = storage::envelope::none;
  bool follow = false;
  std::uint64_t max_record_bytes = 16u << 20;
  std::string token; ///< http: what a client must send; empty: none asked. Secret.
  mark where;
};

struct log_spec {
  std::uint32_t partitions = 1;
  std::uint32_t replicas = 0;    ///< 0: not said: 1 on a single node and for what lives on one node's disk, else 3
  std::uint32_t min_in_sync = 0; ///< 0: not said: 1 with one replica, else 2
  storage::codec compression = storage::codec::zstd;
  storage::retention_policy retention;
  bool retention_force = false;
};

struct alert_spec {
  std::string type; ///< webhook | log | alertmanager
  std::string url;
  std::chrono::milliseconds group_wait{5000};
  std::chrono::milliseconds repeat{3600000};
};

struct pipeline_spec {
  std::string name;
  source_spec source;
  log_spec log;
  std::vector<load_spec> loads;
  std::vector<alert_spec> alerts;
  std::string text;     ///< as the user wrote it: what `show` prints
  std::string file;     ///< for messages
  std::string base_dir; ///< absolute
};
using pipeline_spec_ptr = std::shared_ptr<const pipeline_spec>;

} // namespace millrace::actors
