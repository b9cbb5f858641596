#pragma once
// Rows of ONE PostgreSQL table, under one version of its schema, into the columns of a frame: which column goes where is found
// out once, not for each change.

#include "actors/transform/pg_message.hpp"
#include "actors/transform/pg_value.hpp"
#include "actors/transform/record_decoder.hpp"

namespace millrace::actors::transform {

/// Owner: one table_program. Without an explicit schema the frame's columns are the source's, with its types; with one they are
/// the schema's, then (add_columns) the source's others.
class pg_decoder {
public:
  /// `schema` has the declared columns and their defaults.
  pg_decoder(const table_spec& table, const record_decoder& schema, pg_table source);

  const pg_table& source() const { return source_; }
  const std::vector<frame_column>& columns() const { return columns_; }
  const std::vector<cell>& defaults() const { return defaults_; }

  /// `key` has the names that the key's columns have in the frame; empty names are made by steps. Finds out whether the source
  /// sends them with each update and delete.
  void set_key(const std::vector<std::string>& key);
  const std::vector<int>& key() const { return key_; }
  /// Why an update or a delete cannot find its row; empty: it can.
  const std::string& blind() const { return blind_; }
  const std::string& blind_column() const { return blind_column_; }

  /// A row that counts whole. False: no row; cells that could be read are there.
  bool decode(frame& f, std::uint32_t slot, const pg_tuple& tuple, arena& memory, decode_problem& problem);
  /// The row before an update or of a delete: a bad value outside of the key is NULL. `key_only`: nothing else is read.
  bool decode_old(frame& f, std::uint32_t slot, const pg_tuple& tuple, bool key_only, arena& memory, decode_problem& problem);
  /// Of the slot decoded last: never 0; 0 if there is no key or a part of it is null, missing or could not be read.
  std::uint64_t key_hash(frame& f, std::uint32_t slot) const;

private:
  struct target {
    std::uint32_t column = 0;
    const field_spec* field = nullptr; ///< null: the cell as it is
    std::vector<std::string> path;     ///< JSON pointer inside the value
  };
  struct plan {
    pg_kind kind = pg_kind::text;
    int direct = -1; ///< its one target takes the cell as it is
    bool in_key = false;
    bool refused = false; ///< schema_change quarantine, and the schema does not name it
    std::vector<target> targets;
  };
  void put(frame& f, std::uint32_t slot, const plan& p, const pg_column& c, const cell& raw, arena& memory);
  void put(frame& f, std::uint32_t slot, const target& to, const cell& raw, const cell& value, arena& memory);
  void note(std::uint32_t column, std::string reason, std::string message, std::string name);
  bool finish(decode_problem& problem) const;
  bool is_key(std::uint32_t column) const;

  pg_table source_;
  std::vector<frame_column> columns_;
  std::vector<cell> defaults_;
  std::vector<plan> plans_; ///< one a column of the source
  std::vector<int> key_;
  std::string blind_, blind_column_;
  bool whole_ = true; ///< the row at hand counts whole
  bool refuses_ = false;
  struct noted_problem {
    std::uint32_t column;
    decode_problem problem;
  };
  std::vector<noted_problem> problems_; ///< of the row at hand; empty nearly always
};

} // namespace millrace::actors::transform
