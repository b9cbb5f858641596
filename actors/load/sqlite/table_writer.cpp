#include "actors/load/sqlite/table_writer.hpp"

#include "actors/load/sqlite/cell_text.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace millrace::actors::load::sqlite {
namespace {

using storage::operation;
using transform::cell;
using transform::row;
using transform::row_set;
using transform::table_layout;

// A layout that a worker made for one batch is not seen again; its plan must not be kept for ever.
constexpr std::size_t plans_max = 32;
constexpr std::size_t subsets_max = 64;

/// The source's commit time, else when the change arrived.
storage::timestamp time_of(const row_set& set, const row& r) {
  return r.time_us != 0 ? storage::timestamp{std::chrono::microseconds{r.time_us}} : set.batch->first_time();
}

bool has_value(const cell& c) { return c.k != cell::kind::null && c.k != cell::kind::missing; }

/// Why the table can never have this column; empty if it can.
std::string clash_of(const table_layout& layout, std::size_t column, load_mode mode) {
  const auto& name = layout.columns[column].name;
  if (name.find('\0') != std::string::npos) return "its name holds a NUL byte, which no SQLite name can";
  for (const auto b : bookkeeping_columns(mode))
    if (same_name(name, b)) return "the mode " + std::string(to_string(mode)) + " keeps its own column of that name";
  for (std::size_t i = 0; i < column; ++i)
    if (same_name(layout.columns[i].name, name))
      return "SQLite takes it for column " + quoted(layout.columns[i].name) + ": names that differ in case only are one name";
  return {};
}

} // namespace

template <class Text>
result<void> table_writer::ready(connection& c, row_statement& s, const Text& text, std::vector<std::uint32_t> cells) {
  if (s.handle) return success();
  auto made = c.prepare(text(), "preparing to write table " + quoted(spec_.to));
  if (!made) return made.error();
  s.handle = std::move(made).value();
  s.cells = std::move(cells);
  return success();
}

void table_writer::forget() noexcept {
  plans_.clear();
  last_ = nullptr;
  known_ = checked_ = false;
  blocked_.clear();
}

bool table_writer::declared(const std::string& column) const {
  if (!spec_.has_schema) return false;
  const auto fields = declared_fields(spec_);
  return std::any_of(fields.begin(), fields.end(), [&](const auto& f) { return f.name == column; });
}

result<void> table_writer::attach(connection& c) {
  forget();
  const std::string at = "sqlite " + c.path() + ": ";
  if (spec_.to.empty() || spec_.to.find('\0') != std::string::npos || same_name(spec_.to, "_millrace_offsets") ||
      (spec_.to.size() >= 7 && same_name(std::string_view(spec_.to).substr(0, 7), "sqlite_")))
    return make_failure(
        errc::refused,
        at + quoted(spec_.to) +
            " cannot be a load's table; expected a name that is neither empty, _millrace_offsets nor begins with sqlite_");
  auto shape = read_shape(c, spec_.to);
  if (!shape) return shape.error();
  shape_ = std::move(shape).value();
  known_ = true;
  const auto fields = declared_fields(spec_);
  const auto is_field = [&](const std::string& k) {
    return std::any_of(fields.begin(), fields.end(), [&](const auto& f) { return same_name(f.name, k); });
  };
  if (!shape_.exists) {
    // A key that a step makes has no type before its first row: the table then waits for that row.
    if (fields.empty() || (spec_.mode != load_mode::append && !std::all_of(spec_.key.begin(), spec_.key.end(), is_field)))
      return success();
    std::vector<wanted_column> columns;
    for (const auto& f : fields) columns.push_back({f.name, declared_type_of(f.type), f.required});
    if (auto ok = create_table(c, spec_, columns, spec_.key); !ok) return ok;
  } else {
    for (const auto& f : fields) {
      const auto* column = shape_.find(f.name);
      if (!column) {
        if (auto ok = add_column(c, spec_.to, {f.name, declared_type_of(f.type), f.required}); !ok) return ok;
      } else if (column->generated || never_fits(f.type, column->kind)) {
        return make_failure(errc::refused, at + "column " + quoted(column->name) + " of table " + quoted(spec_.to) + " is " +
                                               (column->generated ? std::string("generated") : quoted(column->declared)) +
                                               ", the schema says " + to_string(f.type) +
                                               "; change one of them, or name another table");
      }
    }
    if (spec_.mode == load_mode::soft_delete && !shape_.find(deleted_column)) {
      if (auto ok = add_column(c, spec_.to, {std::string(deleted_column), "INTEGER NOT NULL DEFAULT 0", false}); !ok) return ok;
    }
    if (spec_.mode == load_mode::history)
      for (const auto b : bookkeeping_columns(spec_.mode))
        if (!shape_.find(b))
          return make_failure(errc::refused,
                              at + "table " + quoted(spec_.to) + " has no column " + quoted(b) +
                                  ", which the mode history needs; name another table, or one that is not there yet");
  }
  shape = read_shape(c, spec_.to);
  if (!shape) return shape.error();
  shape_ = std::move(shape).value();
  if (spec_.key.empty()) return success(); // append has none; else it is the source's, and comes with the first row
  table_layout keys;
  for (const auto& k : spec_.key) {
    keys.key.push_back(static_cast<std::uint32_t>(keys.columns.size()));
    transform::column named;
    named.name = k;
    named.required = named.key = true;
    keys.columns.push_back(std::move(named));
  }
  return check_mode(c, keys);
}

