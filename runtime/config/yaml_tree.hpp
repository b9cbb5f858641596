#pragma once
// YAML as a tree in which every key and value knows its place, read from yaml-cpp's events. YAML::Node was the option that
// lost: it hides duplicate keys and whether a scalar was quoted, and expands aliases without a bound.

#include "runtime/config/mistakes.hpp"

#include <memory>

namespace millrace::runtime::config {

struct yaml_node;
using yaml_ptr = std::shared_ptr<const yaml_node>;

struct yaml_entry {
  std::string key;
  mark at;
  yaml_ptr value;
};

struct yaml_node {
  enum class kind { null, scalar, sequence, mapping };
  kind k = kind::null;
  mark at;
  std::string text;                ///< scalar, as written: references to the environment not replaced
  bool quoted = false;             ///< quoted or a block: never a number, a bool or null
  std::vector<yaml_ptr> items;     ///< sequence
  std::vector<yaml_entry> entries; ///< mapping, without duplicates
  std::size_t weight = 1;          ///< nodes below, aliases counted as often as they are used

  bool is_mapping() const { return k == kind::mapping; }
  bool is_sequence() const { return k == kind::sequence; }
  bool is_scalar() const { return k == kind::scalar; }
  bool is_null() const { return k == kind::null; }
};
/// "a mapping", "a list", "nothing", "'text'" (cut when long): what was found.
std::string described(const yaml_node& n);

struct yaml_document {
  yaml_ptr root;
  int first_line = 1; ///< of the document in its file, from 1
  std::string text;   ///< its part of the file
};

/// All documents of a file. Mistakes: syntax (reading ends there), duplicate keys, keys that are no scalars, aliases that
/// expand to more than 100,000 nodes or to themselves, a file above 4 MiB.
std::vector<yaml_document> read_yaml(const std::string& text, const std::string& file, std::vector<mistake>& mistakes);

} // namespace millrace::runtime::config
