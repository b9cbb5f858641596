#include "runtime/config/load_parser.hpp"

#include <algorithm>

namespace millrace::runtime::config {
namespace {

using actors::step_kind;

const std::vector<std::string_view> step_names{"where", "set", "rename", "drop", "mask", "lua"};
constexpr step_kind step_kinds[] = {step_kind::where, step_kind::set,  step_kind::rename,
                                    step_kind::drop,  step_kind::mask, step_kind::lua};

void read_assignments(document_reader& doc, const yaml_node& n, const std::string& what, const char* expected,
                      actors::transform_step& step) {
  if (!n.is_mapping() || n.entries.empty()) {
    doc.wrong(n.at, what + " is " + (n.is_mapping() ? "empty" : described(n)) + "; expected " + expected);
    return;
  }
  for (const auto& e : n.entries) {
    auto inside = what + "." + e.key;
    if (e.value->is_null()) {
      doc.wrong(e.at, inside + " has no value; expected " + expected);
      continue;
    }
    if (auto text = doc.text(*e.value, inside)) {
      if (text->empty()) doc.wrong(e.value->at, inside + " is empty; expected " + expected);
      auto same = std::find_if(step.assignments.begin(), step.assignments.end(),
                               [&](const auto& a) { return same_identifier(a.first, e.key); });
      if (same != step.assignments.end())
        doc.wrong(e.at, inside + " names the column '" + same->first + "' a second time; expected it once");
      step.assignments.emplace_back(e.key, *text);
    }
  }
}

std::optional<actors::transform_step> read_step(document_reader& doc, const yaml_node& n, const std::string& what) {
  if (!n.is_mapping() || n.entries.empty()) {
    doc.wrong(n.at, what + " is " + (n.is_mapping() ? "empty" : described(n)) + "; expected a step: " + listed(step_names));
    return std::nullopt;
  }
  for (std::size_t i = 1; i < n.entries.size(); ++i)
    doc.wrong(n.entries[i].at,
              what + " has '" + n.entries[i].key + "' beside '" + n.entries[0].key + "'; expected one step an entry of the list");
  const auto& entry = n.entries.front();
  auto found = std::find(step_names.begin(), step_names.end(), entry.key);
  if (found == step_names.end()) {
    doc.wrong(entry.at, what + " is the unknown step '" + entry.key.substr(0, 60) + "'; expected " + listed(step_names) +
                            suggestion(entry.key, step_names));
    return std::nullopt;
  }
  auto inside = what + "." + entry.key;
  const auto& value = *entry.value;
  actors::transform_step step;
  step.kind = step_kinds[found - step_names.begin()];
  step.at = value.is_null() ? entry.at : value.at;
  auto before = doc.mistake_count();
  switch (step.kind) {
  case step_kind::where:
  case step_kind::lua: {
    if (!value.is_scalar() || value.text.find_first_not_of(" \t\r\n") == std::string::npos) {
      doc.wrong(step.at, inside + " is " + (value.is_scalar() ? "empty" : described(value)) + "; expected " +
                             (step.kind == step_kind::where ? "an SQL expression"
                                                            : "a Lua script with a function transform(change, meta)"));
      break;
    }
    auto text = doc.text(value, inside);
    if (!text) return std::nullopt;
    step.text = *text;
    break;
  }
  case step_kind::set:
    read_assignments(doc, value, inside, "column: SQL expression", step);
    break;
  case step_kind::rename:
    read_assignments(doc, value, inside, "old name: new name", step);
    break;
  case step_kind::mask:
    read_assignments(doc, value, inside, "column: method, such as email: sha256", step);
    break;
  case step_kind::drop: {
    for (auto& [column, at] : doc.texts(value, inside)) {
      if (column.empty()) doc.wrong(at, inside + " has an empty name; expected a column's name");
      step.columns.push_back(std::move(column));
    }
    if (step.columns.empty() && doc.mistake_count() == before)
      doc.wrong(step.at, inside + " is empty; expected a list of columns");
    break;
  }
  }
  if (doc.mistake_count() != before) return std::nullopt; // said already; the compiler need not stumble over it again
  return step;
}

} // namespace

std::vector<actors::transform_step> read_steps(document_reader& doc, const yaml_node& n, const std::string& what) {
  std::vector<actors::transform_step> out;
  if (!n.is_sequence()) {
    doc.wrong(n.at, what + " is " + described(n) + "; expected a list of steps: " + listed(step_names));
    return out;
  }
  for (std::size_t i = 0; i < n.items.size(); ++i)
    if (auto step = read_step(doc, *n.items[i], what + "[" + std::to_string(i) + "]")) out.push_back(std::move(*step));
  return out;
}

} // namespace millrace::runtime::config
