#include "actors/transform/table_program.hpp"

#include "actors/transform/key.hpp"

#include <algorithm>

namespace millrace::actors::transform {

namespace {
using storage::operation;

bool same_cell(const cell& a, const cell& b) {
  if (a.k != b.k) return false;
  return a.k == cell::kind::text || a.k == cell::kind::blob ? a.view() == b.view() : a.i == b.i;
}
bool absent(const cell& c) { return c.k == cell::kind::null || c.k == cell::kind::missing; }
} // namespace

std::string step_name(std::size_t index, step_kind kind) {
  return "transform[" + std::to_string(index + 1) + "] " + to_string(kind);
}

table_program::table_program(const table_spec& table, std::uint32_t index, const transform_limits& limits,
                             std::vector<step_error>& errors)
    : table_(table), index_(index), limits_(limits) {
  trace_key();
  std::vector<std::pair<mark, std::string>> decoder_errors;
  decoder_ = std::make_unique<record_decoder>(table_, decoded_key_, decoder_errors);
  for (auto& [where, message] : decoder_errors) errors.push_back({where, std::move(message)});
  compile(errors);
}

void table_program::trace_key() {
  key_made_ = false;
  last_key_step_ = -1;
  decoded_key_ = table_.key;
  for (std::size_t i = table_.transform.size(); i-- > 0;) {
    const transform_step& s = table_.transform[i];
    if (s.kind != step_kind::rename && s.kind != step_kind::set) continue;
    std::vector<std::string> before = decoded_key_;
    for (std::size_t k = 0; k < before.size(); ++k) {
      for (const auto& [first, second] : s.assignments) {
        if (s.kind == step_kind::rename && second == decoded_key_[k]) before[k] = first;
        if (s.kind == step_kind::set && first == decoded_key_[k]) {
          key_made_ = true;
          last_key_step_ = std::max(last_key_step_, static_cast<int>(i));
        }
      }
    }
    decoded_key_ = std::move(before);
  }
  // A column that only a step makes has no decoded form.
  if (!pg_ && (!table_.has_schema || table_.schema_change == schema_change_policy::add_columns)) return;
  for (std::string& name : decoded_key_) {
    const bool decoded =
        pg_ ? std::any_of(pg_->columns().begin(), pg_->columns().end(), [&](const frame_column& c) { return c.name == name; })
            : std::any_of(table_.schema.begin(), table_.schema.end(), [&](const field_spec& f) { return f.name == name; });
    if (decoded) continue;
    name.clear();
    key_made_ = true;
  }
}

void table_program::compile(std::vector<step_error>& errors) {
  step_compiler c{table_, limits_, {}, errors, {}};
  if (pg_)
    for (const frame_column& f : pg_->columns()) c.columns.columns.push_back({f.name, f.field, f.type});
  else
    for (const field_spec& f : table_.schema) c.columns.columns.push_back({f.name, &f});
  steps_.clear();
  c.columns.open = !table_.has_schema || table_.schema_change == schema_change_policy::add_columns;
  for (const std::string& k : decoded_key_)
    if (c.columns.open && !c.columns.find(k)) c.columns.columns.push_back({k, nullptr});
  const std::size_t before = errors.size();
  for (std::size_t i = 0; i < table_.transform.size(); ++i) {
    const transform_step& s = table_.transform[i];
    std::string name = step_name(i, s.kind);
    step_ptr made;
    switch (s.kind) {
    case step_kind::where:
      made = make_where(c, s, std::move(name));
      break;
    case step_kind::set:
      made = make_set(c, s, std::move(name), static_cast<int>(i) <= last_key_step_);
      break;
    case step_kind::rename:
      made = make_rename(c, s, std::move(name));
      break;
    case step_kind::drop:
      made = make_drop(c, s, std::move(name));
      break;
    case step_kind::mask:
      made = make_mask(c, s, std::move(name));
      break;
    case step_kind::lua:
      made = make_lua(c, s, std::move(name));
      c.columns.open = true; // a script may add what it likes
      break;
    }
    steps_.push_back(std::move(made));
  }
  spare_ = c.made.size();
  const std::vector<frame_column>& decoded = pg_ ? pg_->columns() : decoder_->columns();
  for (const std::string& made : c.made)
    if (std::any_of(decoded.begin(), decoded.end(), [&](const frame_column& f) { return f.name == made; })) --spare_;
  if (table_.key.empty() && table_.mode != load_mode::append && !table_.key_from_source)
    errors.push_back({table_.where, std::string("mode ") + to_string(table_.mode) + " needs a key"});
  if (errors.size() > before || c.columns.open) return;
  for (const std::string& k : table_.key)
    if (!c.columns.find(k)) errors.push_back({table_.where, "the key's column \"" + k + "\" is not there after the last step"});
}

void table_program::begin(run_state& state, std::size_t changes) {
  bound_ = nullptr;
  if (pg_) { // the pipeline had another kind of source
    pg_.reset();
    if (table_.key_from_source) table_.key.clear();
    trace_key();
    std::vector<step_error> errors; // none: it compiled before
    compile(errors);
  }
  frame_.begin(decoder_->columns(), decoder_->defaults(), spare_, changes);
  decoder_->begin_run(frame_);
  next_row_ = 0;
  moved_ = false;
  state.key_names = &table_.key;
}

void table_program::release() {
  bound_ = nullptr;
  frame_.rows.clear();
}

void table_program::bind(run_state& state, const pg_table& source, std::size_t changes) {
  if (!knows(source)) adopt(source);
  bound_ = &source;
  frame_.begin(pg_->columns(), pg_->defaults(), spare_, changes);
  frame_.key = pg_->key();
  next_row_ = 0;
  moved_ = false;
  state.key_names = &table_.key;
}

/// Other columns, another key: steps see new names and types, so they are compiled anew.
void table_program::adopt(const pg_table& source) {
  pg_ = std::make_unique<pg_decoder>(table_, *decoder_, source);
  if (table_.key_from_source) {
    table_.key.clear();
    for (const std::uint32_t column : source.key) {
      std::string name = source.columns[column].name; // as it is called after the steps
      for (const transform_step& s : table_.transform)
        if (s.kind == step_kind::rename)
          for (const auto& [from, to] : s.assignments)
            if (from == name) {
              name = to;
              break;
            }
      table_.key.push_back(std::move(name));
    }
  }
  trace_key();
  pg_->set_key(decoded_key_);
  std::vector<step_error> errors;
  compile(errors);
  broken_ = errors.empty() ? std::string() : errors.front().message;
}

void table_program::add_row(run_state& state, frame_row row, bool decoded, const decode_problem& problem) {
  state.key_names = &table_.key;
  if (!decoded && problem.reason == "parse") {
    state.fail({row.change, problem.reason, problem.message, "decode", {}, row.op, std::string(row.table), {}, 0, 0});
    frame_.drop_last_slot();
    return;
  }
  row.key_hash = decoder_->key_hash(frame_, row.slot);
  row.decoded_key = static_cast<std::uint32_t>(frame_.decoded_keys.size());
  for (const int column : frame_.key) frame_.decoded_keys.push_back(column < 0 ? cell::null() : frame_.cells(row.slot)[column]);
  frame_.rows.push_back(row);
  if (!decoded)
    state.fail(frame_, frame_.rows.back(), problem.reason, problem.message, problem.reason == "parse" ? "decode" : "schema",
               problem.column);
}

void table_program::decode_json(run_state& state, std::uint32_t change, std::string_view payload, const char* readable,
                                std::int64_t time_us) {
  frame_row row;
  row.change = change;
  row.time_us = time_us;
  row.slot = frame_.add_slot();
  decode_problem problem;
  const bool decoded = decoder_->decode_json(frame_, row.slot, payload, readable, record_decoder::image::row,
                                             record_decoder::unavailable::is_text, state.memory(), problem);
  add_row(state, row, decoded, problem);
}

void table_program::decode_csv(run_state& state, std::uint32_t change, std::string_view payload, std::string_view header,
                               std::int64_t time_us) {
  frame_row row;
  row.change = change;
  row.time_us = time_us;
  row.slot = frame_.add_slot();
  decode_problem problem;
  const bool decoded = decoder_->decode_csv(frame_, row.slot, payload, header, state.memory(), problem);
  add_row(state, row, decoded, problem);
}

void table_program::decode_event(run_state& state, std::uint32_t change, const change_envelope& event, std::string_view table,
                                 const char* readable, std::int64_t time_us) {
  using image = record_decoder::image;
  using marks = record_decoder::unavailable;
  const bool removes = event.op == operation::remove;
  if (table_.mode == load_mode::append && (removes || event.op == operation::truncate)) return; // filtered: append only adds
  frame_row row;
  row.change = change;
  row.time_us = time_us;
  row.op = event.op;
  row.table = state.memory().copy(table);
  row.slot = frame_.add_slot();
  if (event.op == operation::truncate) {
    frame_.rows.push_back(row);
    return;
  }
  decode_problem problem;
  const std::string_view object = removes ? event.before.raw : event.after.raw;
  const bool decoded =
      decoder_->decode_json(frame_, row.slot, object, readable, removes ? image::key : image::row,
                            event.op == operation::update ? marks::is_missing : marks::is_null, state.memory(), problem);
  const std::size_t rows_before = frame_.rows.size();
  add_row(state, row, decoded, problem);
  if (frame_.rows.size() == rows_before || event.op != operation::update || event.before.kind != json_kind::object ||
      table_.key.empty() || table_.mode == load_mode::append)
    return;

  // Where the row stood before the update. Its key is all that matters, so a bad value elsewhere is not this change's.
  frame_row before = frame_.rows.back();
  before.op = operation::remove;
  before.shadow = no_row;
  before.slot = frame_.add_slot();
  decode_problem before_problem;
  const bool readable_key = decoder_->decode_json(frame_, before.slot, event.before.raw, readable, image::key, marks::is_null,
                                                  state.memory(), before_problem);
  const std::uint64_t hash = decoder_->key_hash(frame_, before.slot);
  frame_row& main = frame_.rows.back();
  if (!decoded && hash != 0 && hash != main.key_hash)
    state.set_before_key(change, hash); // a move that failed holds the old key, too
  if (!readable_key) {
    state.fail(frame_, main, before_problem.reason, "in `before`: " + before_problem.message, "schema", before_problem.column);
  } else if (hash != 0 && (hash != main.key_hash || key_made_)) {
    if (hash != main.key_hash) main.before_key_hash = hash;
    main.shadow = static_cast<std::uint32_t>(frame_.shadows.size());
    before.live = main.live;
    frame_.shadows.push_back(before);
    return;
  }
  frame_.drop_last_slot();
}

void table_program::refuse_pg(run_state& state, frame_row row, decode_problem problem) {
  row.decoded_key = static_cast<std::uint32_t>(frame_.decoded_keys.size());
  for (const int column : frame_.key) frame_.decoded_keys.push_back(column < 0 ? cell::null() : frame_.cells(row.slot)[column]);
  frame_.rows.push_back(row);
  state.fail(frame_, frame_.rows.back(), std::move(problem.reason), std::move(problem.message), "decode",
             std::move(problem.column));
}

void table_program::decode_pg(run_state& state, std::uint32_t change, pg_change& event, std::int64_t time_us) {
  using old_row = pg_change::old_row;
  state.key_names = &table_.key;
  const bool removes = event.op == operation::remove, updates = event.op == operation::update;
  const bool appends = table_.mode == load_mode::append;
  if (appends && (removes || event.op == operation::truncate)) return; // filtered: append only adds
  frame_row row;
  row.change = change;
  row.time_us = time_us;
  row.op = event.op;
  row.table = bound_->full;
  row.slot = frame_.add_slot();
  if (event.op == operation::truncate) {
    frame_.rows.push_back(row);
    return;
  }
  const auto& columns = bound_->columns;
  for (const pg_tuple* tuple : {&event.old, &event.fresh}) {
    const bool is_there = tuple == &event.old ? event.old_kind != old_row::none : !removes;
    if (!is_there || tuple->size() == columns.size()) continue;
    return refuse_pg(state, row,
                     {"parse",
                      "found " + std::to_string(tuple->size()) + " columns, expected " + std::to_string(columns.size()) +
                          " as in the description of " + bound_->full,
                      {}});
  }
  // An old row that is only a key has nulls that are no values: a step that reads one must not take it for NULL.
  if (event.old_kind == old_row::key)
    for (std::size_t i = 0; i < columns.size(); ++i)
      if (!columns[i].identity) event.old[i].k = cell::kind::missing;
  // What the update left alone is in the old row, if that was sent: the one place where the value is.
  if (updates && event.old_kind != old_row::none)
    for (std::size_t i = 0; i < columns.size(); ++i)
      if (event.fresh[i].k == cell::kind::missing) event.fresh[i] = event.old[i];

  decode_problem problem;
  const bool decoded = removes ? pg_->decode_old(frame_, row.slot, event.old, steps_.empty(), state.memory(), problem)
                               : pg_->decode(frame_, row.slot, event.fresh, state.memory(), problem);
  row.key_hash = pg_->key_hash(frame_, row.slot);
  row.decoded_key = static_cast<std::uint32_t>(frame_.decoded_keys.size());
  for (const int column : frame_.key) frame_.decoded_keys.push_back(column < 0 ? cell::null() : frame_.cells(row.slot)[column]);
  frame_.rows.push_back(row);
  frame_row& main = frame_.rows.back();

  // Where the row stood before the update.
  if (updates && !appends && event.old_kind != old_row::none && !table_.key.empty()) {
    frame_row before = main;
    before.op = operation::remove;
    before.slot = frame_.add_slot();
    decode_problem before_problem;
    const bool readable_key = pg_->decode_old(frame_, before.slot, event.old, steps_.empty(), state.memory(), before_problem);
    const std::uint64_t hash = pg_->key_hash(frame_, before.slot);
    if (hash != 0 && hash != main.key_hash) main.before_key_hash = hash; // a move that fails holds the old key, too
    if (!readable_key && decoded) {
      state.fail(frame_, main, before_problem.reason, "in the old row: " + before_problem.message, "schema",
                 before_problem.column);
    } else if (decoded && (hash != 0 || key_made_) && (hash != main.key_hash || key_made_)) {
      main.shadow = static_cast<std::uint32_t>(frame_.shadows.size());
      before.shadow = no_row;
      frame_.shadows.push_back(before);
    } else {
      frame_.drop_last_slot();
    }
  }
  if (!decoded) return state.fail(frame_, main, problem.reason, problem.message, "schema", problem.column);
  if (!broken_.empty()) return state.fail(frame_, main, "transform", broken_, "transform", {});
  if (!appends && (updates || removes) && !pg_->blind().empty())
    state.fail(frame_, main, "schema", pg_->blind(), "schema", pg_->blind_column());
}

void table_program::run_steps(run_state& state, row_set& out, bool whole) {
  state.key_names = &table_.key;
  for (const step_ptr& s : steps_) s->run(frame_, state);
  final_key_.clear();
  for (const std::string& k : table_.key) final_key_.push_back(frame_.find(k));
  checked_.clear();
  for (std::size_t i = 0; i < frame_.columns.size(); ++i) {
    const frame_column& c = frame_.columns[i];
    if (c.field && !c.dropped && (c.assigned || c.field->required)) checked_.push_back(static_cast<std::uint32_t>(i));
  }
  for (frame_row& r : frame_.rows)
    if (r.live && !state.failed(r.change) && r.op != operation::truncate) check(state, r);
  spare_ =
      std::max(spare_, frame_.columns.size() -
                           (bound_ ? pg_->columns() : decoder_->columns()).size()); // the next batch will have these columns, too
  lay_out(state, out, whole);
}

bool table_program::check_cell(run_state& state, frame_row& row, frame_row& blamed, std::uint32_t column) {
  cell& c = frame_.at(row.slot, column);
  const field_spec* field = frame_.columns[column].field;
  if (field && (c.note & note::assigned)) {
    std::string why;
    if (!coerce(c, {field->type, field->format}, state.memory(), c, why)) {
      state.fail(frame_, blamed, "type", std::move(why), "schema", frame_.columns[column].name);
      return false;
    }
  }
  return true;
}

void table_program::check(run_state& state, frame_row& row) {
  const bool removes = row.op == operation::remove;
  if (table_.key.empty() && table_.key_from_source && table_.mode != load_mode::append)
    return state.fail(frame_, row, "schema",
                      "table has no key: found neither a primary key nor a replica identity index in " + std::string(row.table) +
                          ", expected one of them in the source, or `key` in the load",
                      "schema", {});
  if (!removes) {
    for (const std::uint32_t column : checked_) {
      if (!check_cell(state, row, row, column)) return;
      if (frame_.columns[column].field->required && frame_.at(row.slot, column).is_null())
        return state.fail(frame_, row, "schema", "found no value, expected one: the schema requires it", "schema",
                          frame_.columns[column].name);
    }
  }
  const auto whole_key = [&](frame_row& r, const char* what) {
    for (std::size_t k = 0; k < final_key_.size(); ++k) {
      const int column = final_key_[k];
      if (column >= 0 && !check_cell(state, r, row, static_cast<std::uint32_t>(column))) return false;
      if (column >= 0 && !absent(frame_.at(r.slot, static_cast<std::uint32_t>(column)))) continue;
      if (table_.mode == load_mode::append) continue;
      state.fail(frame_, row, "schema", std::string("found no value") + what + ", expected one: the column is part of the key",
                 "schema", table_.key[k]);
      return false;
    }
    return true;
  };
  if (!whole_key(row, "")) return;
  if (key_made_) row.key_hash = hash_key(frame_.cells(row.slot), final_key_);
  if (row.shadow == no_row) return;
  frame_row& before = frame_.shadows[row.shadow];
  if (!whole_key(before, " before the update")) return;
  bool moves = false;
  for (const int column : final_key_) {
    const auto c = static_cast<std::uint32_t>(column);
    moves = moves || !same_cell(frame_.at(row.slot, c), frame_.at(before.slot, c));
  }
  if (key_made_) row.before_key_hash = moves ? hash_key(frame_.cells(before.slot), final_key_) : 0;
  if (!moves) row.shadow = no_row;
}

void table_program::lay_out(run_state& state, row_set& out, bool whole) {
  table_layout made;
  made.table = index_;
  made.partial_inserts = bound_ && bound_->snapshotting;
  out_columns_.clear();
  for (std::uint32_t i = 0; i < frame_.columns.size(); ++i) {
    const frame_column& c = frame_.columns[i];
    if (c.dropped) continue;
    column add;
    add.name = c.name;
    if (c.field) {
      add.type = c.field->type;
      add.required = c.field->required;
    } else if (c.type) {
      if (!c.assigned) {
        add.type = c.type;
        add.source_type = c.source_type;
      }
    } else if (c.inferred) {
      for (const frame_row& r : frame_.rows) {
        if (!r.live || state.failed(r.change) || r.op == operation::truncate) continue;
        const cell& v = frame_.at(r.slot, i);
        if (absent(v)) continue;
        if (const int type = v.note & note::type_mask; type > 0) add.type = static_cast<data_type>(type - 1);
        break;
      }
    }
    out_columns_.push_back(i);
    made.columns.push_back(std::move(add));
  }
  for (const std::string& k : table_.key) {
    const auto it = std::find_if(made.columns.begin(), made.columns.end(), [&](const column& c) { return c.name == k; });
    if (it == made.columns.end()) continue; // no row has it: they all have failed
    it->key = true;
    made.key.push_back(static_cast<std::uint32_t>(it - made.columns.begin()));
  }
  const auto same = [&](const table_layout_ptr& l) {
    return l->key == made.key && l->partial_inserts == made.partial_inserts &&
           std::equal(l->columns.begin(), l->columns.end(), made.columns.begin(), made.columns.end(),
                      [](const column& a, const column& b) {
                        return a.name == b.name && a.type == b.type && a.source_type == b.source_type;
                      });
  };
  auto known = std::find_if(layouts_.begin(), layouts_.end(), same);
  if (known == layouts_.end()) {
    constexpr std::size_t kept = 16;
    if (layouts_.size() == kept) layouts_.erase(layouts_.begin() + 1); // the first is the one that a fixed schema gives
    layouts_.push_back(std::make_shared<table_layout>(std::move(made)));
    known = layouts_.end() - 1;
  }
  layout_ = static_cast<std::uint16_t>(out.layouts.size());
  out.layouts.push_back(*known);
  out.memory.push_back(decoder_->default_memory());
  moved_ = whole && out_columns_.size() == frame_.stride() && out_columns_.size() == frame_.columns.size();
  if (moved_) {
    out.cells = std::move(frame_.all_cells());
    frame_.all_cells().clear();
  }
}

bool table_program::emit(const run_state& state, row_set& out, std::uint32_t change) {
  bool any = false;
  const auto cells_at = [&](std::uint32_t slot) {
    return moved_ ? out.cells.data() + std::size_t{slot} * out_columns_.size() : frame_.cells(slot);
  };
  for (; next_row_ < frame_.rows.size() && frame_.rows[next_row_].change <= change; ++next_row_) {
    const frame_row& r = frame_.rows[next_row_];
    if (!r.live || r.change != change || state.failed(change)) continue;
    any = true;
    row made;
    made.change = change;
    made.layout = layout_;
    made.op = r.op;
    made.key_hash = r.key_hash;
    made.before_key_hash = r.before_key_hash;
    made.time_us = r.time_us;
    if (moved_) {
      made.first_cell = static_cast<std::uint32_t>(r.slot * out_columns_.size());
    } else {
      made.first_cell = static_cast<std::uint32_t>(out.cells.size());
      const cell* from = cells_at(r.slot);
      for (const std::uint32_t column : out_columns_) out.cells.push_back(from[column]);
    }
    if (r.shadow != no_row && r.op == operation::update) {
      made.has_before_key = true;
      made.before_key = static_cast<std::uint32_t>(out.cells.size());
      for (const int column : final_key_) {
        const cell c = cells_at(frame_.shadows[r.shadow].slot)[column];
        out.cells.push_back(c);
      }
    }
    out.rows.push_back(made);
  }
  return any;
}

} // namespace millrace::actors::transform
