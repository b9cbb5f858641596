#pragma once
// The declared columns of a table as its steps leave them (renamed, dropped), for a table that is made before any row came. Pure.

#include "actors/spec.hpp"

#include <string>
#include <vector>

namespace millrace::actors::load {

struct declared_field {
  std::string name;
  data_type type;
  bool required;
};
std::vector<declared_field> declared_fields(const table_spec& spec);

} // namespace millrace::actors::load
