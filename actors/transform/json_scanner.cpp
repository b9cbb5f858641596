#include "actors/transform/json_scanner.hpp"

#include <charconv>
#include <cstdio>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace millrace::actors::transform {

namespace {
// A nesting bomb must not take the stack; no sane record comes near.
constexpr int max_depth = 512;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}
/// Four hex digits at p, of which `left` bytes are there; -1 if they are not.
int hex4(const char* p, std::ptrdiff_t left) {
  if (left < 4) return -1;
  int v = 0;
  for (int i = 0; i < 4; ++i) {
    const int d = hex_digit(p[i]);
    if (d < 0) return -1;
    v = v * 16 + d;
  }
  return v;
}
char* put_utf8(char* out, std::uint32_t c) {
  if (c < 0x80) {
    *out++ = static_cast<char>(c);
  } else if (c < 0x800) {
    *out++ = static_cast<char>(0xc0 | (c >> 6));
    *out++ = static_cast<char>(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    *out++ = static_cast<char>(0xe0 | (c >> 12));
    *out++ = static_cast<char>(0x80 | ((c >> 6) & 0x3f));
    *out++ = static_cast<char>(0x80 | (c & 0x3f));
  } else {
    *out++ = static_cast<char>(0xf0 | (c >> 18));
    *out++ = static_cast<char>(0x80 | ((c >> 12) & 0x3f));
    *out++ = static_cast<char>(0x80 | ((c >> 6) & 0x3f));
    *out++ = static_cast<char>(0x80 | (c & 0x3f));
  }
  return out;
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }
} // namespace

const char* to_string(json_kind k) noexcept {
  switch (k) {
  case json_kind::null:
    return "null";
  case json_kind::true_:
  case json_kind::false_:
    return "boolean";
  case json_kind::number:
    return "number";
  case json_kind::string:
    return "text";
  case json_kind::object:
    return "object";
  case json_kind::array:
    return "array";
  }
  return "value";
}

std::string json_scanner::error() const {
  std::string text = "at byte " + std::to_string(p_ - begin_) + ": found ";
  if (p_ >= end_) {
    text += "the end";
  } else if (static_cast<unsigned char>(*p_) < 0x20 || static_cast<unsigned char>(*p_) >= 0x7f) {
    char hex[16];
    std::snprintf(hex, sizeof hex, "byte 0x%02x", static_cast<unsigned char>(*p_));
    text += hex;
  } else {
    text += '\'';
    text += *p_;
    text += '\'';
  }
  text += ", expected ";
  text += expected_ ? expected_ : "a value";
  return text;
}

bool json_scanner::escape() {
  const char* at = p_; // the backslash: errors point at it
  if (end_ - p_ < 2) return fail("an escape");
  switch (p_[1]) {
  case '"':
  case '\\':
  case '/':
  case 'b':
  case 'f':
  case 'n':
  case 'r':
  case 't':
    p_ += 2;
    return true;
  case 'u':
    break;
  default:
    return fail("an escape that JSON knows");
  }
  const int first = hex4(p_ + 2, end_ - p_ - 2);
  if (first < 0) return fail("\\u and four hex digits");
  p_ += 6;
  if (first < 0xd800 || first > 0xdfff) return true;
  if (first < 0xdc00 && end_ - p_ >= 6 && p_[0] == '\\' && p_[1] == 'u') {
    const int second = hex4(p_ + 2, end_ - p_ - 2);
    if (second >= 0xdc00 && second <= 0xdfff) {
      p_ += 6;
      return true;
    }
  }
  p_ = at;
  return fail("a whole surrogate pair");
}

bool json_scanner::string(std::string_view& raw, bool& escaped) {
  const char* start = ++p_; // behind the quote
  escaped = false;
  for (;;) {
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), control = _mm_set1_epi8(0x1f);
    while (p_ < end_ && readable_ - p_ >= 16) {
      const __m128i c = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p_));
      const __m128i hit = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(c, quote), _mm_cmpeq_epi8(c, slash)),
                                       _mm_cmpeq_epi8(_mm_min_epu8(c, control), c));
      if (const int mask = _mm_movemask_epi8(hit)) {
        p_ += __builtin_ctz(static_cast<unsigned>(mask));
        break;
      }
      p_ += 16;
    }
#endif
    while (p_ < end_ && *p_ != '"' && *p_ != '\\' && static_cast<unsigned char>(*p_) >= 0x20) ++p_;
    if (p_ >= end_) {
      p_ = end_;
      return fail("the text's closing quote");
    }
    if (*p_ == '"') {
      raw = {start, static_cast<std::size_t>(p_ - start)};
      ++p_;
      return true;
    }
    if (*p_ != '\\') return fail("no control character inside a text");
    escaped = true;
    if (!escape()) return false;
  }
}

bool json_scanner::number(json_value& out) {
  const char* start = p_;
  if (*p_ == '-') ++p_;
  if (p_ == end_ || !is_digit(*p_)) return fail("a digit");
  if (*p_ == '0') {
    ++p_;
    if (p_ != end_ && is_digit(*p_)) return fail("no digit behind a leading zero");
  } else {
    while (p_ != end_ && is_digit(*p_)) ++p_;
  }
  out.integral = true;
  if (p_ != end_ && *p_ == '.') {
    out.integral = false;
    ++p_;
    if (p_ == end_ || !is_digit(*p_)) return fail("a digit behind the point");
    while (p_ != end_ && is_digit(*p_)) ++p_;
  }
  if (p_ != end_ && (*p_ == 'e' || *p_ == 'E')) {
    out.integral = false;
    ++p_;
    if (p_ != end_ && (*p_ == '+' || *p_ == '-')) ++p_;
    if (p_ == end_ || !is_digit(*p_)) return fail("a digit of the exponent");
    while (p_ != end_ && is_digit(*p_)) ++p_;
  }
  out.kind = json_kind::number;
  out.raw = {start, static_cast<std::size_t>(p_ - start)};
  return true;
}