result<void> table_writer::check_mode(connection& c, const table_layout& layout) {
  if (checked_ || spec_.mode == load_mode::append) return success();
  const std::string at = "sqlite " + c.path() + ": table " + quoted(spec_.to);
  if (layout.key.empty()) return make_failure(errc::refused, at + ": the mode " + to_string(spec_.mode) + " needs a key");
  std::string key;
  for (const auto k : layout.key) {
    const auto& name = layout.columns[k].name;
    if (!shape_.find(name))
      return make_failure(errc::refused, at + " has no column " + quoted(name) + ", which is in the load's key");
    key += (key.empty() ? "" : ", ") + quoted(name);
  }
  if (spec_.mode == load_mode::history) key += ", " + quoted(offset_column);
  // SQLite itself says whether an index serves the conflict target; its rules (collations, partial indexes) are not ours to
  // repeat.
  auto check = c.prepare(statement_text(spec_, layout).upsert_check(), "checking table " + quoted(spec_.to));
  if (!check) {
    if (!is(check.error(), errc::refused)) return check.error();
    return make_failure(errc::refused, at + " has no unique index over the key (" + key + "), which the mode " +
                                           to_string(spec_.mode) + " needs; make one: CREATE UNIQUE INDEX " +
                                           quoted(spec_.to + "_key") + " ON " + quoted(spec_.to) + "(" + key +
                                           "). SQLite said: " + sqlite3_errmsg(c.db()));
  }
  checked_ = true;
  return success();
}

result<void> table_writer::make_table(connection& c, const table_layout& layout, const cell* first_row) {
  const auto fields = declared_fields(spec_);
  std::vector<wanted_column> columns;
  for (std::size_t i = 0; i < layout.columns.size(); ++i) {
    if (!clash_of(layout, i, spec_.mode).empty()) continue;
    const auto& column = layout.columns[i];
    const auto field = std::find_if(fields.begin(), fields.end(), [&](const auto& f) { return f.name == column.name; });
    if (field != fields.end())
      columns.push_back({column.name, declared_type_of(field->type), field->required});
    else if (!column.source_type.empty() && column.type)
      columns.push_back({column.name, declared_type_of(*column.type), false});
    else if (has_value(first_row[i]))
      columns.push_back({column.name, declared_type_of(first_row[i].k), false});
  }
  if (columns.empty()) return success(); // a row without any value: an append of {}; the table waits for a better one
  std::vector<std::string> key;
  for (const auto k : layout.key) key.push_back(layout.columns[k].name);
  if (auto ok = create_table(c, spec_, columns, key); !ok) return ok;
  auto shape = read_shape(c, spec_.to);
  if (!shape) return shape.error();
  shape_ = std::move(shape).value();
  return success();
}

