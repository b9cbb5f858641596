#include "runtime/config/load_parser.hpp"

#include <algorithm>

namespace millrace::runtime::config {
namespace {

using actors::data_type;

const std::vector<std::string_view>& type_names() {
  static const std::vector<std::string_view> names{"bool",  "int64", "float64",   "decimal", "text",
                                                   "bytes", "date",  "timestamp", "uuid",    "json"};
  return names;
}

std::optional<data_type> read_type(document_reader& doc, const yaml_node& n, const std::string& what) {
  static constexpr data_type types[] = {data_type::boolean, data_type::int64, data_type::float64, data_type::decimal,
                                        data_type::text,    data_type::bytes, data_type::date,    data_type::timestamp,
                                        data_type::uuid,    data_type::json};
  auto chosen = doc.choice(n, what, type_names());
  return chosen ? std::optional<data_type>(types[*chosen]) : std::nullopt;
}

actors::field_spec read_field(document_reader& doc, const yaml_entry& entry, const std::string& what) {
  actors::field_spec field;
  field.name = entry.key;
  field.where = entry.at;
  if (entry.value->is_scalar()) { // `id: int64` is short for `id: { type: int64 }`
    if (auto type = read_type(doc, *entry.value, what)) field.type = *type;
    return field;
  }
  section s(doc, *entry.value, what);
  if (!s.ok()) return field;
  bool typed = false;
  if (auto* n = s.need("type", listed(type_names())))
    if (auto type = read_type(doc, *n, s.inside("type"))) field.type = *type, typed = true;
  if (auto* n = s.take("from"))
    if (auto from = doc.text(*n, s.inside("from"))) {
      field.from = *from;
      bool pointer = from->starts_with('/');
      // RFC 6901: '~' only as ~0 or ~1.
      for (std::size_t at = 0; pointer && (at = from->find('~', at)) != std::string::npos; ++at)
        if (at + 1 >= from->size() || ((*from)[at + 1] != '0' && (*from)[at + 1] != '1')) {
          doc.wrong(n->at, s.inside("from") + " is " + described(*n) + "; expected a JSON pointer, in which '~' is written ~0");
          break;
        }
      if (from->empty())
        doc.wrong(n->at, s.inside("from") + " is empty; expected a field's name, or a JSON pointer such as /address/city");
    }
  if (auto* n = s.take("required"))
    if (auto required = doc.boolean(*n, s.inside("required"))) field.required = *required;
  if (s.has("default") && entry.value->is_mapping()) {
    // `default: null` says what is so anyway.
    bool is_null = std::any_of(entry.value->entries.begin(), entry.value->entries.end(),
                               [](const yaml_entry& e) { return e.key == "default" && e.value->is_null(); });
    if (!is_null) {
      auto* n = s.take("default");
      // Whether it fits the type is for the transformer to say, which converts it.
      if (auto value = doc.text(*n, s.inside("default"))) field.default_value = *value;
    } else {
      s.refuse("default", "is null; expected a value, or the key left out (NULL is the default)");
    }
  } else {
    s.take("default");
  }
  if (auto* n = s.take("format")) {
    auto format = doc.text(*n, s.inside("format"));
    if (typed && field.type != data_type::date && field.type != data_type::timestamp)
      doc.wrong(s.key_at("format"), s.inside("format") + " is for date and timestamp; expected no format beside type " +
                                        actors::to_string(field.type));
    else if (format && format->find('%') == std::string::npos)
      doc.wrong(n->at, s.inside("format") + " is " + described(*n) + "; expected a strftime format such as '%d/%m/%Y'");
    else if (format)
      field.format = *format;
  }
  s.finish();
  return field;
}

} // namespace

bool same_identifier(std::string_view a, std::string_view b) {
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return lower(x) == lower(y); });
}

std::vector<actors::field_spec> read_schema(document_reader& doc, const yaml_node& n, const std::string& what) {
  std::vector<actors::field_spec> out;
  section s(doc, n, what);
  if (!s.ok()) return out;
  if (n.entries.empty())
    doc.wrong(n.at, what + " is empty; expected a column or more, or the key left out (columns are then taken from the changes)");
  for (const auto& entry : n.entries) {
    auto field = read_field(doc, entry, s.inside(entry.key));
    if (entry.key.empty() || entry.key.find('\0') != std::string::npos)
      doc.wrong(entry.at, what + " has a column without a name; expected a name");
    auto same = std::find_if(out.begin(), out.end(), [&](const auto& f) { return same_identifier(f.name, field.name); });
    if (same != out.end())
      doc.wrong(entry.at, what + " has column '" + field.name + "' and, in line " + std::to_string(same->where.line) + ", '" +
                              same->name + "'; expected names that differ in more than upper and lower case");
    out.push_back(std::move(field));
  }
  return out;
}

} // namespace millrace::runtime::config
