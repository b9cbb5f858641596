#pragma once
// Rows as COPY's text format takes them. The hot path of every load: one growing buffer, runs copied whole.

#include "actors/load/postgres/copy_buffer.hpp"
#include "actors/transform/row_set.hpp"

#include <charconv>

namespace millrace::actors::load::postgres {

/// A float as PostgreSQL reads it, the shortest text that gives it back: at most `float_text_max` bytes from `to`; gives their
/// end.
inline constexpr std::size_t float_text_max = 32;
char* float_text(double v, char* to);

/// Not thread safe. A row: cells or others, each followed by the tab or newline that end_row() puts right.
class copy_text : public copy_buffer {
public:
  void null() { literal("\\N\t", 3); }
  void integer(std::int64_t v) {
    char* p = room(24);
    p = std::to_chars(p, p + 21, v).ptr;
    *p++ = '\t';
    end_at(p);
  }
  /// A missing cell is written as NULL: whoever stages it does not look at it.
  void cell(const transform::cell& c, boolean_text b);
  /// Text that needs no escape.
  void plain(std::string_view text);
  void end_row() { buffer_[size_ - 1] = '\n'; }
  /// A row of a table without columns that we fill.
  void empty_row() { literal("\n", 1); }

private:
  void escaped(std::string_view text);
  void hex(std::string_view bytes);
};

} // namespace millrace::actors::load::postgres
