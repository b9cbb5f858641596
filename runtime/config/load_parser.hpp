#pragma once
// The parts of a spec below `loads`. Private to runtime/config.

#include "runtime/config/document_reader.hpp"

namespace millrace::runtime::config {

/// Reads `loads`; checks names, tables against the source's, destinations' tables, keys against schemas, and compiles every step.
std::vector<actors::load_spec> read_loads(document_reader& doc, const yaml_node& n, const actors::source_spec& source);

/// One `schema` mapping: fields in the order of the file.
std::vector<actors::field_spec> read_schema(document_reader& doc, const yaml_node& n, const std::string& what);

/// One `transform` list.
std::vector<actors::transform_step> read_steps(document_reader& doc, const yaml_node& n, const std::string& what);

/// SQL folds ASCII letters only when it compares names of columns and tables.
bool same_identifier(std::string_view a, std::string_view b);

} // namespace millrace::runtime::config
