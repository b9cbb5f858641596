#include "runtime/config/mistakes.hpp"

#include <algorithm>
#include <numeric>

namespace millrace::runtime::config {

std::string to_text(const mistake& m) {
  std::string out = m.file;
  if (m.at.line > 0) out += ":" + std::to_string(m.at.line) + ":" + std::to_string(m.at.column);
  out += m.warning ? ": warning: " : ": ";
  return out + m.message;
}

std::string to_text(const std::vector<mistake>& all) {
  std::string out;
  for (const auto& m : all) {
    if (!out.empty()) out += '\n';
    out += to_text(m);
  }
  return out;
}

bool has_errors(const std::vector<mistake>& all) {
  return std::any_of(all.begin(), all.end(), [](const mistake& m) { return !m.warning; });
}

namespace {
/// Edits (insert, delete, replace, swap of neighbours) between two short words.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  std::iota(d[0].begin(), d[0].end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i)
    for (std::size_t j = 1; j <= b.size(); ++j) {
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  return d[a.size()][b.size()];
}
} // namespace

std::string suggestion(std::string_view found, const std::vector<std::string_view>& candidates) {
  if (found.empty() || found.size() > 64) return {};
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(1, std::min(found.size() / 2, std::size_t{3})) + 1;
  for (auto c : candidates)
    if (auto d = distance(found, c); d < best_distance && d < c.size()) best = c, best_distance = d;
  return best.empty() ? std::string{} : " (did you mean '" + std::string(best) + "'?)";
}

std::string listed(const std::vector<std::string_view>& names) {
  std::string out;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) out += i + 1 == names.size() ? " or " : ", ";
    out += names[i];
  }
  return out;
}

} // namespace millrace::runtime::config