void table_writer::plan_columns(layout_plan& plan) const {
  const auto& layout = *plan.layout;
  const auto fields = declared_fields(spec_);
  plan.columns.assign(layout.columns.size(), {});
  plan.writable.assign(layout.columns.size(), false);
  plan.watched.clear();
  for (std::uint32_t i = 0; i < layout.columns.size(); ++i) {
    auto& out = plan.columns[i];
    const auto& column = layout.columns[i];
    const auto* there = shape_.find(column.name);
    out.why = clash_of(layout, i, spec_.mode);
    if (const auto known = blocked_.find(column.name); out.why.empty() && known != blocked_.end()) out.why = known->second;
    if (out.why.empty() && there && there->generated) out.why = "it is generated by the table";
    const auto field = std::find_if(fields.begin(), fields.end(), [&](const auto& f) { return f.name == column.name; });
    if (!out.why.empty())
      out.how = layout_plan::use::blocked;
    else if (!there)
      out.how = layout_plan::use::absent;
    else
      out.kind = there->kind;
    plan.writable[i] = out.how == layout_plan::use::write;
    out.is_decimal = column.type == data_type::decimal;
    if (!plan.writable[i] || !(field != fields.end() ? always_fits(field->type, out.kind) : out.kind == affinity::none))
      plan.watched.push_back(i);
  }
}

result<layout_plan*> table_writer::plan_for(connection& c, const transform::table_layout_ptr& layout, const cell* first_row) {
  if (last_ && last_->layout == layout) return last_;
  if (!known_) {
    auto shape = read_shape(c, spec_.to);
    if (!shape) return shape.error();
    shape_ = std::move(shape).value();
    known_ = true;
  }
  if (!shape_.exists && first_row) {
    if (auto ok = make_table(c, *layout, first_row); !ok) return ok.error();
  }
  if (!shape_.exists) return nullptr;
  if (const auto found = plans_.find(layout.get()); found != plans_.end()) return last_ = found->second.get();
  if (auto ok = check_mode(c, *layout); !ok) return ok.error();
  if (plans_.size() >= plans_max) plans_.clear();
  auto plan = std::make_unique<layout_plan>();
  plan->layout = layout;
  plan_columns(*plan);
  plan->full.present = std::vector<bool>(layout->columns.size(), true);
  plan->full.all = true;
  last_ = (plans_[layout.get()] = std::move(plan)).get();
  return last_;
}

fate table_writer::make_room(connection& c, const row_set& set, const row& r, verdict& out) {
  if (r.op == operation::remove || r.op == operation::truncate) return fate::applied;
  const auto* cells = set.cells_of(r);
  auto planned = plan_for(c, set.layouts[r.layout], cells);
  if (!planned) return out.trouble = planned.error(), fate::failed;
  auto* plan = planned.value();
  if (!plan) return fate::applied;
  bool moved = false;
  for (const auto i : plan->watched) {
    if (plan->columns[i].how != layout_plan::use::absent || !has_value(cells[i])) continue;
    const auto& column = plan->layout->columns[i];
    const bool by_schema = column.type && declared(column.name);
    const wanted_column wanted{column.name, by_schema ? declared_type_of(*column.type) : declared_type_of(cells[i].k), false};
    if (auto ok = add_column(c, spec_.to, wanted); !ok) {
      // SQLITE_ERROR is about this column (too many of them, a name it cannot take): a matter of the change, not of the load.
      if (sqlite3_errcode(c.db()) != SQLITE_ERROR) return out.trouble = ok.error(), fate::failed;
      blocked_[column.name] = "the table cannot get it: " + std::string(sqlite3_errmsg(c.db()));
    }
    moved = true;
  }
  if (!moved) return fate::applied;
  auto shape = read_shape(c, spec_.to);
  if (!shape) return out.trouble = shape.error(), fate::failed;
  shape_ = std::move(shape).value();
  plans_.clear();
  last_ = nullptr;
  return fate::applied;
}

