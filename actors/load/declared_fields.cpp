#include "actors/load/declared_fields.hpp"

#include <algorithm>

namespace millrace::actors::load {

std::vector<declared_field> declared_fields(const table_spec& spec) {
  std::vector<declared_field> out;
  if (!spec.has_schema) return out;
  for (const auto& field : spec.schema) out.push_back({field.name, field.type, field.required});
  for (const auto& step : spec.transform) {
    if (step.kind == step_kind::rename) {
      auto renamed = out; // all entries of one step see the names before it
      for (const auto& [from, to] : step.assignments)
        for (std::size_t i = 0; i < out.size(); ++i)
          if (out[i].name == from) renamed[i].name = to;
      out = std::move(renamed);
    }
    if (step.kind == step_kind::drop)
      std::erase_if(
          out, [&](const auto& f) { return std::find(step.columns.begin(), step.columns.end(), f.name) != step.columns.end(); });
  }
  return out;
}

} // namespace millrace::actors::load
