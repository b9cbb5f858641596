#pragma once
// The working rows of one table in one run: decoded, then changed in place by each step, then laid out for the destination.

#include "actors/transform/arena.hpp"
#include "actors/transform/coercion.hpp"
#include "actors/transform/row_set.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace millrace::actors::transform {

/// A destination's table ends before; it also bounds what records with ever new fields can cost.
constexpr std::size_t max_columns = 1000;

struct frame_column {
  std::string name;
  const field_spec* field = nullptr;  ///< its declaration, if the schema has one
  bool inferred = false;              ///< taken from the changes: its type is that of its first value
  bool dropped = false;               ///< by a step: no later step or destination sees it
  bool assigned = false;              ///< by a step, in some rows: see note::assigned
  std::optional<data_type> type = {}; ///< known from the source, without a declaration
  std::string source_type = {};       ///< see column::source_type
};

constexpr std::uint32_t no_row = ~std::uint32_t{0};

struct frame_row {
  std::uint32_t change = 0;      ///< index into the batch
  std::uint32_t slot = 0;        ///< where its cells are
  std::uint32_t decoded_key = 0; ///< index into frame::decoded_keys: what a dead letter shows, whatever steps made of it
  std::uint32_t shadow = no_row; ///< index into frame::shadows: the row before the update, if its key may differ
  storage::operation op = storage::operation::insert;
  bool live = true;
  std::uint64_t key_hash = 0, before_key_hash = 0;
  std::int64_t time_us = 0;
  std::string_view table;
};

/// Owner: one run. A row's cells lie at slot * stride; columns beyond those that a record had are null.
class frame {
public:
  /// Starts anew with `columns`, whose defaults are `defaults`, and room for `spare` more columns.
  void begin(const std::vector<frame_column>& columns, const std::vector<cell>& defaults, std::size_t spare, std::size_t rows);

  /// A row of defaults.
  std::uint32_t add_slot();
  /// Takes the newest slot back.
  void drop_last_slot() { cells_.resize(cells_.size() - stride_); }
  cell* cells(std::uint32_t slot) { return cells_.data() + std::size_t{slot} * stride_; }
  cell& at(std::uint32_t slot, std::uint32_t column) { return cells_[std::size_t{slot} * stride_ + column]; }
  /// May move all cells. The caller sees to max_columns.
  std::uint32_t add_column(frame_column c);
  /// A column that is not dropped; -1: none. An exact match wins over one in another case, which SQL takes as equal.
  int find(std::string_view name) const;
  int find_any_case(std::string_view name) const;
  std::size_t stride() const { return stride_; }
  std::size_t slots() const { return stride_ ? cells_.size() / stride_ : 0; }
  std::vector<cell>& all_cells() { return cells_; }

  std::vector<frame_column> columns;
  std::vector<frame_row> rows;    ///< in the order of changes
  std::vector<frame_row> shadows; ///< rows before updates; steps treat them as deletes
  std::vector<int> key;           ///< index of each key column as decoded; -1: not there (yet)
  std::vector<cell> decoded_keys; ///< key.size() cells a row

private:
  std::vector<cell> cells_;
  std::vector<cell> blank_; ///< stride_ cells: defaults, then nulls
  std::size_t stride_ = 0, expected_ = 0;
};

} // namespace millrace::actors::transform