bool table_writer::compound(const row& r) const noexcept {
  if (r.op == operation::remove || r.op == operation::truncate || spec_.mode == load_mode::append) return false;
  return r.has_before_key || spec_.mode == load_mode::history;
}

fate table_writer::apply(connection& c, const row_set& set, const row& r, verdict& out) {
  if (r.op == operation::truncate) return truncate(c, set, r, out);
  const bool removes = r.op == operation::remove;
  if (removes && spec_.mode == load_mode::append) return fate::applied; // the transform counts them as filtered
  const auto* cells = set.cells_of(r);
  auto planned = plan_for(c, set.layouts[r.layout], removes ? nullptr : cells);
  if (!planned) return out.trouble = planned.error(), fate::failed;
  auto* plan = planned.value();
  if (!plan) {
    if (removes) return fate::applied; // no table yet: nothing to delete
    out.why = {"constraint",
               "table " + quoted(spec_.to) + " is not there yet and a row without any value cannot say what columns it has", "",
               "", ""};
    return fate::rejected;
  }
  if (removes) return remove(c, *plan, set, r, out);

  if (spec_.mode != load_mode::append)
    for (const auto k : plan->layout->key)
      if (!has_value(cells[k])) {
        // An INTEGER PRIMARY KEY would make up a number for it.
        const auto& name = plan->layout->columns[k].name;
        out.why = {"constraint", "table " + quoted(spec_.to) + ": the key column " + quoted(name) + " is null; expected a value",
                   "", "NOT NULL", name};
        return fate::rejected;
      }
  for (const auto i : plan->watched) {
    const auto& column = plan->columns[i];
    if (!has_value(cells[i]) || (column.how == layout_plan::use::write && fits(cells[i], column.kind, column.is_decimal)))
      continue;
    const auto& name = plan->layout->columns[i].name;
    if (column.how == layout_plan::use::blocked) {
      out.why = {"constraint", "table " + quoted(spec_.to) + " cannot take column " + quoted(name) + ": " + column.why, "", "",
                 name};
      return fate::rejected;
    }
    const auto* there = shape_.find(name);
    out.why = {"type",
               "table " + quoted(spec_.to) + ": column " + quoted(name) + " is " + (there ? there->declared : std::string()) +
                   " (affinity " + name_of(column.kind) + ") and would not keep " + name_of(cells[i].k) + " " +
                   excerpt(cells[i]) + " as it is",
               "", "", name};
    return fate::rejected;
  }
  if (spec_.mode == load_mode::history) return version(c, *plan, set, r, out);
  if (r.has_before_key && spec_.mode != load_mode::append) return move(c, *plan, set, r, out);
  return write(c, *plan, set, r, out);
}

fate table_writer::write(connection& c, layout_plan& plan, const row_set& set, const row& r, verdict& out) {
  const auto* cells = set.cells_of(r);
  auto chosen = subset_for(c, plan, cells);
  if (!chosen) return out.trouble = chosen.error(), fate::failed;
  auto& s = *chosen.value();
  if (!s.all && s.update.handle) {
    // Not an upsert: SQLite checks NOT NULL of the columns that are missing before it looks for the row.
    const key_cells key{cells, true};
    if (!bind_cells(plan, s.update, cells, out) || !bind_key(plan, s.update.handle.get(), s.update.next_parameter(), key, out))
      return fate::rejected;
    if (const auto f = step(c, s.update.handle.get(), out); f != fate::applied) return f;
    if (sqlite3_changes(c.db()) > 0) return fate::applied;
  } else if (!s.all && spec_.mode == load_mode::upsert) { // the key alone: nothing to set in a row that is there
    std::vector<cell> key;
    for (const auto k : plan.layout->key) key.push_back(cells[k]);
    bool there = false;
    if (const auto f = found(c, plan, key.data(), there, out); f != fate::applied || there) return f;
  }
  if (!bind_cells(plan, s.write, cells, out)) return fate::rejected;
  return step(c, s.write.handle.get(), out);
}

