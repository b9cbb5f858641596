#include "actors/load/postgres/target_table.hpp"

#include "actors/load/declared_fields.hpp"
#include "actors/load/postgres/types.hpp"

#include <algorithm>
#include <charconv>

namespace millrace::actors::load::postgres {
namespace {

using storage::operation;
using transform::cell;

// A layout that a worker made for one batch is not seen again; its plan must not be kept for ever.
constexpr std::size_t layouts_max = 64, subsets_max = 128;
constexpr std::size_t name_bytes_max = 63; // NAMEDATALEN - 1: PostgreSQL would cut a longer name without an error
constexpr std::uint32_t oid_bytea = 17, oid_date = 1082, oid_numeric = 1700, oid_bool = 16;

bool has_value(const cell& c) { return c.k != cell::kind::null && c.k != cell::kind::missing; }
bool keyed(load_mode m) { return m != load_mode::append; }

std::string list_of(const std::vector<std::string>& names) {
  std::string out;
  for (const auto& n : names) out += (out.empty() ? "" : ", ") + pq::quoted_name(n);
  return out;
}

std::string unusable(std::string_view name) {
  if (name.empty()) return "its name is empty";
  if (name.find('\0') != std::string_view::npos) return "its name holds a NUL byte, which no name in PostgreSQL can";
  if (name.size() > name_bytes_max)
    return "its name has " + std::to_string(name.size()) + " bytes; PostgreSQL's names have at most 63";
  return {};
}

/// More digits behind the point than the column keeps, and not all of them zero.
bool rounds(std::string_view text, int scale) {
  const auto point = text.find('.');
  if (point == std::string_view::npos || text.find_first_of("eE") != std::string_view::npos) return false;
  return text.find_first_not_of('0', std::min(text.size(), point + 1 + static_cast<std::size_t>(scale))) !=
         std::string_view::npos;
}

} // namespace

const table_spec* target_table::spec_of(const transform::table_layout& layout) const noexcept {
  for (const auto& [number, spec] : specs_)
    if (number == layout.table) return spec.get();
  return specs_.front().second.get();
}

result<void> target_table::adopt_key(const transform::table_layout& layout) {
  std::vector<std::string> key;
  for (const auto k : layout.key) key.push_back(layout.columns[k].name);
  for (auto& [number, spec] : specs_) {
    if (number != layout.table || !keyed(spec->mode) || key.empty() || spec->key == key) continue;
    if (!spec->key.empty())
      return make_failure(errc::refused, at() + " has the key (" + list_of(spec->key) + "), rows now come with the key (" +
                                             list_of(key) + "); expected the same, or the load's own `key`");
    spec->key = key;
  }
  return success();
}

void target_table::forget_plans() noexcept {
  by_layout_.clear();
  plans_.clear();
  last_ = nullptr;
  last_layout_ = nullptr;
}

void target_table::forget() noexcept {
  forget_plans();
  known_ = checked_ = false;
  blocked_.clear();
  kept_types_.clear();
}

void target_table::settle(bool committed) noexcept {
  if (!committed && staged_now_) {
    staged_.clear();
    forget_plans(); // the next row makes it again
  }
  if (!committed && changed_schema_) forget();
  // Updates may come with ever other subsets of the columns.
  if (std::any_of(plans_.begin(), plans_.end(), [](const auto& p) { return p->subsets.size() > subsets_max; })) forget_plans();
  changed_schema_ = staged_now_ = stage_used = false;
}

result<void> target_table::read() {
  auto shape = read_shape(*s_, name_);
  if (!shape) return shape.error();
  shape_ = std::move(shape).value();
  known_ = true;
  return success();
}

result<void> target_table::look_again() {
  changed_schema_ = true;
  forget_plans();
  return read();
}

result<std::optional<std::string>> target_table::alter(const std::string& sql) {
  s_->add("SAVEPOINT mr_ddl");
  s_->add(sql);
  s_->add("RELEASE mr_ddl");
  auto bad = s_->flush("altering table " + name_.quoted());
  if (!bad) return std::optional<std::string>{};
  if (!s_->alive() || pq::is_transient(bad->said.sqlstate)) return bad->why;
  if (auto worse = s_->run("ROLLBACK TO mr_ddl; RELEASE mr_ddl", "undoing DDL")) return worse->why;
  if (bad->said.sqlstate == "42501") // must be owner
    return make_failure(errc::refused, bad->why.message + "; expected the owner's rights, or: " + sql);
  return std::optional<std::string>{bad->said.text()};
}

result<void> target_table::check_rights(const table_spec& spec) {
  if (shape_.row_security)
    return make_failure(errc::refused,
                        at() + " has row level security, which would hide rows from us without an error; expected a role "
                               "with BYPASSRLS, or the table's owner");
  std::string missing;
  const auto need = [&](bool has, const char* right) {
    if (!has) missing += (missing.empty() ? "" : ", ") + std::string(right);
  };
  need(shape_.can_insert, "INSERT");
  if (keyed(spec.mode)) {
    need(shape_.can_select, "SELECT");
    need(shape_.can_update, "UPDATE");
    if (spec.mode != load_mode::history) need(shape_.can_delete, "DELETE");
  }
  if (missing.empty()) return success();
  auto user = s_->ask("SELECT current_user", "asking for the role");
  if (!user) return user.error();
  return make_failure(errc::refused, at() + ": not allowed to write it; expected: GRANT " + missing + " ON " + name_.quoted() +
                                         " TO " + pq::quoted_name(user.value().at(0, 0)));
}

result<void> target_table::check_mode(const table_spec& spec, const std::vector<std::string>& key) {
  if (checked_ || !keyed(spec.mode)) return success();
  if (key.empty()) return make_failure(errc::refused, at() + ": the mode " + to_string(spec.mode) + " needs a key");
  if (shape_.kind == 'f')
    return make_failure(errc::refused,
                        at() + " is a foreign table, which ON CONFLICT cannot serve; expected a table, or mode append");
  auto unique = key;
  for (const auto& k : key)
    if (!shape_.find(k))
      return make_failure(errc::refused, at() + " has no column " + pq::quoted_name(k) + ", which is in the load's key");
  if (spec.mode == load_mode::history) unique.emplace_back(offset_column);
  if (!shape_.unique_over(unique))
    return make_failure(errc::refused, at() + " has no unique index over exactly the key (" + list_of(unique) +
                                           "), which the mode " + to_string(spec.mode) +
                                           " needs; make one: CREATE UNIQUE INDEX ON " + name_.quoted() + " (" + list_of(unique) +
                                           ") (not partial, not deferrable)");
  checked_ = true;
  return success();
}

result<void> target_table::create(const table_spec& spec, const std::vector<wanted>& columns) {
  const bool has_key = keyed(spec.mode);
  std::string sql = "CREATE TABLE IF NOT EXISTS " + name_.quoted() + "(";
  for (const auto& c : columns) {
    if (&c != &columns.front()) sql += ", ";
    sql += pq::quoted_name(c.name) + ' ' + c.type + (c.required ? " NOT NULL" : "");
  }
  const auto add = [&](std::string_view name, const char* type) {
    sql += (sql.back() == '(' ? "" : ", ") + pq::quoted_name(name) + ' ' + type;
  };
  if (spec.mode == load_mode::soft_delete) add(deleted_column, "boolean NOT NULL DEFAULT false");
  if (spec.mode == load_mode::history) {
    add(valid_from_column, "timestamp with time zone NOT NULL");
    add(valid_to_column, "timestamp with time zone");
    add(current_column, "boolean NOT NULL");
    add(offset_column, "bigint NOT NULL");
  }
  auto key = spec.key;
  if (spec.mode == load_mode::history) key.emplace_back(offset_column);
  if (has_key) sql += ", PRIMARY KEY (" + list_of(key) + ')';
  sql += ')';
  s_->add("SAVEPOINT mr_ddl");
  s_->add("CREATE SCHEMA IF NOT EXISTS " + pq::quoted_name(name_.schema));
  s_->add("RELEASE mr_ddl");
  if (auto bad =
          s_->flush("creating schema " + pq::quoted_name(name_.schema))) { // it may be there, and we not allowed to make one
    if (bad->said.sqlstate != "42501") return bad->why;
    if (auto worse = s_->run("ROLLBACK TO mr_ddl; RELEASE mr_ddl", "undoing DDL")) return worse->why;
  }
  // Closing a version must not walk all versions of its key.
  s_->add(sql);
  if (spec.mode == load_mode::history)
    s_->add("CREATE INDEX ON " + name_.quoted() + " (" + list_of(spec.key) + ") WHERE " + pq::quoted_name(current_column));
  auto bad = s_->flush("creating table " + name_.quoted());
  if (!bad) return success();
  if (bad->said.sqlstate == "42501" || bad->said.sqlstate == "3F000")
    return make_failure(errc::refused, bad->why.message + "; expected: CREATE SCHEMA IF NOT EXISTS " +
                                           pq::quoted_name(name_.schema) + ", GRANT USAGE, CREATE ON SCHEMA " +
                                           pq::quoted_name(name_.schema) +
                                           " to the role of the connection, or the table as: " + sql);
  if (bad->what == blame::row) return make_failure(errc::unavailable, bad->why.message); // made by two at once
  return make_failure(is(bad->why, errc::unavailable) ? errc::unavailable : errc::refused, bad->why.message);
}

result<void> target_table::add_column(const wanted& column, bool& added) {
  auto said =
      alter("ALTER TABLE " + name_.quoted() + " ADD COLUMN IF NOT EXISTS " + pq::quoted_name(column.name) + ' ' + column.type);
  if (!said) return said.error();
  if (said.value()) blocked_[column.name] = "the table cannot get it: " + *said.value();
  added = true;
  return success();
}

result<void> target_table::attach() {
  forget();
  const auto& first = spec();
  for (const auto& [number, other] : specs_)
    if (other->mode != first.mode || other->key != first.key)
      return make_failure(errc::refused, at() + " is written from " + first.name + " and from " + other->name +
                                             " with different modes or keys; expected the same, or two tables");
  for (const auto* part : {&name_.table, &name_.schema})
    if (const auto why = unusable(*part); !why.empty())
      return make_failure(errc::refused, at() + " cannot be a load's table: " + why);
  if (name_.table == "_millrace_offsets")
    return make_failure(errc::refused, at() + " cannot be a load's table: it keeps where the loads stand");
  if (auto ok = read(); !ok) return ok;
  for (const auto& [number, each] : specs_) {
    const auto fields = declared_fields(*each);
    const auto is_field = [&](const std::string& k) {
      return std::any_of(fields.begin(), fields.end(), [&](const auto& f) { return f.name == k; });
    };
    bool altered = false;
    if (!shape_.exists) {
      // A key that a step makes has no type before its first row: the table then waits for that row.
      if (fields.empty() || (keyed(each->mode) && !std::all_of(each->key.begin(), each->key.end(), is_field))) continue;
      std::vector<wanted> columns;
      for (const auto& f : fields) columns.push_back({f.name, type_of(f.type), f.required});
      if (auto ok = create(*each, columns); !ok) return ok;
      altered = true;
    } else {
      for (const auto& f : fields)
        if (!shape_.find(f.name))
          if (auto ok = add_column({f.name, type_of(f.type), false}, altered); !ok) return ok;
      if (each->mode == load_mode::soft_delete && !shape_.find(deleted_column))
        if (auto ok = add_column({std::string(deleted_column), "boolean NOT NULL DEFAULT false", true}, altered); !ok) return ok;
    }
    if (altered)
      if (auto ok = look_again(); !ok) return ok;
  }
  if (!shape_.exists) return success();
  for (const auto b : bookkeeping_columns(first.mode))
    if (!shape_.find(b))
      return make_failure(errc::refused, at() + " has no column " + pq::quoted_name(b) + ", which the mode " +
                                             to_string(first.mode) + " needs; name another table, or one that is not there yet");
  if (auto ok = check_rights(first); !ok) return ok;
  if (first.key.empty()) return success(); // append has none; else it is the source's, and comes with the first row
  return check_mode(first, first.key);
}

result<std::string> target_table::wanted_type(const table_spec& spec, const transform::column& c, const cell* value) {
  for (const auto& f : declared_fields(spec))
    if (f.name == c.name) return std::string(type_of(f.type));
  if (!c.source_type.empty() && c.type) {
    // The type by its own name, if this database has it: an enum, an extension's, a domain.
    s_->add("SAVEPOINT mr_ddl");
    std::string there;
    s_->add("SELECT to_regtype(" + s_->link().quote_text(c.source_type) + ") IS NOT NULL",
            [&](const pq::query_result& r) { there = r.at(0, 0); });
    s_->add("RELEASE mr_ddl");
    if (auto bad = s_->flush("looking for type " + c.source_type)) {
      if (!s_->alive() || pq::is_transient(bad->said.sqlstate)) return bad->why;
      if (auto worse = s_->run("ROLLBACK TO mr_ddl; RELEASE mr_ddl", "undoing a question")) return worse->why;
    }
    return there == "t" ? c.source_type : std::string(type_of(*c.type));
  }
  return value && has_value(*value) ? std::string(type_of(value->k)) : std::string();
}

result<void> target_table::widen(const table_spec& spec, const transform::table_layout& layout) {
  if (spec.has_schema || spec.schema_change != schema_change_policy::add_columns) return success();
  bool moved = false;
  for (const auto& c : layout.columns) {
    const auto* there = shape_.find(c.name);
    if (!there || c.source_type.empty() || there->generated || !widens(there->type, c.source_type)) continue;
    if (!kept_types_.emplace(c.name, c.source_type).second) continue;
    if (!shape_.owner) continue; // its values are refused one by one if they do not fit
    auto said = alter("ALTER TABLE " + name_.quoted() + " ALTER COLUMN " + pq::quoted_name(c.name) + " TYPE " + c.source_type);
    if (!said) return said.error();
    moved = moved || !said.value();
  }
  return moved ? look_again() : success();
}

std::unique_ptr<layout_plan> target_table::make_plan(const table_spec& spec, const transform::table_layout_ptr& layout) const {
  auto plan = std::make_unique<layout_plan>();
  plan->spec = &spec;
  plan->layout = layout;
  plan->columns.resize(layout->columns.size());
  plan->subsets.emplace_back(layout->columns.size(), true);
  const auto fields = declared_fields(spec);
  for (std::uint32_t i = 0; i < layout->columns.size(); ++i) {
    auto& out = plan->columns[i];
    const auto& column = layout->columns[i];
    const auto* there = shape_.find(column.name);
    out.why = unusable(column.name);
    out.reason = "constraint";
    for (const auto b : bookkeeping_columns(spec.mode))
      if (column.name == b) out.why = "the mode " + std::string(to_string(spec.mode)) + " keeps its own column of that name";
    if (const auto known = blocked_.find(column.name); out.why.empty() && known != blocked_.end() && !there)
      out.why = known->second;
    if (!out.why.empty()) {
      out.how = layout_plan::use::blocked;
    } else if (there) {
      out.how = there->generated ? layout_plan::use::skip : layout_plan::use::write;
      out.column = static_cast<std::uint32_t>(shape_.index_of(column.name));
      out.boolean = there->base == oid_bool ? boolean_text::letter : boolean_text::word;
      out.binary = binary_form_of(there->base, there->is_enum);
      out.takes_blob = there->base == oid_bytea;
      out.dated = there->base == oid_date && column.type != data_type::date;
      if (there->base == oid_numeric && there->type != column.source_type && there->type.back() == ')') {
        const auto comma = there->type.rfind(',');
        out.scale = 0;
        if (comma != std::string::npos)
          std::from_chars(there->type.data() + comma + 1, there->type.data() + there->type.size(), out.scale);
      }
    } else if (!spec.has_schema && spec.schema_change == schema_change_policy::ignore) {
      out.how = layout_plan::use::skip;
    } else if (!spec.has_schema && spec.schema_change == schema_change_policy::quarantine) {
      out.how = layout_plan::use::blocked;
      out.reason = "schema";
      out.why = "the table has no such column and schema_change is quarantine";
    } else {
      out.how = layout_plan::use::absent;
    }
    if (out.how == layout_plan::use::write)
      plan->written.push_back(i);
    else if (out.how != layout_plan::use::skip)
      plan->watched.push_back(i);
  }
  return plan;
}

layout_plan* target_table::plan_of(const transform::table_layout_ptr& layout) {
  if (last_ && last_layout_ == layout.get()) return last_;
  if (!shape_.exists) return nullptr;
  auto& known = by_layout_[layout.get()];
  if (!known.second) {
    const auto* spec = spec_of(*layout);
    const auto same = std::find_if(plans_.begin(), plans_.end(), [&](const auto& p) {
      const auto& l = *p->layout;
      return p->spec == spec && l.key == layout->key && l.partial_inserts == layout->partial_inserts &&
             std::equal(l.columns.begin(), l.columns.end(), layout->columns.begin(), layout->columns.end(),
                        [](const auto& a, const auto& b) {
                          return a.name == b.name && a.type == b.type && a.source_type == b.source_type;
                        });
    });
    if (same != plans_.end()) {
      known = {layout, same->get()};
    } else {
      plans_.push_back(make_plan(*spec, layout));
      known = {layout, plans_.back().get()};
    }
  }
  last_layout_ = layout.get();
  return last_ = known.second;
}

result<target_table::planned> target_table::make_room(const transform::row_set& set, const transform::row& r) {
  const auto& layout = set.layouts[r.layout];
  const bool writes = r.op == operation::insert || r.op == operation::update;
  const auto* cells = set.cells_of(r);
  const bool new_layout = !last_ || last_layout_ != layout.get();
  if (new_layout)
    if (auto ok = adopt_key(*layout); !ok) return ok.error();
  if (!known_)
    if (auto ok = read(); !ok) return ok.error();
  const auto& spec = *spec_of(*layout);
  if (new_layout && by_layout_.find(layout.get()) == by_layout_.end()) {
    if (by_layout_.size() >= layouts_max) forget_plans();
    if (!shape_.exists) {
      if (!writes) return planned{};
      std::vector<wanted> columns;
      const auto fields = declared_fields(spec);
      for (std::size_t i = 0; i < layout->columns.size(); ++i) {
        const auto& c = layout->columns[i];
        if (!unusable(c.name).empty()) continue;
        const auto own = bookkeeping_columns(spec.mode);
        if (std::find(own.begin(), own.end(), c.name) != own.end()) continue;
        auto type = wanted_type(spec, c, &cells[i]);
        if (!type) return type.error();
        if (type.value().empty()) continue;
        const auto field = std::find_if(fields.begin(), fields.end(), [&](const auto& f) { return f.name == c.name; });
        columns.push_back({c.name, type.value(), field != fields.end() && field->required});
      }
      const bool has_key = std::all_of(spec.key.begin(), spec.key.end(), [&](const auto& k) {
        return std::any_of(columns.begin(), columns.end(), [&](const auto& c) { return c.name == k; });
      });
      if (columns.empty() || (keyed(spec.mode) && !has_key))
        return planned{nullptr, row_error{"constraint",
                                          "table " + name_.quoted() + " is not there yet and a row without any value" +
                                              (columns.empty() ? "" : " of its key") + " cannot say what columns it has",
                                          "", "", ""}};
      if (auto ok = create(spec, columns); !ok) return ok.error();
      if (auto ok = look_again(); !ok) return ok.error();
      if (auto ok = check_rights(spec); !ok) return ok.error();
    }
    if (auto ok = check_mode(spec, spec.key); !ok) return ok.error();
    if (writes)
      if (auto ok = widen(spec, *layout); !ok) return ok.error();
    bool added = false;
    auto* plan = plan_of(layout);
    if (writes)
      for (const auto i : plan->watched) {
        if (plan->columns[i].how != layout_plan::use::absent) continue;
        auto type = wanted_type(spec, layout->columns[i], nullptr); // typed ones at once, others with their first value
        if (!type) return type.error();
        if (!type.value().empty())
          if (auto ok = add_column({layout->columns[i].name, type.value(), false}, added); !ok) return ok.error();
      }
    if (added)
      if (auto ok = look_again(); !ok) return ok.error();
    plan = plan_of(layout);
    for (const auto i : plan->written)
      if (shape_.columns[plan->columns[i].column].identity_always && keyed(spec.mode) && !plan->in_key(i))
        return make_failure(errc::refused, at() + ": column " + pq::quoted_name(layout->columns[i].name) +
                                               " is GENERATED ALWAYS AS IDENTITY and cannot be updated; expected ALTER TABLE " +
                                               name_.quoted() + " ALTER COLUMN " + pq::quoted_name(layout->columns[i].name) +
                                               " SET GENERATED BY DEFAULT");
    if (keyed(spec.mode))
      if (auto ok = ready_stage(); !ok) return ok.error();
  }
  auto* plan = plan_of(layout);
  if (!plan) return planned{};
  if (writes && !plan->watched.empty()) {
    bool added = false;
    for (const auto i : plan->watched) {
      if (plan->columns[i].how != layout_plan::use::absent || !has_value(cells[i])) continue;
      auto type = wanted_type(spec, layout->columns[i], &cells[i]);
      if (!type) return type.error();
      if (auto ok = add_column({layout->columns[i].name, type.value(), false}, added); !ok) return ok.error();
    }
    if (added) {
      if (auto ok = look_again(); !ok) return ok.error();
      plan = plan_of(layout);
      if (keyed(spec.mode))
        if (auto ok = ready_stage(); !ok) return ok.error();
    }
  }
  return planned{plan, {}};
}

result<void> target_table::ready_stage() {
  std::vector<std::string> columns;
  for (std::size_t i = 0; i < shape_.columns.size(); ++i)
    columns.push_back("c" + std::to_string(i) + ' ' + shape_.columns[i].staged);
  for (std::size_t i = 0; i < spec().key.size(); ++i)
    if (const auto* c = shape_.find(spec().key[i])) columns.push_back("b" + std::to_string(i) + ' ' + c->staged);
  if (columns == staged_) return success();
  std::string sql = "CREATE TEMPORARY TABLE " + stage() + "(g integer, o bigint";
  for (const auto& c : columns) sql += ", " + c;
  s_->add("DROP TABLE IF EXISTS " + stage());
  s_->add(sql + ") ON COMMIT DELETE ROWS");
  staged_.clear();
  staged_now_ = true;
  if (auto bad = s_->flush("creating a temporary table for " + name_.quoted())) {
    if (bad->said.sqlstate == "42501")
      return make_failure(errc::refused, bad->why.message + "; expected: GRANT TEMPORARY ON DATABASE " +
                                             pq::quoted_name(PQdb(s_->link().get())) + " to the role of the connection");
    return bad->why;
  }
  staged_ = std::move(columns);
  stage_used = false;
  return success();
}

std::optional<row_error> target_table::check(const layout_plan& plan, const transform::row_set& set,
                                             const transform::row& r) const {
  const auto* cells = set.cells_of(r);
  const auto& layout = *plan.layout;
  const bool writes = r.op == operation::insert || r.op == operation::update;
  const auto column_name = [&](std::uint32_t i) { return pq::quoted_name(layout.columns[i].name); };
  const auto refuse = [&](std::uint32_t i, std::string reason, std::string why, std::string constraint = {}) {
    return row_error{std::move(reason), "table " + name_.quoted() + ": column " + column_name(i) + ": " + std::move(why), "",
                     std::move(constraint), layout.columns[i].name};
  };
  const auto nul = [](const cell& c) { return c.k == cell::kind::text && c.size && std::memchr(c.p, 0, c.size) != nullptr; };
  constexpr const char* nul_text = "the text holds a NUL byte (0x00), which PostgreSQL cannot keep";
  if (keyed(plan.spec->mode)) {
    if (layout.key.size() != plan.spec->key.size())
      return row_error{"constraint", "table " + name_.quoted() + ": the row has no key", "", "", ""};
    for (std::size_t k = 0; k < layout.key.size(); ++k) {
      const auto i = layout.key[k];
      if (plan.columns[i].how != layout_plan::use::write)
        return refuse(i, "constraint",
                      "it is in the key and cannot be written" + (plan.columns[i].why.empty() ? "" : ": " + plan.columns[i].why));
      if (writes && !has_value(cells[i]))
        return refuse(i, "constraint", "it is in the key and null; expected a value", "NOT NULL");
      if (nul(cells[i]) || (r.has_before_key && nul(set.cells[r.before_key + k]))) return refuse(i, "type", nul_text);
    }
  }
  if (!writes) return {};
  for (const auto i : plan.written) {
    const auto& c = cells[i];
    const auto& p = plan.columns[i];
    if (c.k == cell::kind::text) {
      if (nul(c)) return refuse(i, "type", nul_text);
      if (p.scale >= 0 && rounds(c.view(), p.scale))
        return refuse(i, "type",
                      "the table keeps " + std::to_string(p.scale) + " digits behind the point and would round " +
                          std::string(c.view().substr(0, 64)));
      if (p.dated && c.view().find(':') != std::string_view::npos)
        return refuse(i, "type", "it is a date and would lose the time of day of " + std::string(c.view().substr(0, 64)));
    } else if (c.k == cell::kind::blob && !p.takes_blob) {
      return refuse(i, "type", "it is " + shape_.columns[p.column].type + "; found bytes, expected a bytea column for them");
    }
  }
  for (const auto i : plan.watched)
    if (plan.columns[i].how == layout_plan::use::blocked && has_value(cells[i]))
      return refuse(i, plan.columns[i].reason, "it cannot be written: " + plan.columns[i].why);
  return {};
}

} // namespace millrace::actors::load::postgres