bool json_scanner::word(std::string_view w) {
  if (static_cast<std::size_t>(end_ - p_) < w.size() || std::memcmp(p_, w.data(), w.size()) != 0) return fail("a JSON value");
  p_ += w.size();
  return true;
}

bool json_scanner::key(std::string_view& raw, bool& escaped) {
  skip_space();
  if (p_ == end_ || *p_ != '"') return fail("a key in quotes");
  if (!string(raw, escaped)) return false;
  if (!take(':')) return fail("':'");
  return true;
}

bool json_scanner::value(json_value& out, int depth) {
  skip_space();
  if (p_ == end_) return fail("a JSON value");
  const char* start = p_;
  switch (*p_) {
  case '"':
    out.kind = json_kind::string;
    return string(out.raw, out.escaped);
  case 'n':
    out.kind = json_kind::null;
    out.raw = "null";
    return word("null");
  case 't':
    out.kind = json_kind::true_;
    out.raw = "true";
    return word("true");
  case 'f':
    out.kind = json_kind::false_;
    out.raw = "false";
    return word("false");
  case '{':
  case '[':
    break;
  default:
    if (*p_ == '-' || is_digit(*p_)) return number(out);
    return fail("a JSON value");
  }
  if (depth >= max_depth) return fail("at most 512 levels of nesting");
  const bool object = *p_++ == '{';
  const char close = object ? '}' : ']';
  if (!take(close)) {
    do {
      std::string_view name;
      bool escaped = false;
      json_value inner;
      if (object && !key(name, escaped)) return false;
      if (!value(inner, depth + 1)) return false;
    } while (take(','));
    if (!take(close)) return fail(object ? "',' or '}'" : "',' or ']'");
  }
  out.kind = object ? json_kind::object : json_kind::array;
  out.raw = {start, static_cast<std::size_t>(p_ - start)};
  return true;
}

std::string_view unescape(std::string_view raw, arena& memory) {
  char* const start = memory.allocate(raw.size()); // an escape is never shorter than what it stands for
  char* out = start;
  const char* p = raw.data();
  const char* end = p + raw.size();
  while (p != end) {
    if (*p != '\\') {
      *out++ = *p++;
      continue;
    }
    const char c = p[1];
    p += 2;
    switch (c) {
    case 'b':
      *out++ = '\b';
      break;
    case 'f':
      *out++ = '\f';
      break;
    case 'n':
      *out++ = '\n';
      break;
    case 'r':
      *out++ = '\r';
      break;
    case 't':
      *out++ = '\t';
      break;
    case 'u': {
      auto code = static_cast<std::uint32_t>(hex4(p, end - p));
      p += 4;
      if (code >= 0xd800 && code <= 0xdbff) {
        code = 0x10000 + ((code - 0xd800) << 10) + static_cast<std::uint32_t>(hex4(p + 2, end - p - 2) - 0xdc00);
        p += 6;
      }
      out = put_utf8(out, code);
      break;
    }
    default:
      *out++ = c; // quote, backslash, slash
    }
  }
  const auto size = static_cast<std::size_t>(out - start);
  memory.shrink(raw.size(), size);
  return {start, size};
}

bool find_pointer(const json_value& root, std::span<const std::string> tokens, arena& memory, json_value& out) {
  json_value at = root;
  for (const std::string& token : tokens) {
    bool found = false;
    json_value next;
    if (at.kind == json_kind::object) {
      for_each_member(at.raw, memory, [&](std::string_view name, const json_value& v) {
        if (name != token) return;
        next = v;
        found = true;
      });
    } else if (at.kind == json_kind::array) {
      std::size_t index = 0;
      const auto [stop, ec] = std::from_chars(token.data(), token.data() + token.size(), index);
      if (ec != std::errc{} || stop != token.data() + token.size() || (token.size() > 1 && token[0] == '0')) return false;
      json_scanner s(at.raw);
      s.take('[');
      if (s.take(']')) return false;
      for (std::size_t i = 0; !found; ++i) {
        if (!s.value(next)) return false;
        found = i == index;
        if (!found && !s.take(',')) break;
      }
    }
    if (!found) return false;
    at = next;
  }
  out = at;
  return true;
}

std::vector<std::string> split_pointer(std::string_view pointer) {
  std::vector<std::string> tokens;
  for (std::size_t i = 0; i < pointer.size(); ++i) {
    if (pointer[i] == '/') {
      tokens.emplace_back();
    } else if (pointer[i] == '~' && i + 1 < pointer.size() && (pointer[i + 1] == '0' || pointer[i + 1] == '1')) {
      tokens.back() += pointer[++i] == '0' ? '~' : '/';
    } else {
      tokens.back() += pointer[i];
    }
  }
  return tokens;
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    switch (c) {
    case '"':
      out += "\\\"";
      break;
    case '\\':
      out += "\\\\";
      break;
    case '\n':
      out += "\\n";
      break;
    case '\r':
      out += "\\r";
      break;
    case '\t':
      out += "\\t";
      break;
    default:
      if (static_cast<unsigned char>(c) < 0x20) {
        char code[8];
        std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned char>(c));
        out += code;
      } else {
        out += c;
      }
    }
  }
  out += '"';
}

} // namespace millrace::actors::transform