fate table_writer::move(connection& c, layout_plan& plan, const row_set& set, const row& r, verdict& out) {
  const auto* cells = set.cells_of(r);
  const auto* before = set.cells.data() + r.before_key;
  const auto& key = plan.layout->key;
  bool same = true;
  for (std::size_t i = 0; same && i < key.size(); ++i) same = equal(cells[key[i]], before[i]);
  bool there = false;
  if (!same)
    if (const auto f = found(c, plan, before, there, out); f != fate::applied) return f;
  if (!there) return write(c, plan, set, r, out);

  // The row that stands where ours moves to is gone at the source, or its delete would come before us in the log.
  const statement_text text(spec_, *plan.layout);
  if (auto ok = ready(c, plan.erase, [&] { return text.erase(); }, {}); !ok) return out.trouble = ok.error(), fate::failed;
  if (!bind_key(plan, plan.erase.handle.get(), 1, {cells, true}, out)) return fate::rejected;
  if (const auto f = step(c, plan.erase.handle.get(), out); f != fate::applied) return f;
  auto chosen = subset_for(c, plan, cells);
  if (!chosen) return out.trouble = chosen.error(), fate::failed;
  auto& s = *chosen.value();
  // In place, so that columns which the change did not carry keep their values.
  const auto own = plan.cells_of(s.present);
  if (auto ok = ready(
          c, s.move, [&] { return text.update(own); }, own);
      !ok)
    return out.trouble = ok.error(), fate::failed;
  if (!bind_cells(plan, s.move, cells, out) ||
      !bind_key(plan, s.move.handle.get(), s.move.next_parameter(), {before, false}, out))
    return fate::rejected;
  return step(c, s.move.handle.get(), out);
}

fate table_writer::version(connection& c, layout_plan& plan, const row_set& set, const row& r, verdict& out) {
  const auto* cells = set.cells_of(r);
  const auto* before = set.cells.data() + r.before_key;
  const auto at = time_text(time_of(set, r));
  if (const auto f = close_current(c, plan, {cells, true}, at, out); f != fate::applied) return f;
  if (r.has_before_key)
    if (const auto f = close_current(c, plan, {before, false}, at, out); f != fate::applied) return f;
  auto chosen = subset_for(c, plan, cells);
  if (!chosen) return out.trouble = chosen.error(), fate::failed;
  auto& s = *chosen.value();
  auto* statement = s.write.handle.get();
  if (!bind_cells(plan, s.write, cells, out)) return fate::rejected;
  int next = s.write.next_parameter();
  sqlite3_bind_text(statement, next++, at.data(), static_cast<int>(at.size()), SQLITE_STATIC);
  sqlite3_bind_int64(statement, next++, static_cast<sqlite3_int64>(set.batch->base().value + r.change));
  const key_cells last = r.has_before_key ? key_cells{before, false} : key_cells{cells, true};
  if (!s.all && !bind_key(plan, statement, next, last, out)) return fate::rejected;
  return step(c, statement, out);
}

fate table_writer::remove(connection& c, layout_plan& plan, const row_set& set, const row& r, verdict& out) {
  const key_cells key{set.cells_of(r), true};
  if (spec_.mode == load_mode::history) return close_current(c, plan, key, time_text(time_of(set, r)), out);
  const statement_text text(spec_, *plan.layout);
  const bool marks = spec_.mode == load_mode::soft_delete;
  auto& s = marks ? plan.mark : plan.erase;
  if (auto ok = ready(c, s, [&] { return marks ? text.mark_deleted() : text.erase(); }, {}); !ok)
    return out.trouble = ok.error(), fate::failed;
  if (!bind_key(plan, s.handle.get(), 1, key, out)) return fate::rejected;
  return step(c, s.handle.get(), out);
}

