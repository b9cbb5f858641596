#pragma once
// All that a transformer keeps for one table of its load: decoder, steps, frame, layouts.

#include "actors/transform/envelope.hpp"
#include "actors/transform/pg_decoder.hpp"
#include "actors/transform/record_decoder.hpp"
#include "actors/transform/step.hpp"

namespace millrace::actors::transform {

/// Owner: one transformer. A run is begin(), one call of decode a change, run_steps(), then the rows in order with emit(). For
/// changes of a database it is release(), then bind() to the one table that the program reads in this run.
class table_program {
public:
  table_program(const table_spec& table, std::uint32_t index, const transform_limits& limits, std::vector<step_error>& errors);

  const table_spec& spec() const { return table_; }
  std::uint32_t index() const { return index_; } ///< of the load's entry
  void begin(run_state& state, std::size_t changes);
  void release();
  void bind(run_state& state, const pg_table& source, std::size_t changes);
  /// The table that this run is bound to; null: none yet.
  const pg_table* bound() const { return bound_; }
  /// bind() to this table costs nothing: the last one read like it.
  bool knows(const pg_table& source) const { return pg_ && pg_->source().reads_like(source); }
  void decode_json(run_state& state, std::uint32_t change, std::string_view payload, const char* readable, std::int64_t time_us);
  void decode_csv(run_state& state, std::uint32_t change, std::string_view payload, std::string_view header,
                  std::int64_t time_us);
  void decode_event(run_state& state, std::uint32_t change, const change_envelope& event, std::string_view table,
                    const char* readable, std::int64_t time_us);
  /// A change of the table that the program is bound to; `change.fresh` is completed from the old row.
  void decode_pg(run_state& state, std::uint32_t change, pg_change& event, std::int64_t time_us);
  /// Steps, then the schema's last word on each row. `whole`: all rows of the set will be this table's.
  void run_steps(run_state& state, row_set& out, bool whole);
  /// Appends the rows of `change`; false: none is left. Changes in rising order.
  bool emit(const run_state& state, row_set& out, std::uint32_t change);
  bool used() const { return !frame_.rows.empty(); }

private:
  void trace_key();
  void compile(std::vector<step_error>& errors);
  void adopt(const pg_table& source);
  void refuse_pg(run_state& state, frame_row row, decode_problem problem);
  void add_row(run_state& state, frame_row row, bool decoded, const decode_problem& problem);
  void check(run_state& state, frame_row& row);
  bool check_cell(run_state& state, frame_row& row, frame_row& blamed, std::uint32_t column);
  void lay_out(run_state& state, row_set& out, bool whole);

  table_spec table_; ///< a copy: its key may come from the source
  std::uint32_t index_;
  transform_limits limits_;
  std::vector<std::string> decoded_key_; ///< the key columns' names before the steps; empty: made by a step
  bool key_made_ = false;
  int last_key_step_ = -1; ///< set steps up to here work on deletes too
  std::unique_ptr<record_decoder> decoder_;
  std::unique_ptr<pg_decoder> pg_;  ///< of the table that was read last
  const pg_table* bound_ = nullptr; ///< in this run
  std::string broken_;              ///< why no change of that table can be read: a step does not go with its columns
  std::vector<step_ptr> steps_;
  std::size_t spare_ = 0; ///< columns that steps may add
  frame frame_;
  std::size_t next_row_ = 0;
  std::vector<std::uint32_t> out_columns_;
  std::vector<std::uint32_t> checked_; ///< columns that the schema may still refuse
  std::vector<int> final_key_;
  std::uint16_t layout_ = 0;
  bool moved_ = false;                    ///< the frame's cells are the set's
  std::vector<table_layout_ptr> layouts_; ///< made so far: equal ones are shared between sets
};

} // namespace millrace::actors::transform
