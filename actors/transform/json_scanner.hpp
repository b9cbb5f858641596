#pragma once
// One pass over one JSON text that validates ALL of it and hands out slices. simdjson's on-demand parser is faster at the fields
// it is asked for, but does not validate what it skips: whether a change is a dead letter must not depend on which fields a
// schema names. simdjson still validates the UTF-8, and its DOM parser is the oracle of the scanner's tests.

#include "actors/transform/arena.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace millrace::actors::transform {

enum class json_kind : std::uint8_t { null, true_, false_, number, string, object, array };
const char* to_string(json_kind k) noexcept;

/// A validated value as a slice of the text it stands in.
struct json_value {
  json_kind kind = json_kind::null;
  bool escaped = false;  ///< string: has escapes, see unescape()
  bool integral = false; ///< number: neither point nor exponent
  bool bare = false;     ///< string: a CSV cell, which never had quotes around it
  std::string_view raw;  ///< as written; a string without its quotes
};

/// Owner: whoever scans; a few pointers, no memory. Bytes up to `readable` may be loaded (not interpreted), which lets the
/// scan use wide loads; it must be at or after the text's end. UTF-8 is the caller's to validate.
class json_scanner {
public:
  json_scanner(std::string_view text, const char* readable)
      : begin_(text.data()), p_(text.data()), end_(text.data() + text.size()), readable_(readable) {}
  explicit json_scanner(std::string_view text) : json_scanner(text, text.data() + text.size()) {}

  /// False: error() says where and what was expected. The same for all functions that return bool.
  bool value(json_value& out, int depth = 0);
  /// Consumes '{', '}', ... if it is next.
  bool take(char c) {
    skip_space();
    if (p_ == end_ || *p_ != c) return false;
    ++p_;
    return true;
  }
  /// A key and its colon. `escaped`: the key needs unescape().
  bool key(std::string_view& raw, bool& escaped);
  /// Consumes `"name":` if exactly that is next: the fast way when the order of keys is known. `name` must need no escape.
  bool take_key(std::string_view name) {
    skip_space();
    if (static_cast<std::size_t>(end_ - p_) < name.size() + 3 || *p_ != '"') return false;
    if (p_[name.size() + 1] != '"' || std::memcmp(p_ + 1, name.data(), name.size()) != 0) return false;
    const char* at = p_ + name.size() + 2;
    if (*at != ':') return false; // space before the colon: the slow way takes it
    p_ = at + 1;
    return true;
  }
  /// Nothing but white space is left.
  bool at_end() {
    skip_space();
    return p_ == end_;
  }
  bool fail(const char* expected) {
    if (!expected_) expected_ = expected;
    return false;
  }
  /// "at byte 17: found 'x', expected ':'".
  std::string error() const;

private:
  void skip_space() {
    while (p_ != end_ && (*p_ == ' ' || *p_ == '\n' || *p_ == '\r' || *p_ == '\t')) ++p_;
  }
  bool string(std::string_view& raw, bool& escaped);
  bool escape();
  bool number(json_value& out);
  bool word(std::string_view w);
  const char *begin_, *p_, *end_, *readable_;
  const char* expected_ = nullptr;
};

/// A validated string's text; the result lives in `memory` if there was an escape.
std::string_view unescape(std::string_view raw, arena& memory);
inline std::string_view text_of(const json_value& v, arena& memory) { return v.escaped ? unescape(v.raw, memory) : v.raw; }

/// Calls visit(key, value) for each member of a validated object; the key is unescaped.
template <class Visit>
void for_each_member(std::string_view object, arena& memory, Visit&& visit) {
  json_scanner s(object);
  s.take('{');
  if (s.take('}')) return;
  do {
    std::string_view name;
    bool escaped = false;
    json_value v;
    if (!s.key(name, escaped) || !s.value(v)) return;
    visit(escaped ? unescape(name, memory) : name, v);
  } while (s.take(','));
}

/// Follows the tokens of a JSON pointer inside a validated value; false: nothing there. Of duplicate keys the last counts.
bool find_pointer(const json_value& root, std::span<const std::string> tokens, arena& memory, json_value& out);
/// RFC 6901: "/a~1b/0" gives {"a/b", "0"}.
std::vector<std::string> split_pointer(std::string_view pointer);

/// Appends `text` with quotes and escapes.
void append_json_string(std::string& out, std::string_view text);

} // namespace millrace::actors::transform