fate table_writer::truncate(connection& c, const row_set& set, const row& r, verdict& out) {
  if (!known_) {
    auto shape = read_shape(c, spec_.to);
    if (!shape) return out.trouble = shape.error(), fate::failed;
    shape_ = std::move(shape).value();
    known_ = true;
  }
  if (!shape_.exists || spec_.mode == load_mode::append) return fate::applied;
  std::string sql;
  switch (spec_.mode) {
  case load_mode::soft_delete:
    sql = "UPDATE OR ABORT main." + quoted(spec_.to) + " SET " + quoted(deleted_column) + " = 1 WHERE " + quoted(deleted_column) +
          " IS NOT 1";
    break;
  case load_mode::history:
    sql = "UPDATE OR ABORT main." + quoted(spec_.to) + " SET " + quoted(valid_to_column) + " = ?1, " + quoted(current_column) +
          " = 0 WHERE " + quoted(current_column) + " = 1";
    break;
  default:
    sql = "DELETE FROM main." + quoted(spec_.to);
    break;
  }
  auto s = c.prepare(sql, "truncating table " + quoted(spec_.to));
  if (!s) return out.trouble = s.error(), fate::failed;
  std::string at;
  if (spec_.mode == load_mode::history) {
    at = time_text(time_of(set, r));
    sqlite3_bind_text(s.value().get(), 1, at.data(), static_cast<int>(at.size()), SQLITE_STATIC);
  }
  return step(c, s.value().get(), out);
}

result<void> table_writer::empty(connection& c) {
  auto shape = read_shape(c, spec_.to);
  if (!shape) return shape.error();
  if (!shape.value().exists) return success();
  return c.execute("DELETE FROM main." + quoted(spec_.to), "emptying table " + quoted(spec_.to));
}

fate table_writer::close_current(connection& c, layout_plan& plan, const key_cells& key, const std::string& at, verdict& out) {
  if (auto ok = ready(c, plan.close, [&] { return statement_text(spec_, *plan.layout).close_version(); }, {}); !ok)
    return out.trouble = ok.error(), fate::failed;
  auto* s = plan.close.handle.get();
  sqlite3_bind_text(s, 1, at.data(), static_cast<int>(at.size()), SQLITE_STATIC);
  if (!bind_key(plan, s, 2, key, out)) return fate::rejected;
  return step(c, s, out);
}

fate table_writer::found(connection& c, layout_plan& plan, const cell* key, bool& yes, verdict& out) {
  if (auto ok = ready(c, plan.exists, [&] { return statement_text(spec_, *plan.layout).exists(); }, {}); !ok)
    return out.trouble = ok.error(), fate::failed;
  auto* s = plan.exists.handle.get();
  if (!bind_key(plan, s, 1, {key, false}, out)) return fate::rejected;
  const int rc = sqlite3_step(s);
  yes = rc == SQLITE_ROW;
  if (!yes && rc != SQLITE_DONE) {
    out.trouble = c.error(rc, "reading table " + quoted(spec_.to));
    sqlite3_reset(s);
    return fate::failed;
  }
  sqlite3_reset(s);
  return fate::applied;
}

result<column_subset*> table_writer::subset_for(connection& c, layout_plan& plan, const cell* cells) {
  const auto n = plan.layout->columns.size();
  std::size_t i = 0;
  while (i < n && cells[i].k != cell::kind::missing) ++i;
  auto* s = &plan.full;
  if (i < n) {
    std::vector<bool> present(n);
    for (std::size_t j = 0; j < n; ++j) present[j] = cells[j].k != cell::kind::missing;
    if (plan.partial.size() >= subsets_max && !plan.partial.contains(present)) plan.partial.clear();
    s = &plan.partial[present];
    if (s->present.empty()) s->present = std::move(present);
  }
  if (!s->write.handle)
    if (auto ok = ready_write(c, plan, *s); !ok) return ok.error();
  return s;
}

