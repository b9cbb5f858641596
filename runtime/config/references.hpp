#pragma once
// ${env:NAME} and ${file:PATH} in a scalar.

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace::runtime::config {

/// The process environment; a test gives another.
using environment = std::function<std::optional<std::string>(const std::string& name)>;
environment process_environment();

struct replaced_text {
  std::string text;                 ///< unresolved references stay as written
  std::vector<std::string> missing; ///< one message for each that could not be resolved; it names the reference, never a value
  /// Value and reference of each one replaced: no message may show the value.
  std::vector<std::pair<std::string, std::string>> secrets;
};

/// Replaces every reference; "$${" stands for "${". The file's content is taken without its last newline; at most 64 KiB; a
/// relative PATH starts at `base_dir`. What came in is not looked at again, so a value cannot refer to another.
replaced_text replace_references(std::string_view text, const std::string& base_dir, const environment& env);

} // namespace millrace::runtime::config
