#pragma once
// Batches and specs made by hand, and rows printed as text, so that a test can say what it gives and what it expects in a line.

#include "actors/transform/transformer.hpp"
#include "storage/batch.hpp"

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::test {

using namespace millrace::actors;
namespace storage = millrace::storage;
using namespace millrace::actors::transform;

/// A batch over a block, as if it had been read from a log.
class fake_batch final : public storage::batch {
public:
  explicit fake_batch(storage::change_block block, std::uint64_t base = 100) : block_(std::move(block)), base_{base} {}
  storage::batch_kind kind() const noexcept override { return storage::batch_kind::changes; }
  storage::offset base() const noexcept override { return base_; }
  std::uint32_t count() const noexcept override { return static_cast<std::uint32_t>(block_.starts.size()); }
  storage::epoch epoch() const noexcept override { return {1}; }
  storage::timestamp first_time() const noexcept override {
    return storage::timestamp{std::chrono::microseconds{1'700'000'000'123'456}};
  }
  storage::timestamp last_time() const noexcept override { return first_time(); }
  std::uint64_t changes_before() const noexcept override { return base_.value; }
  std::size_t bytes() const noexcept override { return block_.payloads.size(); }
  std::string_view payloads() const noexcept override { return block_.payloads; }
  std::string_view payload(std::uint32_t i) const noexcept override {
    return payloads().substr(block_.starts[i], block_.lengths[i]);
  }
  storage::payload_format format() const noexcept override { return block_.format; }
  storage::envelope envelope() const noexcept override { return block_.envelope; }
  std::string_view origin() const noexcept override { return block_.origin; }
  std::string_view context() const noexcept override { return block_.context; }
  std::span<const storage::source_transaction> transactions() const noexcept override { return block_.transactions; }
  bool open_end() const noexcept override { return block_.open_end; }
  std::string source_position(std::uint32_t i) const override {
    return block_.origin + ":" + std::to_string(block_.origin_position + block_.starts[i]);
  }
  const storage::control_entry& control() const noexcept override { return control_; }

private:
  storage::change_block block_;
  storage::offset base_;
  storage::control_entry control_;
};

/// `separator` false: payloads stand shoulder to shoulder and the last ends the buffer, so that a read behind one is seen.
inline storage::batch_ptr batch_of(const std::vector<std::string>& payloads, storage::envelope envelope = storage::envelope::none,
                                   storage::payload_format format = storage::payload_format::json, std::string context = {},
                                   bool separator = true) {
  storage::change_block block;
  block.envelope = envelope;
  block.format = format;
  block.context = std::move(context);
  block.origin = "in.ndjson";
  for (std::size_t i = 0; i < payloads.size(); ++i) {
    block.starts.push_back(static_cast<std::uint32_t>(block.payloads.size()));
    block.lengths.push_back(static_cast<std::uint32_t>(payloads[i].size()));
    block.payloads += payloads[i];
    if (separator && i + 1 < payloads.size()) block.payloads += '\n';
  }
  block.payloads.shrink_to_fit();
  return std::make_shared<fake_batch>(std::move(block));
}
inline storage::batch_ptr debezium(const std::vector<std::string>& payloads) {
  return batch_of(payloads, storage::envelope::debezium);
}
inline storage::batch_ptr csv(std::string header, const std::vector<std::string>& records) {
  return batch_of(records, storage::envelope::none, storage::payload_format::csv, std::move(header));
}

inline field_spec field(std::string name, data_type type) {
  field_spec f;
  f.name = std::move(name);
  f.type = type;
  return f;
}
/// One table, keyed by id, appended to unless a test says otherwise.
struct load_builder {
  load_spec load;
  load_builder() {
    load.name = "l";
    load.tables.emplace_back();
    table().to = "t";
    table().key = {"id"};
  }
  table_spec& table() { return load.tables[0]; }
  load_builder& mode(load_mode m) {
    table().mode = m;
    return *this;
  }
  load_builder& key(std::vector<std::string> k) {
    table().key = std::move(k);
    return *this;
  }
  load_builder& column(std::string name, data_type type) { return column(field(std::move(name), type)); }
  load_builder& column(field_spec f) {
    table().has_schema = true;
    table().schema.push_back(std::move(f));
    return *this;
  }
  load_builder& policy(schema_change_policy p) {
    table().schema_change = p;
    return *this;
  }
  load_builder& step(step_kind kind, std::string text) {
    transform_step s;
    s.kind = kind;
    s.text = std::move(text);
    s.at = {static_cast<int>(table().transform.size()) + 10, 7};
    table().transform.push_back(std::move(s));
    return *this;
  }
  load_builder& where(std::string expression) { return step(step_kind::where, std::move(expression)); }
  load_builder& lua(std::string script) { return step(step_kind::lua, std::move(script)); }
  load_builder& assign(step_kind kind, std::vector<std::pair<std::string, std::string>> what) {
    step(kind, {});
    table().transform.back().assignments = std::move(what);
    return *this;
  }
  load_builder& set(std::vector<std::pair<std::string, std::string>> what) { return assign(step_kind::set, std::move(what)); }
  load_builder& drop(std::vector<std::string> columns) {
    step(step_kind::drop, {});
    table().transform.back().columns = std::move(columns);
    return *this;
  }
};

inline std::unique_ptr<transformer> make(const load_spec& load, const transform_limits& limits = {}) {
  std::vector<step_error> errors;
  auto made = transformer::make(load, limits, errors);
  std::string text;
  for (const step_error& e : errors) text += e.message + "\n";
  if (!made) throw std::runtime_error("does not compile: " + text);
  return made;
}
inline std::vector<step_error> errors_of(const load_spec& load) {
  std::vector<step_error> errors;
  transformer::make(load, {}, errors);
  return errors;
}
inline row_set_ptr run(const load_builder& load, const storage::batch_ptr& batch, const transform_limits& limits = {}) {
  return make(load.load, limits)->run(batch, 0, batch->count());
}

/// A cell so that kinds can be told apart: NULL, true, 7, 7.5, 'text', x'4142', MISSING.
inline std::string show(const cell& c) {
  switch (c.k) {
  case cell::kind::null:
    return "NULL";
  case cell::kind::boolean:
    return c.i ? "true" : "false";
  case cell::kind::int64:
    return std::to_string(c.i);
  case cell::kind::float64: {
    char buffer[64];
    std::snprintf(buffer, sizeof buffer, "%.17g", c.d);
    std::string text = buffer;
    if (text.find_first_of(".enif") == std::string::npos) text += ".0";
    return text;
  }
  case cell::kind::text:
    return "'" + std::string(c.view()) + "'";
  case cell::kind::blob: {
    std::string text = "x'";
    for (const char b : c.view()) {
      char hex[3];
      std::snprintf(hex, sizeof hex, "%02x", static_cast<unsigned char>(b));
      text += hex;
    }
    return text + "'";
  }
  case cell::kind::missing:
    return "MISSING";
  }
  return "?";
}
/// "insert id=1 qty=NULL"; deletes show only their key; a key's change shows the key before: "update(id=1) id=2".
inline std::string show(const row_set& set, const row& r) {
  const table_layout& layout = set.layout_of(r);
  std::string text = storage::to_string(r.op);
  if (r.has_before_key) {
    text += "(";
    for (std::size_t k = 0; k < layout.key.size(); ++k)
      text += (k ? " " : "") + layout.columns[layout.key[k]].name + "=" + show(set.cells[r.before_key + k]);
    text += ")";
  }
  if (r.op == storage::operation::truncate) return text;
  for (std::size_t i = 0; i < layout.columns.size(); ++i)
    if (r.op != storage::operation::remove || layout.columns[i].key)
      text += " " + layout.columns[i].name + "=" + show(set.cells_of(r)[i]);
  return text;
}
/// All rows, filtered changes and failures of a run, one a line, in the order of changes.
inline std::string show(const row_set& set) {
  std::string text;
  std::size_t rows = 0, filtered = 0, failures = 0;
  for (std::uint32_t i = set.first; i < set.end; ++i) {
    int lists = 0;
    if (rows < set.rows.size() && set.rows[rows].change == i) ++lists;
    while (rows < set.rows.size() && set.rows[rows].change == i) text += show(set, set.rows[rows++]) + "\n";
    if (filtered < set.filtered.size() && set.filtered[filtered] == i) text += "filtered\n", ++filtered, ++lists;
    if (failures < set.failures.size() && set.failures[failures].change == i) {
      const failed_change& f = set.failures[failures++];
      text += "failed " + f.reason + " at " + f.step + (f.column.empty() ? "" : " [" + f.column + "]") +
              (f.key.empty() ? "" : " " + f.key) + "\n";
      ++lists;
    }
    if (lists != 1) text += "CHANGE " + std::to_string(i) + " IS IN " + std::to_string(lists) + " LISTS\n";
  }
  return text;
}
inline std::string outcome(const load_builder& load, const storage::batch_ptr& batch, const transform_limits& limits = {}) {
  return show(*run(load, batch, limits));
}
inline std::string message_of(const load_builder& load, const storage::batch_ptr& batch) {
  const auto set = run(load, batch);
  return set->failures.empty() ? "no failure" : set->failures[0].message;
}

} // namespace millrace::test
