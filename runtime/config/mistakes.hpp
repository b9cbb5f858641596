#pragma once
// What is wrong with a file that a user wrote: every mistake with its place, all of them at once.

#include "actors/spec.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace millrace::runtime::config {

using actors::mark;

struct mistake {
  std::string file;
  mark at;              ///< {0, 0}: the file as a whole
  std::string message;  ///< what was found, what was expected
  bool warning = false; ///< the file is valid all the same
};

/// "file:line:column: message", as compilers write it, so that editors can jump there.
std::string to_text(const mistake& m);
/// One a line, in the order of their places.
std::string to_text(const std::vector<mistake>& all);
bool has_errors(const std::vector<mistake>& all);

/// " (did you mean 'x'?)" for the candidate nearest to `found`, or nothing if none is near.
std::string suggestion(std::string_view found, const std::vector<std::string_view>& candidates);
/// "a, b or c".
std::string listed(const std::vector<std::string_view>& names);

} // namespace millrace::runtime::config
