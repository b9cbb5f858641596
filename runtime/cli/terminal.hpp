#pragma once
// What a person sees: colours, widths, tables. Plain when standard output is no terminal.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::runtime::cli {

enum class colour { none, dim, red, green, yellow, bold };

struct terminal {
  bool is_terminal = false; ///< standard output is one
  bool colours = false;     ///< terminal, NO_COLOR unset or empty, TERM not dumb
  std::size_t width = 80;   ///< columns; only of use on a terminal

  static terminal of_stdout();
  std::string paint(std::string_view text, colour c) const;
};

/// Control characters and broken UTF-8 made visible: data must not steer the terminal. A line feed becomes \n.
std::string printable(std::string_view text);
/// Columns that `text` takes: code points, which is right for all but wide and combining characters.
std::size_t width_of(std::string_view text);
/// At most `columns` wide, the cut marked by "…".
std::string shortened(const std::string& text, std::size_t columns);

struct table_cell {
  std::string text;
  colour paint = colour::none;
  table_cell(std::string t = {}, colour c = colour::none) : text(std::move(t)), paint(c) {}
  table_cell(const char* t) : text(t) {}
};

class table {
public:
  struct column {
    std::string title;
    bool right = false; ///< numbers
  };
  explicit table(std::vector<column> columns) : columns_(std::move(columns)) {}
  void row(std::vector<table_cell> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const { return rows_.empty(); }
  /// One line each, the titles first, columns two spaces apart. On a terminal the widest columns are cut until a line fits;
  /// elsewhere nothing is cut.
  std::string text(const terminal& t) const;

private:
  std::vector<column> columns_;
  std::vector<std::vector<table_cell>> rows_;
};

/// Green for what runs, yellow for what waits, red for what failed.
colour colour_of_state(std::string_view state);
/// 1234567 as "1,234,567".
std::string grouped(std::uint64_t n);

} // namespace millrace::runtime::cli
