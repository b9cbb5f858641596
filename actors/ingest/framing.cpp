#include "actors/ingest/framing.hpp"

#include <bit>
#include <cstring>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace millrace::actors::ingest {
namespace {

constexpr std::size_t none = ~std::size_t{0};

bool is_space(char c) noexcept { return c == ' ' || c == '\t' || c == '\r'; }

bool is_blank(const char* p, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i)
    if (!is_space(p[i])) return false;
  return true;
}

std::size_t find(std::string_view data, char c, std::size_t from, std::size_t end) noexcept {
  const void* hit = std::memchr(data.data() + from, c, end - from);
  return hit ? static_cast<std::size_t>(static_cast<const char*>(hit) - data.data()) : none;
}

void add(record_index& out, std::size_t start, std::size_t end) {
  out.starts.push_back(static_cast<std::uint32_t>(start));
  out.lengths.push_back(static_cast<std::uint32_t>(end - start));
}

/// Adds the line [start, lf) unless it is blank.
inline void add_line(record_index& out, const char* data, std::size_t start, std::size_t lf) {
  std::size_t end = lf;
  if (end > start && data[end - 1] == '\r') --end;
  if (end == start) return;
  if (is_space(data[start]) && is_blank(data + start, end - start)) return;
  add(out, start, end);
}

#if defined(__SSE2__)
/// Bit i: p[i] is LF. One pass over short lines costs less than a memchr for each.
inline std::uint64_t newline_mask(const char* p) noexcept {
  const __m128i lf = _mm_set1_epi8('\n');
  const auto part = [&](int i) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p) + i);
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, lf))));
  };
  return part(0) | part(1) << 16 | part(2) << 32 | part(3) << 48;
}
#endif

/// End of the CSV record's text that begins at `start`: the position of its LF, or none if that has not come.
std::size_t csv_record_end(std::string_view data, std::size_t start) noexcept {
  const char* p = data.data();
  std::size_t lf = find(data, '\n', start, data.size());
  const std::size_t bound = lf == none ? data.size() : lf;
  std::size_t at = start;
  // Almost every record has no quoted cell with an LF inside: look for quotes only up to the first LF.
  std::size_t quote = find(data, '"', at, bound);
  while (quote != none) {
    const bool opens = quote == start || p[quote - 1] == ',';
    at = quote + 1;
    if (opens) { // runs to a quote that is not doubled
      for (;;) {
        const std::size_t close = find(data, '"', at, data.size());
        if (close == none) return none;
        at = close + 1;
        if (at < data.size() && p[at] == '"') {
          ++at;
          continue;
        }
        // A quote that is the last byte we have may be the first half of a doubled one; without its LF the record is
        // incomplete either way.
        break;
      }
      if (lf != none && lf < at) lf = find(data, '\n', at, data.size());
    }
    quote = find(data, '"', at, lf == none ? data.size() : lf);
  }
  return lf;
}

} // namespace

std::size_t byte_order_mark(std::string_view data) noexcept { return data.starts_with("\xEF\xBB\xBF") ? 3 : 0; }

std::size_t frame_lines(std::string_view data, std::size_t from, bool at_end, record_index out) {
  const char* p = data.data();
  const std::size_t n = data.size();
  std::size_t start = from, at = from;
#if defined(__SSE2__)
  for (; at + 64 <= n; at += 64) {
    for (std::uint64_t mask = newline_mask(p + at); mask != 0; mask &= mask - 1) {
      const std::size_t lf = at + static_cast<std::size_t>(std::countr_zero(mask));
      add_line(out, p, start, lf);
      start = lf + 1;
    }
  }
#endif
  while (at < n) {
    const std::size_t lf = find(data, '\n', at, n);
    if (lf == none) break;
    add_line(out, p, start, lf);
    at = start = lf + 1;
  }
  if (!at_end || start == n) return start;
  if (!is_blank(p + start, n - start)) add(out, start, n);
  return n;
}

std::size_t frame_csv(std::string_view data, std::size_t from, bool at_end, record_index out) {
  std::size_t start = from;
  while (start < data.size()) {
    const std::size_t lf = csv_record_end(data, start);
    if (lf == none) break;
    const std::size_t end = lf > start && data[lf - 1] == '\r' ? lf - 1 : lf;
    if (end > start) add(out, start, end);
    start = lf + 1;
  }
  if (!at_end || start == data.size()) return start;
  if (data.substr(start) != "\r") add(out, start, data.size()); // half of a last empty line
  return data.size();
}

std::size_t frame(storage::payload_format format, std::string_view data, std::size_t from, bool at_end, record_index out) {
  return format == storage::payload_format::csv ? frame_csv(data, from, at_end, out) : frame_lines(data, from, at_end, out);
}

first_record first_csv_record(std::string_view data, std::size_t from, bool at_end) {
  std::size_t start = from;
  while (start < data.size()) {
    const std::size_t lf = csv_record_end(data, start);
    if (lf == none) {
      if (!at_end || data.substr(start) == "\r") return {};
      return {data.substr(start), data.size()};
    }
    const std::size_t end = lf > start && data[lf - 1] == '\r' ? lf - 1 : lf;
    if (end > start) return {data.substr(start, end - start), lf + 1};
    start = lf + 1;
  }
  return {};
}

} // namespace millrace::actors::ingest
