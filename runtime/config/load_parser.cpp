#include "runtime/config/load_parser.hpp"

#include "actors/transform/transformer.hpp"
#include "runtime/config/postgres_parser.hpp"

#include <algorithm>
#include <array>

namespace millrace::runtime::config {
namespace {

using actors::load_mode;
using actors::load_spec;
using actors::schema_change_policy;
using actors::table_spec;

const std::vector<std::string_view> mode_names{"upsert", "append", "soft_delete", "history"};
constexpr std::array modes{load_mode::upsert, load_mode::append, load_mode::soft_delete, load_mode::history};
const std::vector<std::string_view> change_names{"add_columns", "ignore", "quarantine"};
constexpr std::array change_policies{schema_change_policy::add_columns, schema_change_policy::ignore,
                                     schema_change_policy::quarantine};

/// Columns that a mode adds to the destination's table (interfaces.md, "Changes").
std::vector<std::string_view> columns_of_mode(load_mode mode) {
  if (mode == load_mode::soft_delete) return {"_deleted"};
  if (mode == load_mode::history) return {"valid_from", "valid_to", "current", "_offset"};
  return {};
}

/// What a load says for all its tables and a table may say for itself; places are kept for the checks that need both.
struct table_settings {
  load_mode mode = load_mode::upsert;
  mark mode_at;
  bool mode_failed = false; ///< a mistake is noted already
  std::vector<std::pair<std::string, mark>> key;
  bool key_failed = false; ///< a mistake is noted already
  bool has_schema = false, schema_failed = false;
  std::vector<actors::field_spec> schema;
  std::optional<schema_change_policy> schema_change;
  std::vector<actors::transform_step> transform;
};

void read_settings(document_reader& doc, section& s, table_settings& out) {
  if (auto* n = s.take("mode")) {
    const auto mode = doc.choice(*n, s.inside("mode"), mode_names);
    if (mode) out.mode = modes[*mode];
    out.mode_failed = !mode;
    out.mode_at = n->at;
  }
  if (s.has("key")) {
    auto before = doc.mistake_count();
    auto* n = s.take("key");
    out.key = n ? doc.texts(*n, s.inside("key")) : decltype(out.key){};
    if (n && out.key.empty() && doc.mistake_count() == before)
      doc.wrong(n->at, s.inside("key") + " is empty; expected the columns that name a row, or the key left out (mode append)");
    out.key_failed = doc.mistake_count() != before;
    for (std::size_t i = 0; i < out.key.size(); ++i)
      for (std::size_t j = 0; j < i; ++j)
        if (same_identifier(out.key[i].first, out.key[j].first))
          doc.wrong(out.key[i].second, s.inside("key") + " has '" + out.key[i].first + "' twice; expected each column once");
  } else {
    s.take("key");
  }
  if (s.has("schema")) {
    out.has_schema = true;
    auto before = doc.mistake_count();
    auto* n = s.take("schema");
    out.schema = n ? read_schema(doc, *n, s.inside("schema")) : decltype(out.schema){};
    out.schema_failed = doc.mistake_count() != before;
  } else {
    s.take("schema");
  }
  if (auto* n = s.take("schema_change"))
    if (auto policy = doc.choice(*n, s.inside("schema_change"), change_names)) out.schema_change = change_policies[*policy];
  if (auto* n = s.take("transform")) out.transform = read_steps(doc, *n, s.inside("transform"));
}

/// The checks that need key, schema and mode together. `what` names the load or its table.
/// `has_keys`: the source's tables have keys of their own.
void check_settings(document_reader& doc, const table_settings& t, bool has_keys, bool to_postgres, const std::string& what,
                    mark at) {
  bool needs_key = !t.mode_failed && t.mode != load_mode::append && (!has_keys || t.has_schema);
  if (needs_key && t.key.empty() && !t.key_failed)
    doc.wrong(t.mode_at.line ? t.mode_at : at,
              what + " has mode " + actors::to_string(t.mode) +
                  " and no key; expected `key: [COLUMN, ...]`, or mode append, which needs none" +
                  (has_keys ? " (without a `schema` the key is the source table's)" : ""));
  auto has_column = [&](std::string_view name) {
    return std::any_of(t.schema.begin(), t.schema.end(), [&](const auto& f) { return same_identifier(f.name, name); });
  };
  if (t.has_schema && !t.schema.empty()) {
    std::vector<std::string_view> names;
    for (const auto& f : t.schema) names.push_back(f.name);
    for (const auto& [column, place] : t.key)
      if (!has_column(column))
        doc.wrong(place, what + ": key column '" + column + "' is not in its schema; expected one of " + listed(names) +
                             suggestion(column, names));
  }
  if (to_postgres) {
    auto fits = [&](std::string_view name, mark place) {
      if (auto mistake = identifier_mistake(name); !mistake.empty())
        doc.wrong(place, what + ": column '" + std::string(name.substr(0, 70)) + "': " + mistake + "; expected another name");
    };
    for (const auto& f : t.schema) fits(f.name, f.where);
    for (const auto& step : t.transform)
      for (const auto& [first, second] : step.assignments) {
        if (step.kind == actors::step_kind::set) fits(first, step.at);
        if (step.kind == actors::step_kind::rename) fits(second, step.at);
      }
  }
  for (auto reserved : columns_of_mode(t.mode)) {
    auto clash = [&](std::string_view name, mark place, const char* how) {
      if (same_identifier(name, reserved))
        doc.wrong(place, what + ": " + how + " '" + std::string(name) + "' clashes with the column that mode " +
                             actors::to_string(t.mode) + " adds; expected another name");
    };
    for (const auto& f : t.schema) clash(f.name, f.where, "column");
    for (const auto& step : t.transform) {
      if (step.kind == actors::step_kind::set)
        for (const auto& [column, expression] : step.assignments) clash(column, step.at, "set column");
      if (step.kind == actors::step_kind::rename)
        for (const auto& [from, to] : step.assignments) clash(to, step.at, "renamed column");
    }
  }
}

table_spec table_of(const table_settings& t, bool has_keys, std::string name, std::string to, mark where) {
  table_spec out;
  out.name = std::move(name);
  out.to = std::move(to);
  out.mode = t.mode;
  for (const auto& [column, at] : t.key) {
    // The schema's spelling, so that everything behind may compare exactly.
    auto f = std::find_if(t.schema.begin(), t.schema.end(),
                          [&, &column = column](const auto& field) { return same_identifier(field.name, column); });
    out.key.push_back(f == t.schema.end() ? column : f->name);
  }
  out.key_from_source = has_keys && out.key.empty() && !t.has_schema;
  out.has_schema = t.has_schema;
  out.schema = t.schema;
  out.schema_change = t.schema_change.value_or(t.has_schema ? schema_change_policy::ignore : schema_change_policy::add_columns);
  out.transform = t.transform;
  out.where = where;
  return out;
}

struct destination_settings {
  actors::destination_spec spec;
  std::string table;
  mark table_at;
};

destination_settings read_destination(document_reader& doc, const yaml_node& n, const std::string& what) {
  destination_settings out;
  section s(doc, n, what);
  if (!s.ok()) return out;
  bool is_postgres = false;
  if (auto* type = s.need("type", "sqlite or postgres")) {
    if (type->is_scalar() && (type->text == "mariadb" || type->text == "file")) {
      doc.wrong(type->at,
                s.inside("type") + " " + described(*type) + " is not available in this version; expected sqlite or postgres");
      return out; // its other keys are its own
    }
    auto chosen = doc.choice(*type, s.inside("type"), {"sqlite", "postgres"});
    is_postgres = chosen && *chosen == 1;
    if (chosen) out.spec.type = is_postgres ? "postgres" : "sqlite";
  }
  if (auto* table = s.take("table"))
    if (auto value = doc.text(*table, s.inside("table"))) out.table = *value, out.table_at = table->at;
  if (is_postgres) {
    out.spec.connection = read_connection(doc, s);
    if (auto* v = s.take("schema"))
      if (auto value = doc.text(*v, s.inside("schema"))) {
        out.spec.schema = *value;
        if (auto mistake = identifier_mistake(*value); !mistake.empty())
          doc.wrong(v->at, s.inside("schema") + " is " + described(*v) + ": " + mistake + "; expected a schema's name");
      }
    s.refuse("path", "is for SQLite (type sqlite); expected `connection`");
  } else {
    if (auto* path = s.need("path", "the database's file"))
      if (auto value = doc.path(*path, s.inside("path"))) out.spec.path = *value;
    s.refuse("schema", "names a schema, which SQLite does not have; expected the key left out");
    s.refuse("connection", "is for database servers; expected `path`");
  }
  s.finish();
  return out;
}

/// "public.orders" goes to table "orders".
std::string last_part(const std::string& name) { return name.substr(name.rfind('.') + 1); }

void check_postgres_table(document_reader& doc, const std::string& to, mark at, const std::string& what) {
  auto mistake = identifier_mistake(table_part(to));
  if (mistake.empty() && to.find('.') != std::string::npos) mistake = identifier_mistake(to.substr(0, to.find('.')));
  if (!mistake.empty())
    doc.wrong(at, what + " is '" + to + "': " + mistake + "; expected TABLE or SCHEMA.TABLE");
  else if (table_part(to).starts_with("_millrace"))
    doc.wrong(at, what + " is '" + to + "', a reserved name; expected one that does not begin with _millrace");
}

void check_table_name(document_reader& doc, const std::string& to, bool is_postgres, mark at, const std::string& what) {
  if (is_postgres) return check_postgres_table(doc, to, at, what);
  if (to.empty() || to.find('\0') != std::string::npos)
    doc.wrong(at, what + " is empty; expected the destination table's name");
  else if (same_identifier(to.substr(0, 9), "_millrace") || same_identifier(to.substr(0, 7), "sqlite_"))
    doc.wrong(at, what + " is '" + to + "', a reserved name; expected one that begins neither with _millrace nor with sqlite_");
}

/// Compiles every step of the load and notes what does not compile. Works on a copy without the mistakes that are noted
/// already, so that they do not hide others.
void compile_steps(document_reader& doc, load_spec load, std::uint64_t max_record_bytes) {
  for (auto& t : load.tables) {
    if (t.has_schema)
      std::erase_if(t.key, [&](const auto& column) {
        return std::none_of(t.schema.begin(), t.schema.end(), [&](const auto& f) { return f.name == column; });
      });
    if (t.key.empty()) t.mode = load_mode::append;
    if (t.has_schema && t.schema.empty()) t.has_schema = false;
  }
  actors::transform::transform_limits limits;
  limits.max_record_bytes = max_record_bytes;
  std::vector<actors::transform::step_error> errors;
  actors::transform::transformer::make(load, limits, errors);
  std::vector<actors::transform::step_error> said;
  for (auto& e : errors) {
    auto same = [&](const auto& other) {
      return other.where.line == e.where.line && other.where.column == e.where.column && other.message == e.message;
    };
    if (std::any_of(said.begin(), said.end(), same)) continue; // tables that share the load's steps
    said.push_back(e);
    doc.wrong(e.where.line > 0 ? e.where : load.where, e.message);
  }
}

load_spec read_load(document_reader& doc, const yaml_node& n, std::size_t index, const actors::source_spec& source) {
  const bool from_postgres = source.type == "postgres";
  load_spec load;
  load.where = n.at;
  auto what = "loads[" + std::to_string(index) + "]";
  section s(doc, n, what);
  if (!s.ok()) return load;
  if (auto* name = s.need("name", "the load's name"))
    if (auto value = doc.name(*name, s.inside("name"))) load.name = *value, load.where = name->at;
  destination_settings destination;
  bool destination_failed = true;
  if (auto* d = s.need("destination", "a mapping such as { type: sqlite, path: FILE, table: NAME }")) {
    auto before = doc.mistake_count();
    destination = read_destination(doc, *d, s.inside("destination"));
    destination_failed = doc.mistake_count() != before;
    load.destination = destination.spec;
  }
  const bool to_postgres = destination.spec.type == "postgres";
  if (!destination.table.empty())
    check_table_name(doc, destination.table, to_postgres, destination.table_at, s.inside("destination.table"));
  table_settings common;
  read_settings(doc, s, common);

  auto add_table = [&](const table_settings& settings, std::string name, std::string to, mark at, mark to_at,
                       const std::string& inside) {
    check_settings(doc, settings, from_postgres, to_postgres, inside, at);
    for (const auto& other : load.tables) {
      // PostgreSQL tells "Orders" from "orders".
      bool same_name = !name.empty() && (from_postgres ? other.name == name : same_identifier(other.name, name));
      bool same_to = !to.empty() && (to_postgres ? other.to == to : same_identifier(other.to, to));
      if (same_name)
        doc.wrong(at, inside + ": table '" + name + "' is listed in line " + std::to_string(other.where.line) +
                          " already; expected each table once");
      else if (same_to)
        doc.wrong(to_at, inside + " goes to table '" + to + "', as does the table in line " + std::to_string(other.where.line) +
                             "; expected a table of its own for each (`to: NAME`)");
      if (same_name || same_to) break;
    }
    load.tables.push_back(table_of(settings, from_postgres, std::move(name), std::move(to), at));
  };
  /// A database's tables are known by their full names, and the load can only take what the source reads.
  auto source_table = [&](std::string name, mark at, const std::string& inside) {
    if (!from_postgres) return name;
    auto full = qualified(name);
    const auto& known = source.postgres.tables;
    if (known.empty() || std::find(known.begin(), known.end(), full) != known.end()) return full;
    std::vector<std::string_view> names(known.begin(), known.end());
    doc.wrong(at, inside + " is '" + name + "', which is not in source.tables; expected one of " + listed(names) +
                      suggestion(full, names));
    return full;
  };
  auto own_name = [&](const std::string& name) { return from_postgres ? table_part(name) : last_part(name); };

  auto* tables = s.take("tables");
  if (!s.has("tables") && from_postgres) {
    const auto& all = source.postgres.tables;
    if (all.size() > 1 && !destination.table.empty())
      doc.wrong(destination.table_at, s.inside("destination.table") + " is one table for the source's " +
                                          std::to_string(all.size()) +
                                          "; expected `tables` in the load, or nothing (each goes to the table of its own name)");
    for (const auto& name : all) {
      const bool own = all.size() == 1 && !destination.table.empty();
      auto to = own ? destination.table : table_part(name);
      if (!own) check_table_name(doc, to, to_postgres, load.where, what);
      add_table(common, name, to, load.where, load.where, what);
    }
  } else if (!s.has("tables")) {
    if (destination.table.empty() && !destination_failed)
      doc.wrong(n.at, what + ".destination has no table; expected `table: NAME`, or `tables` in the load");
    add_table(common, "", destination.table, load.where, destination.table_at, what);
  } else if (tables && !tables->is_sequence()) {
    doc.wrong(tables->at, s.inside("tables") + " is " + described(*tables) + "; expected a list of names or of mappings");
  } else if (tables) {
    if (tables->items.empty())
      doc.wrong(tables->at, s.inside("tables") + " is empty; expected a table or more, or the key left out (all changes)");
    if (tables->items.size() > 1 && !destination.table.empty())
      doc.wrong(destination.table_at,
                s.inside("destination.table") + " is one table for " + std::to_string(tables->items.size()) +
                    "; expected `to: NAME` in each entry of `tables`, or nothing (each goes to the table of its own name)");
    bool own_table = tables->items.size() == 1 && !destination.table.empty();
    for (std::size_t i = 0; i < tables->items.size(); ++i) {
      const auto& item = *tables->items[i];
      auto inside = s.inside("tables") + "[" + std::to_string(i) + "]";
      if (item.is_scalar()) {
        auto name = doc.text(item, inside);
        if (!name) continue;
        auto to = own_table ? destination.table : own_name(*name);
        check_table_name(doc, to, to_postgres, item.at, inside);
        add_table(common, source_table(*name, item.at, inside), to, item.at, item.at, inside);
        continue;
      }
      section t(doc, item, inside);
      if (!t.ok()) continue;
      auto settings = common;
      std::string name, to;
      mark to_at = item.at;
      if (auto* v = t.need("name", "the table as the source names it"))
        if (auto value = doc.text(*v, t.inside("name"))) name = *value;
      to = own_table ? destination.table : own_name(name);
      if (!name.empty()) name = source_table(name, item.at, t.inside("name"));
      if (auto* v = t.take("to")) {
        to_at = v->at;
        if (auto value = doc.text(*v, t.inside("to"))) to = *value;
      }
      if (!name.empty() || t.has("to")) check_table_name(doc, to, to_postgres, to_at, inside);
      read_settings(doc, t, settings);
      t.finish();
      add_table(settings, name, to, item.at, to_at, inside);
    }
  }

  if (auto* w = s.take("workers")) {
    section ws(doc, *w, s.inside("workers"));
    if (auto* v = ws.take("min"))
      if (auto value = doc.number(*v, ws.inside("min"), 1, 1024)) load.workers.min = static_cast<std::uint32_t>(*value);
    if (auto* v = ws.take("max")) {
      if (auto value = doc.number(*v, ws.inside("max"), 1, 1024)) {
        load.workers.max = static_cast<std::uint32_t>(*value);
        if (load.workers.max < load.workers.min)
          doc.wrong(v->at, ws.inside("max") + " is " + std::to_string(load.workers.max) + ", below min " +
                               std::to_string(load.workers.min) + "; expected min or more");
      }
    }
    if (auto* v = ws.take("target_depth"))
      if (auto value = doc.number(*v, ws.inside("target_depth"), 1, 1ull << 40)) load.workers.target_depth = *value;
    if (ws.ok()) ws.finish();
  }
  if (auto* e = s.take("on_error")) {
    section es(doc, *e, s.inside("on_error"));
    if (auto* v = es.take("action"))
      if (auto chosen = doc.choice(*v, es.inside("action"), {"quarantine", "halt"}))
        load.on_error = *chosen == 0 ? actors::error_action::quarantine : actors::error_action::halt;
    if (auto* v = es.take("later_changes_of_key"))
      if (auto chosen = doc.choice(*v, es.inside("later_changes_of_key"), {"hold", "continue"}))
        load.hold_later_changes = *chosen == 0;
    if (es.ok()) es.finish();
  }
  s.finish();
  if (!load.tables.empty()) compile_steps(doc, load, source.max_record_bytes);
  return load;
}

bool same_database(const actors::destination_spec& a, const actors::destination_spec& b) {
  if (a.type != b.type) return false;
  // Two strings may still name one database; then the destination itself finds the other load's claim.
  if (a.type == "postgres") return !a.connection.empty() && a.connection == b.connection;
  return !a.path.empty() && a.path == b.path;
}
bool same_table(const actors::destination_spec& a, const std::string& a_to, const actors::destination_spec& b,
                const std::string& b_to) {
  if (a.type != "postgres") return same_identifier(a_to, b_to);
  auto full = [](const actors::destination_spec& d, const std::string& to) {
    return to.find('.') != std::string::npos ? to : (d.schema.empty() ? "public" : d.schema) + "." + to;
  };
  return full(a, a_to) == full(b, b_to);
}

} // namespace

std::vector<load_spec> read_loads(document_reader& doc, const yaml_node& n, const actors::source_spec& source) {
  std::vector<load_spec> out;
  if (!n.is_sequence() || n.items.empty()) {
    doc.wrong(n.at, "loads is " + (n.is_sequence() ? "empty" : described(n)) + "; expected a list of one load or more");
    return out;
  }
  for (std::size_t i = 0; i < n.items.size(); ++i) {
    auto load = read_load(doc, *n.items[i], i, source);
    for (const auto& other : out) {
      if (!load.name.empty() && other.name == load.name)
        doc.wrong(load.where, "load '" + load.name + "' is defined in line " + std::to_string(other.where.line) +
                                  " already; expected each name once");
      if (!same_database(load.destination, other.destination)) continue;
      for (const auto& t : load.tables)
        for (const auto& o : other.tables)
          if (!t.to.empty() && same_table(load.destination, t.to, other.destination, o.to))
            // Two writers of one table: a rewind with truncate, or a truncate of the source, would take the other's rows.
            doc.wrong(load.where, "load '" + load.name + "' writes table '" + t.to + "', as load '" + other.name +
                                      "' does; expected a table of its own for each load");
    }
    out.push_back(std::move(load));
  }
  return out;
}

} // namespace millrace::runtime::config
