#pragma once
// What a transform worker makes of one batch and a destination writes: rows, filtered changes, failed changes.

#include "actors/spec.hpp"
#include "storage/batch.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::actors::transform {

/// One value. Text and blob point into memory that the row_set owns (often the batch's payloads: no copy).
struct cell {
  enum class kind : std::uint8_t {
    null,
    boolean,
    int64,
    float64,
    text, ///< UTF-8; also decimal (its digits), date, timestamp, uuid, json in the forms of interfaces.md, "In SQLite"
    blob,
    missing, ///< the change did not carry this column: the destination keeps its value
  };
  union {
    std::int64_t i;
    double d;
    const char* p;
  };
  std::uint32_t size = 0;
  kind k = kind::null;
  std::uint8_t note = 0; ///< transform's own remark (how it was inferred, that a step assigned it): others ignore it
  cell() : i(0) {}
  static cell null() { return {}; }
  static cell of(bool v) {
    cell c;
    c.k = kind::boolean;
    c.i = v;
    return c;
  }
  static cell of(std::int64_t v) {
    cell c;
    c.k = kind::int64;
    c.i = v;
    return c;
  }
  static cell of(double v) {
    cell c;
    c.k = kind::float64;
    c.d = v;
    return c;
  }
  /// `v` must outlive the row_set or live in its arena.
  static cell text(std::string_view v) {
    cell c;
    c.k = kind::text;
    c.p = v.data();
    c.size = static_cast<std::uint32_t>(v.size());
    return c;
  }
  static cell blob(std::string_view v) {
    cell c = text(v);
    c.k = kind::blob;
    return c;
  }
  std::string_view view() const { return {p, size}; }
  bool is_null() const { return k == kind::null; }
};

struct column {
  std::string name;
  std::optional<data_type> type; ///< none: made by a step, natural type
  /// The type as a database source names it ("numeric(10,2)", "shop.mood[]"), if the column came through unchanged and no
  /// explicit schema gave it another; empty: unknown. Cells then have that type's text, but for what cell::kind says.
  std::string source_type;
  bool required = false;
  bool key = false;
};

/// The rows' shape. Rows made under an explicit schema share one layout object for the life of the transformer, so that a
/// destination can keep its statements by the pointer's value; others get a new one when columns appear.
struct table_layout {
  std::uint32_t table = 0; ///< index into load_spec::tables
  std::vector<column> columns;
  std::vector<std::uint32_t> key; ///< indexes into columns, in the spec's order
  /// The source is being copied beside its changes: an update that lacks columns may meet no row and is then inserted as it is,
  /// because the copy brings the whole row later. Without it such an update has lost its row.
  bool partial_inserts = false;
};
using table_layout_ptr = std::shared_ptr<const table_layout>;

struct row {
  std::uint32_t change = 0;     ///< index into the batch
  std::uint32_t first_cell = 0; ///< layout->columns.size() cells from here; for a delete only the key's are meaningful
  std::uint32_t before_key = 0; ///< index of key.size() cells with the key before an update that changed it, if has_before_key
  std::uint16_t layout = 0;     ///< index into row_set::layouts
  storage::operation op = storage::operation::insert;
  bool has_before_key = false;
  /// Of the decoded key columns, before any step: equal for every change of a key, good or bad. 0: no key.
  std::uint64_t key_hash = 0;
  std::uint64_t before_key_hash = 0;
  /// When the source committed the change (Debezium's ts_ms), else when its entry arrived (batch::first_time): microseconds
  /// since 1970 UTC. What `history` calls valid_from.
  std::int64_t time_us = 0;
};

/// A change that cannot go on: becomes a dead letter.
struct failed_change {
  std::uint32_t change = 0;
  std::string reason;  ///< parse, schema, transform, type, too_large
  std::string message; ///< what was found and what was expected
  std::string step;    ///< "decode", "schema", "transform[2] set total", ...
  std::string column;
  storage::operation op = storage::operation::insert;
  std::string table;
  std::string key; ///< JSON object of the key's columns, if it could be read
  std::uint64_t key_hash = 0, before_key_hash = 0;
};

/// Every change of [first, end) of the batch is in exactly one of: rows (one or several, adjacent), filtered, failures; each
/// list in the order of changes.
struct row_set {
  storage::batch_ptr batch; ///< keeps the payloads alive
  std::uint32_t first = 0, end = 0;
  std::vector<table_layout_ptr> layouts;
  std::vector<row> rows;
  std::vector<cell> cells;
  std::vector<std::uint32_t> filtered;
  std::vector<failed_change> failures;
  std::vector<std::shared_ptr<void>> memory; ///< arenas that cells point into
  std::size_t bytes = 0;                     ///< memory held beside the batch

  const cell* cells_of(const row& r) const { return cells.data() + r.first_cell; }
  const table_layout& layout_of(const row& r) const { return *layouts[r.layout]; }
};
using row_set_ptr = std::shared_ptr<const row_set>;

/// JSON object of the row's key columns, for dead letters: {"id":7}. Empty if the table has no key.
std::string key_json(const row_set& set, const row& r);

} // namespace millrace::actors::transform
