#include "runtime/cli/terminal.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>

namespace millrace::runtime::cli {
namespace {

/// Bytes of the UTF-8 sequence that begins at `at`; 0 if it is none.
std::size_t sequence_length(std::string_view text, std::size_t at) {
  auto lead = static_cast<unsigned char>(text[at]);
  std::size_t length = lead < 0x80                   ? 1
                       : lead >= 0xC2 && lead < 0xE0 ? 2
                       : lead >= 0xE0 && lead < 0xF0 ? 3
                       : lead >= 0xF0 && lead < 0xF5 ? 4
                                                     : 0;
  if (length == 0 || at + length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((static_cast<unsigned char>(text[at + i]) & 0xC0) != 0x80) return 0;
  return length;
}

} // namespace

terminal terminal::of_stdout() {
  terminal out;
  out.is_terminal = isatty(STDOUT_FILENO) == 1;
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  out.colours = out.is_terminal && !(no_color && *no_color) && !(term && std::string_view(term) == "dumb");
  winsize size{};
  if (out.is_terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) out.width = size.ws_col;
  return out;
}

std::string terminal::paint(std::string_view text, colour c) const {
  static constexpr const char* codes[] = {"", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[1m"};
  if (!colours || c == colour::none) return std::string(text);
  return codes[static_cast<int>(c)] + std::string(text) + "\x1b[0m";
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  char hex[8];
  for (std::size_t i = 0; i < text.size();) {
    auto c = static_cast<unsigned char>(text[i]);
    auto length = sequence_length(text, i);
    bool c1 = length == 2 && c == 0xC2 && static_cast<unsigned char>(text[i + 1]) < 0xA0; // control characters above ASCII
    if (length == 0 || c < 0x20 || c == 0x7F || c1) {
      if (c == '\n')
        out += "\\n";
      else if (c == '\t')
        out += "\\t";
      else if (c == '\r')
        out += "\\r";
      else {
        for (std::size_t k = 0; k < std::max<std::size_t>(1, length); ++k) {
          std::snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned char>(text[i + k]));
          out += hex;
        }
      }
      i += std::max<std::size_t>(1, length);
      continue;
    }
    out.append(text.substr(i, length));
    i += length;
  }
  return out;
}

std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string shortened(const std::string& text, std::size_t columns) {
  if (width_of(text) <= columns) return text;
  if (columns == 0) return {};
  std::size_t at = 0;
  for (std::size_t taken = 0; at < text.size() && taken + 1 < columns; ++taken) do
      ++at;
    while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  return text.substr(0, at) + "…";
}

std::string table::text(const terminal& t) const {
  std::vector<std::size_t> widths;
  for (const auto& c : columns_) widths.push_back(width_of(c.title));
  std::vector<std::vector<std::string>> shown;
  for (const auto& row : rows_) {
    auto& line = shown.emplace_back();
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      line.push_back(i < row.size() ? printable(row[i].text) : std::string());
      widths[i] = std::max(widths[i], width_of(line.back()));
    }
  }
  if (t.is_terminal) {
    auto total = [&] {
      return std::accumulate(widths.begin(), widths.end(), std::size_t{0}) + 2 * (widths.empty() ? 0 : widths.size() - 1);
    };
    while (total() > t.width) {
      auto widest = std::max_element(widths.begin(), widths.end());
      if (*widest <= 12) break; // narrower says nothing: let the terminal wrap
      --*widest;
    }
  }
  std::string out;
  auto add_line = [&](auto cell_text, auto cell_colour) {
    std::string line;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      auto text = t.is_terminal ? shortened(cell_text(i), widths[i]) : cell_text(i);
      std::string pad(widths[i] - std::min(widths[i], width_of(text)), ' ');
      if (i > 0) line += "  ";
      if (columns_[i].right) line += pad;
      line += t.paint(text, cell_colour(i));
      if (!columns_[i].right && i + 1 < columns_.size()) line += pad;
    }
    while (!line.empty() && line.back() == ' ') line.pop_back();
    out += line + "\n";
  };
  add_line([&](std::size_t i) { return columns_[i].title; }, [](std::size_t) { return colour::bold; });
  for (std::size_t r = 0; r < rows_.size(); ++r)
    add_line([&](std::size_t i) { return shown[r][i]; },
             [&](std::size_t i) { return i < rows_[r].size() ? rows_[r][i].paint : colour::none; });
  return out;
}

colour colour_of_state(std::string_view state) {
  if (state == "running" || state == "snapshotting" || state == "alive") return colour::green;
  if (state == "failed" || state == "dead") return colour::red;
  if (state == "waiting" || state == "starting") return colour::yellow;
  return colour::dim;
}

std::string grouped(std::uint64_t n) {
  auto digits = std::to_string(n);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<std::size_t>(at), ",");
  return digits;
}

} // namespace millrace::runtime::cli