result<void> table_writer::ready_write(connection& c, layout_plan& plan, column_subset& s) {
  const statement_text text(spec_, *plan.layout);
  const auto cells = plan.cells_of(s.present);
  switch (spec_.mode) {
  case load_mode::append:
    return ready(
        c, s.write, [&] { return text.insert(cells); }, cells);
  case load_mode::history: {
    std::vector<std::uint32_t> missing;
    for (std::uint32_t i = 0; i < s.present.size(); ++i)
      if (!s.present[i] && plan.writable[i]) missing.push_back(i);
    return ready(
        c, s.write, [&] { return text.new_version(cells, missing); }, cells);
  }
  default:
    break;
  }
  if (!s.all) {
    auto rest = cells;
    std::erase_if(
        rest, [&](auto i) { return std::find(plan.layout->key.begin(), plan.layout->key.end(), i) != plan.layout->key.end(); });
    if (!rest.empty() || spec_.mode == load_mode::soft_delete)
      if (auto ok = ready(
              c, s.update, [&] { return text.update(rest); }, rest);
          !ok)
        return ok;
  }
  return ready(
      c, s.write, [&] { return text.upsert(cells); }, cells);
}

bool table_writer::bind(sqlite3_stmt* s, int at, const cell& value, std::string_view column, verdict& out) const {
  int rc = SQLITE_OK;
  switch (value.k) {
  case cell::kind::null:
  case cell::kind::missing:
    rc = sqlite3_bind_null(s, at);
    break;
  case cell::kind::boolean:
  case cell::kind::int64:
    rc = sqlite3_bind_int64(s, at, value.i);
    break;
  case cell::kind::float64:
    if (std::isnan(value.d)) {
      out.why = {"type",
                 "table " + quoted(spec_.to) + ": column " + quoted(column) +
                     " is not a number (NaN), which SQLite would store as NULL",
                 "", "", std::string(column)};
      return false;
    }
    rc = sqlite3_bind_double(s, at, value.d);
    break;
  // Static: the row_set outlives the step, and nothing looks at a binding between a reset and the next binding. An empty
  // text may have no address; SQLite would take that for NULL.
  case cell::kind::text:
    rc = sqlite3_bind_text64(s, at, value.p ? value.p : "", value.size, SQLITE_STATIC, SQLITE_UTF8);
    break;
  case cell::kind::blob:
    rc = value.size ? sqlite3_bind_blob64(s, at, value.p, value.size, SQLITE_STATIC) : sqlite3_bind_zeroblob(s, at, 0);
    break;
  }
  if (rc == SQLITE_OK) return true;
  out.why = {"type",
             "table " + quoted(spec_.to) + ": column " + quoted(column) + ": " + sqlite3_errstr(rc) + " (" +
                 std::to_string(value.size) + " bytes)",
             "", "", std::string(column)};
  return false;
}

bool table_writer::bind_cells(const layout_plan& plan, const row_statement& s, const cell* cells, verdict& out) const {
  auto* handle = s.handle.get();
  int at = 0;
  for (const auto i : s.cells)
    if (!bind(handle, ++at, cells[i], plan.layout->columns[i].name, out)) return false;
  return true;
}

bool table_writer::bind_key(const layout_plan& plan, sqlite3_stmt* s, int at, const key_cells& key, verdict& out) const {
  const auto& own = plan.layout->key;
  for (std::size_t i = 0; i < own.size(); ++i)
    if (!bind(s, at++, key.cells[key.by_layout ? own[i] : i], plan.layout->columns[own[i]].name, out)) return false;
  return true;
}

fate table_writer::step(connection& c, sqlite3_stmt* s, verdict& out) const {
  const int rc = sqlite3_step(s);
  if (rc == SQLITE_DONE) {
    sqlite3_reset(s);
    return fate::applied;
  }
  auto f = fate::failed;
  if (auto why = row_error_of(c.db(), rc, spec_.to)) {
    out.why = std::move(*why);
    f = fate::rejected;
  } else {
    out.trouble = c.error(rc, "writing table " + quoted(spec_.to));
  }
  sqlite3_reset(s);
  return f;
}

} // namespace millrace::actors::load::sqlite
