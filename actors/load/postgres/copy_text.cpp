#include "actors/load/postgres/copy_text.hpp"

#include <array>
#include <cmath>
#include <cstring>
#if defined(__SSE2__)
#include <bit>
#include <emmintrin.h>
#endif

namespace millrace::actors::load::postgres {
namespace {

// \b \t \n \v \f \r are 8 to 13. Other bytes stand for themselves; NUL cannot be sent at all and is refused before.
constexpr bool special(char c) { return (c >= '\b' && c <= '\r') || c == '\\'; }
constexpr char letters[] = "btnvfr";

constexpr auto hex_pairs = [] {
  std::array<char, 512> out{};
  constexpr char digits[] = "0123456789abcdef";
  for (std::size_t i = 0; i < 256; ++i) {
    out[2 * i] = digits[i >> 4];
    out[2 * i + 1] = digits[i & 15];
  }
  return out;
}();

/// Length of the run without special bytes.
std::size_t clean_run(const char* p, std::size_t n) {
  std::size_t i = 0;
#if defined(__SSE2__)
  const auto eight = _mm_set1_epi8(8), five = _mm_set1_epi8(5), slash = _mm_set1_epi8('\\');
  for (; i + 16 <= n; i += 16) {
    const auto v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + i));
    const auto low = _mm_sub_epi8(v, eight);
    const auto found = _mm_or_si128(_mm_cmpeq_epi8(_mm_min_epu8(low, five), low), _mm_cmpeq_epi8(v, slash));
    if (const auto mask = static_cast<unsigned>(_mm_movemask_epi8(found)))
      return i + static_cast<std::size_t>(std::countr_zero(mask));
  }
#endif
  while (i < n && !special(p[i])) ++i;
  return i;
}

} // namespace

char* float_text(double v, char* to) {
  const auto say = [to](std::string_view word) {
    std::memcpy(to, word.data(), word.size());
    return to + word.size();
  };
  if (std::isnan(v)) return say("NaN");
  if (std::isinf(v)) return say(v > 0 ? "Infinity" : "-Infinity");
  return std::to_chars(to, to + float_text_max, v).ptr;
}

void copy_text::cell(const transform::cell& c, boolean_text b) {
  using kind = transform::cell::kind;
  switch (c.k) {
  case kind::null:
  case kind::missing:
    return null();
  case kind::boolean:
    if (b == boolean_text::word) return c.i ? literal("true\t", 5) : literal("false\t", 6);
    return literal(c.i ? "t\t" : "f\t", 2);
  case kind::int64:
    return integer(c.i);
  case kind::float64: {
    char* p = float_text(c.d, room(float_text_max + 1));
    *p++ = '\t';
    return end_at(p);
  }
  case kind::text:
    return escaped(c.view());
  case kind::blob:
    return hex(c.view());
  }
}

void copy_text::plain(std::string_view text) {
  char* p = room(text.size() + 1);
  if (!text.empty()) std::memcpy(p, text.data(), text.size());
  p[text.size()] = '\t';
  size_ += text.size() + 1;
}

void copy_text::escaped(std::string_view text) {
  const char* from = text.data();
  std::size_t left = text.size();
  char* p = room(left + 1);
  for (;;) {
    const auto run = clean_run(from, left);
    if (run) std::memcpy(p, from, run);
    size_ += run;
    left -= run;
    if (left == 0) break;
    from += run;
    p = room(left + 2);
    *p++ = '\\';
    *p++ = *from == '\\' ? '\\' : letters[*from - '\b'];
    ++from;
    --left;
    size_ += 2;
    p = room(left + 1);
  }
  buffer_[size_++] = '\t';
}

void copy_text::hex(std::string_view bytes) {
  char* p = room(2 * bytes.size() + 4);
  std::memcpy(p, "\\\\x", 3);
  p += 3;
  for (const char c : bytes) {
    std::memcpy(p, &hex_pairs[2 * static_cast<unsigned char>(c)], 2);
    p += 2;
  }
  *p = '\t';
  size_ += 2 * bytes.size() + 4;
}

} // namespace millrace::actors::load::postgres
