#include "actors/transform/record_decoder.hpp"

#include "actors/transform/calendar.hpp"
#include "actors/transform/envelope.hpp"
#include "actors/transform/key.hpp"

#include <algorithm>

namespace millrace::actors::transform {

namespace {
// Names beyond these are looked at anew in each record, so that a source of random keys cannot grow the table for ever.
constexpr std::size_t max_learned = 2000;

bool plain_name(std::string_view name) {
  return std::none_of(name.begin(), name.end(),
                      [](char c) { return c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20; });
}
constexpr std::uint32_t unknown_column = ~std::uint32_t{0};
} // namespace

record_decoder::record_decoder(const table_spec& table, std::vector<std::string> key,
                               std::vector<std::pair<mark, std::string>>& errors)
    : table_(table), key_names_(std::move(key)) {
  for (const field_spec& field : table.schema) {
    const auto column = static_cast<std::uint32_t>(columns_.size());
    columns_.push_back({field.name, &field, false, false});
    std::string source = field.from.empty() ? field.name : field.from;
    target to{column, {}};
    if (!field.from.empty() && field.from[0] == '/') {
      to.path = split_pointer(field.from);
      source = to.path.front();
      to.path.erase(to.path.begin());
    }
    source_field* f = find(source);
    if (!f) {
      auto made = std::make_unique<source_field>();
      made->name = source;
      made->known = true;
      f = made.get();
      fields_.emplace(f->name, std::move(made));
    }
    f->targets.push_back(std::move(to));
    f->simple = f->targets.size() == 1 && f->targets[0].path.empty();

    cell value;
    std::string why;
    if (field.default_value && !coerce(cell::text(default_memory_->copy(*field.default_value)), {field.type, field.format},
                                       *default_memory_, value, why))
      errors.emplace_back(field.where, "default of " + field.name + ": " + why);
    const bool timed = field.type == data_type::date || field.type == data_type::timestamp;
    if (const std::string bad = timed ? bad_directive(field.format) : ""; !bad.empty())
      errors.emplace_back(field.where,
                          "format of " + field.name + ": found " + bad + ", expected a strptime directive that is known");
    defaults_.push_back(value);
  }
}

void record_decoder::begin_run(frame& f) {
  ++run_;
  f.key.assign(key_names_.size(), -1);
  for (std::size_t i = 0; i < key_names_.size(); ++i)
    if (!key_names_[i].empty()) f.key[i] = f.find(key_names_[i]);
}

record_decoder::source_field* record_decoder::find(std::string_view name) {
  const auto it = fields_.find(name);
  return it == fields_.end() ? nullptr : it->second.get();
}

record_decoder::source_field* record_decoder::learn(std::string_view name) {
  if (fields_.size() >= max_learned) return nullptr;
  auto made = std::make_unique<source_field>();
  made->name = name;
  source_field* f = made.get();
  fields_.emplace(f->name, std::move(made));
  return f;
}

bool record_decoder::is_key(const frame& f, std::uint32_t column) const {
  return std::find(f.key.begin(), f.key.end(), static_cast<int>(column)) != f.key.end();
}

void record_decoder::note(std::uint32_t column, std::string reason, std::string message, std::string name) {
  problems_.push_back({column, {std::move(reason), std::move(message), std::move(name)}});
}

void record_decoder::forget(std::uint32_t column) {
  std::erase_if(problems_, [&](const noted_problem& p) { return p.column == column; });
}

void record_decoder::put(frame& f, std::uint32_t slot, std::uint32_t column, const json_value& v, arena& memory) {
  cell& to = f.at(slot, column);
  if (v.kind == json_kind::null) {
    to = cell::null();
    return;
  }
  if (marks_ != unavailable::is_text && is_unavailable(v)) {
    to = cell::null();
    if (marks_ == unavailable::is_missing) to.k = cell::kind::missing;
    return;
  }
  const field_spec* field = f.columns[column].field;
  if (!field) {
    to = infer(v, memory);
    return;
  }
  std::string why;
  if (coerce(v, {field->type, field->format}, memory, to, why)) return;
  to = cell::null();
  if (image_ == image::row || is_key(f, column)) note(column, "type", std::move(why), field->name);
}

void record_decoder::unknown(frame& f, std::uint32_t slot, source_field& field, const json_value& v, arena& memory) {
  const bool infers = !table_.has_schema || table_.schema_change == schema_change_policy::add_columns;
  if (!infers) {
    if (table_.schema_change == schema_change_policy::quarantine && image_ == image::row)
      note(unknown_column, "schema", "found the field \"" + field.name + "\", expected only fields that the schema names",
           field.name);
    return;
  }
  if (field.run != run_) {
    int column = f.find(field.name);
    if (column < 0) {
      if (f.columns.size() >= max_columns) {
        note(unknown_column, "schema",
             "found the field \"" + field.name + "\" beyond " + std::to_string(max_columns) + " columns", field.name);
        return;
      }
      column = static_cast<int>(f.add_column({field.name, nullptr, true, false}));
      for (std::size_t i = 0; i < key_names_.size(); ++i)
        if (key_names_[i] == field.name) f.key[i] = column;
    }
    field.run = run_;
    field.column = static_cast<std::uint32_t>(column);
  }
  put(f, slot, field.column, v, memory);
}

void record_decoder::apply(frame& f, std::uint32_t slot, source_field& field, const json_value& v, arena& memory) {
  const bool again = field.seen == record_; // of duplicate keys the last counts, for better or worse
  field.seen = record_;
  if (!field.known) {
    if (again && field.run == run_) forget(field.column);
    unknown(f, slot, field, v, memory);
    return;
  }
  if (field.simple) {
    if (again) forget(field.targets[0].column);
    put(f, slot, field.targets[0].column, v, memory);
    return;
  }
  for (const target& to : field.targets) {
    if (again) forget(to.column);
    json_value inner = v;
    if (!to.path.empty() && !find_pointer(v, to.path, memory, inner)) {
      f.at(slot, to.column) = defaults_[to.column];
      continue;
    }
    put(f, slot, to.column, inner, memory);
  }
}

bool record_decoder::finish(decode_problem& problem) const {
  if (problems_.empty()) return true;
  auto first = problems_.begin();
  for (auto it = problems_.begin(); it != problems_.end(); ++it)
    if (it->column < first->column) first = it;
  problem = first->problem;
  return false;
}

bool record_decoder::decode_json(frame& f, std::uint32_t slot, std::string_view object, const char* readable, image what,
                                 unavailable marks, arena& memory, decode_problem& problem) {
  ++record_;
  image_ = what;
  marks_ = marks;
  problems_.clear();
  json_scanner s(object, readable);
  const auto broken = [&] {
    problem = {"parse", "not valid JSON " + s.error(), {}};
    return false;
  };
  if (!s.take('{')) {
    json_value v;
    if (!s.value(v) || !s.at_end()) return s.fail("an object and nothing behind it"), broken();
    problem = {"parse", std::string("found ") + to_string(v.kind) + ", expected a JSON object", {}};
    return false;
  }
  std::size_t position = 0;
  if (!s.take('}')) {
    do {
      source_field* field = nullptr;
      source_field scratch;
      if (position < order_.size() && s.take_key(order_[position]->name)) {
        field = order_[position];
      } else {
        std::string_view raw;
        bool escaped = false;
        if (!s.key(raw, escaped)) return broken();
        const std::string_view name = escaped ? unescape(raw, memory) : raw;
        field = find(name);
        if (!field) field = learn(name);
        if (!field) {
          scratch.name = name;
          field = &scratch;
        } else if (plain_name(field->name)) {
          if (position < order_.size())
            order_[position] = field;
          else if (position == order_.size())
            order_.push_back(field);
        }
      }
      json_value v;
      if (!s.value(v)) return broken();
      apply(f, slot, *field, v, memory);
      ++position;
    } while (s.take(','));
    if (!s.take('}')) return s.fail("',' or '}'"), broken();
  }
  if (!s.at_end()) return s.fail("nothing behind the object"), broken();
  return finish(problem);
}

bool record_decoder::decode_csv(frame& f, std::uint32_t slot, std::string_view record, std::string_view header, arena& memory,
                                decode_problem& problem) {
  ++record_;
  image_ = image::row;
  marks_ = unavailable::is_text;
  problems_.clear();
  if (!header_read_ || header_ != header) {
    header_ = header;
    header_read_ = true;
    header_error_.clear();
    header_fields_.clear();
    std::string_view names = header_;
    if (names.starts_with("\xef\xbb\xbf")) names.remove_prefix(3);
    if (names.empty())
      header_error_ = "the file has no header record";
    else if (std::string why; !split_csv(names, header_memory_, cells_, why))
      header_error_ = "the file's header record is not valid CSV " + why;
    else
      for (const csv_cell& c : cells_) {
        source_field* field = find(c.text);
        if (!field) field = learn(c.text);
        if (!field) {
          header_error_ = "the file's header record has too many columns";
          break;
        }
        header_fields_.push_back(field);
      }
  }
  if (!header_error_.empty()) {
    problem = {"parse", header_error_, {}};
    return false;
  }
  std::string why;
  if (!split_csv(record, memory, cells_, why)) {
    problem = {"parse", "not valid CSV " + why, {}};
    return false;
  }
  if (cells_.size() != header_fields_.size()) {
    problem = {"parse",
               "found " + std::to_string(cells_.size()) + " cells, expected " + std::to_string(header_fields_.size()) +
                   " as in the header",
               {}};
    return false;
  }
  for (std::size_t i = 0; i < cells_.size(); ++i) {
    json_value v;
    v.raw = cells_[i].text;
    v.bare = true;
    v.kind = v.raw.empty() && !cells_[i].quoted ? json_kind::null : json_kind::string;
    apply(f, slot, *header_fields_[i], v, memory);
  }
  return finish(problem);
}

std::uint64_t record_decoder::key_hash(frame& f, std::uint32_t slot) const {
  if (f.key.empty()) return 0;
  for (const noted_problem& p : problems_)
    if (p.column != unknown_column && is_key(f, p.column)) return 0; // could not be read, whatever its cell says
  return hash_key(f.cells(slot), f.key);
}

} // namespace millrace::actors::transform
