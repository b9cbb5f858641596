#include "actors/load/postgres/layout_plan.hpp"

#include <algorithm>

namespace millrace::actors::load::postgres {

using transform::cell;

std::vector<std::string_view> bookkeeping_columns(load_mode mode) {
  if (mode == load_mode::soft_delete) return {deleted_column};
  if (mode == load_mode::history) return {valid_from_column, valid_to_column, current_column, offset_column};
  return {};
}

bool layout_plan::in_key(std::uint32_t cell) const {
  return std::find(layout->key.begin(), layout->key.end(), cell) != layout->key.end();
}

std::uint32_t layout_plan::subset_of(const cell* cells) {
  std::vector<bool> present(columns.size());
  bool all = true;
  for (const auto i : written) {
    present[i] = cells[i].k != cell::kind::missing;
    all = all && present[i];
  }
  if (all) return 0;
  const auto [it, fresh] = subset_numbers.emplace(present, static_cast<std::uint32_t>(subsets.size()));
  if (fresh) subsets.push_back(std::move(present));
  return it->second;
}

bool canonical_key(const layout_plan& plan, const table_shape& shape, const cell* cells, bool by_layout) {
  for (std::size_t i = 0; i < plan.layout->key.size(); ++i) {
    const auto at = plan.layout->key[i];
    const auto& c = cells[by_layout ? at : i];
    switch (shape.columns[plan.columns[at].column].compares) {
    case comparison::boolean:
      if (c.k != cell::kind::boolean) return false;
      break;
    case comparison::integer:
      if (c.k != cell::kind::int64) return false;
      break;
    case comparison::text:
      if (c.k != cell::kind::text) return false;
      break;
    case comparison::uuid: {
      if (c.k != cell::kind::text || c.size != 36) return false;
      for (std::size_t j = 0; j < 36; ++j) {
        const char x = c.p[j];
        const bool dash = j == 8 || j == 13 || j == 18 || j == 23;
        if (dash ? x != '-' : !((x >= '0' && x <= '9') || (x >= 'a' && x <= 'f'))) return false;
      }
      break;
    }
    case comparison::loose:
      return false;
    }
  }
  return true;
}

} // namespace millrace::actors::load::postgres
