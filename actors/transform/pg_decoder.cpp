#include "actors/transform/pg_decoder.hpp"

#include "actors/transform/key.hpp"

#include <algorithm>

namespace millrace::actors::transform {

namespace {
constexpr std::uint32_t no_column = ~std::uint32_t{0};

void append_shown(std::string& out, std::string_view text) {
  constexpr std::size_t shown = 80;
  std::size_t n = std::min(text.size(), shown);
  while (n > 0 && n < text.size() && (static_cast<unsigned char>(text[n]) & 0xc0) == 0x80) --n; // whole characters only
  append_json_string(out, text.substr(0, n));
  if (n < text.size()) out += "...";
}
std::string found(std::string_view text, std::string_view expected) {
  std::string out = "found ";
  append_shown(out, text);
  return out += ", expected " + std::string(expected);
}
} // namespace

pg_decoder::pg_decoder(const table_spec& table, const record_decoder& schema, pg_table source)
    : source_(std::move(source)), columns_(schema.columns()), defaults_(schema.defaults()) {
  const bool takes_unknown = !table.has_schema || table.schema_change == schema_change_policy::add_columns;
  const auto taken = [&](const std::string& name) {
    return std::any_of(columns_.begin(), columns_.end(), [&](const frame_column& c) { return c.name == name; });
  };
  for (const pg_column& c : source_.columns) {
    plan p;
    p.kind = c.kind;
    bool named = false;
    for (std::uint32_t i = 0; i < schema.columns().size(); ++i) {
      const field_spec& field = *columns_[i].field;
      const bool pointer = !field.from.empty() && field.from[0] == '/';
      target to{i, &field, {}};
      if (pointer) to.path = split_pointer(field.from);
      if ((pointer ? to.path.front() : field.from.empty() ? field.name : field.from) != c.name) continue;
      named = true;
      if (pointer) to.path.erase(to.path.begin());
      const bool as_it_is = to.path.empty() && field.type == type_of(c.kind) && field.format.empty();
      if (as_it_is) to.field = nullptr;
      p.targets.push_back(std::move(to));
    }
    if (!named && takes_unknown && !taken(c.name)) { // taken: the schema fills a column of this name from another one
      if (columns_.size() < max_columns) {
        frame_column add;
        add.name = c.name;
        add.type = type_of(c.kind);
        add.source_type = c.source_type;
        p.targets.push_back({static_cast<std::uint32_t>(columns_.size()), nullptr, {}});
        columns_.push_back(std::move(add));
        defaults_.push_back(cell::null());
      } else {
        p.refused = refuses_ = true;
      }
    } else if (!named && table.has_schema && table.schema_change == schema_change_policy::quarantine) {
      p.refused = refuses_ = true;
    }
    if (p.targets.size() == 1 && !p.targets[0].field && p.targets[0].path.empty())
      p.direct = static_cast<int>(p.targets[0].column);
    plans_.push_back(std::move(p));
  }
}

void pg_decoder::set_key(const std::vector<std::string>& key) {
  key_.assign(key.size(), -1);
  blind_.clear();
  blind_column_.clear();
  for (plan& p : plans_) p.in_key = false;
  for (std::size_t k = 0; k < key.size(); ++k) {
    if (key[k].empty()) continue;
    for (std::uint32_t i = 0; i < columns_.size(); ++i)
      if (columns_[i].name == key[k]) key_[k] = static_cast<int>(i);
    if (key_[k] < 0) continue;
    for (std::size_t s = 0; s < plans_.size(); ++s) {
      const bool feeds = std::any_of(plans_[s].targets.begin(), plans_[s].targets.end(),
                                     [&](const target& t) { return static_cast<int>(t.column) == key_[k]; });
      if (!feeds) continue;
      plans_[s].in_key = true;
      if (source_.columns[s].identity || source_.replica_identity == "full" || !blind_.empty()) continue;
      blind_column_ = key[k];
      blind_ = "the key's column \"" + source_.columns[s].name + "\" is not in the replica identity (" +
               source_.replica_identity + ") of " + source_.full +
               ", so the source does not say which row this was; expected ALTER TABLE ... REPLICA IDENTITY FULL (or USING INDEX "
               "over the key) in the source, or a key of columns that are in it";
    }
  }
}

bool pg_decoder::is_key(std::uint32_t column) const {
  return std::find(key_.begin(), key_.end(), static_cast<int>(column)) != key_.end();
}

void pg_decoder::note(std::uint32_t column, std::string reason, std::string message, std::string name) {
  problems_.push_back({column, {std::move(reason), std::move(message), std::move(name)}});
}

bool pg_decoder::finish(decode_problem& problem) const {
  if (problems_.empty()) return true;
  const auto first = std::min_element(problems_.begin(), problems_.end(),
                                      [](const noted_problem& a, const noted_problem& b) { return a.column < b.column; });
  problem = first->problem;
  return false;
}

void pg_decoder::put(frame& f, std::uint32_t slot, const plan& p, const pg_column& c, const cell& raw, arena& memory) {
  if (p.direct >= 0) {
    cell& to = f.at(slot, static_cast<std::uint32_t>(p.direct));
    if (raw.k != cell::kind::text) {
      to = raw;
      return;
    }
    const char* const expected = to_cell(p.kind, raw, memory, to);
    if (!expected) return;
    to = cell::null();
    if (whole_ || p.in_key)
      note(static_cast<std::uint32_t>(p.direct), "type", found(raw.view(), c.source_type + ": " + expected),
           columns_[static_cast<std::size_t>(p.direct)].name);
    return;
  }
  if (p.targets.empty()) return;
  cell value;
  if (raw.k == cell::kind::text) {
    if (const char* const expected = to_cell(p.kind, raw, memory, value)) {
      for (const target& to : p.targets) {
        f.at(slot, to.column) = cell::null();
        if (whole_ || p.in_key)
          note(to.column, "type", found(raw.view(), c.source_type + ": " + expected), columns_[to.column].name);
      }
      return;
    }
  }
  for (const target& to : p.targets) put(f, slot, to, raw, value, memory);
}

/// A declared column of another type than the source's, or a value inside of JSON.
void pg_decoder::put(frame& f, std::uint32_t slot, const target& to, const cell& raw, const cell& value, arena& memory) {
  cell& out = f.at(slot, to.column);
  const auto bad = [&](std::string message) {
    out = cell::null();
    if (whole_ || is_key(to.column)) note(to.column, "type", std::move(message), columns_[to.column].name);
  };
  if (raw.k == cell::kind::missing) {
    out = raw;
    return;
  }
  std::string why;
  if (!to.path.empty()) { // always with a field: a pointer stands in a schema
    out = defaults_[to.column];
    if (raw.k == cell::kind::null) return;
    json_scanner s(raw.view());
    json_value root, inner;
    if (!s.value(root) || !s.at_end()) {
      s.fail("nothing behind the value");
      return bad(found(raw.view(), "JSON, which " + to.field->from + " points into; " + s.error()));
    }
    if (!find_pointer(root, to.path, memory, inner)) return;
    if (inner.kind == json_kind::null)
      out = cell::null();
    else if (!coerce(inner, {to.field->type, to.field->format}, memory, out, why))
      bad(std::move(why));
    return;
  }
  if (raw.k == cell::kind::null) {
    out = raw;
  } else if (!to.field) {
    out = value;
  } else if (to.field->type == data_type::text) {
    out = raw;
  } else if (!coerce(value, {to.field->type, to.field->format}, memory, out, why)) {
    bad(std::move(why));
  }
}

bool pg_decoder::decode(frame& f, std::uint32_t slot, const pg_tuple& tuple, arena& memory, decode_problem& problem) {
  problems_.clear();
  whole_ = true;
  for (std::size_t i = 0; i < plans_.size(); ++i) put(f, slot, plans_[i], source_.columns[i], tuple[i], memory);
  if (refuses_)
    for (std::size_t i = 0; i < plans_.size(); ++i)
      if (plans_[i].refused)
        note(no_column, "schema",
             "found the column \"" + source_.columns[i].name + "\", expected only " +
                 (columns_.size() >= max_columns ? std::to_string(max_columns) + " columns" : "columns that the schema names"),
             source_.columns[i].name);
  return finish(problem);
}

bool pg_decoder::decode_old(frame& f, std::uint32_t slot, const pg_tuple& tuple, bool key_only, arena& memory,
                            decode_problem& problem) {
  problems_.clear();
  whole_ = false;
  for (std::size_t i = 0; i < plans_.size(); ++i)
    if (!key_only || plans_[i].in_key) put(f, slot, plans_[i], source_.columns[i], tuple[i], memory);
  return finish(problem);
}

std::uint64_t pg_decoder::key_hash(frame& f, std::uint32_t slot) const {
  for (const noted_problem& p : problems_)
    if (p.column != no_column && is_key(p.column)) return 0; // could not be read, whatever its cell says
  return hash_key(f.cells(slot), key_);
}

} // namespace millrace::actors::transform
