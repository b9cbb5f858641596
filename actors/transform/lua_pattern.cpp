// Lua's patterns (reference manual 6.4.1), matched by the same backtracking as in Lua 5.4's own library, but with every step
// charged to the change. Plain data only: any call into Lua may leave by longjmp.
#include "actors/transform/lua_sandbox.hpp"

#include <cctype>
#include <cstring>

namespace millrace::actors::transform {

namespace {
constexpr int max_captures = 32, max_depth = 200;
constexpr char escape_char = '%';
constexpr std::ptrdiff_t capture_unfinished = -1, capture_position = -2;
constexpr std::uint64_t charge_steps = 512;

struct matcher {
  lua_State* L;
  const char *begin, *end, *pattern_end;
  int depth = 0, level = 0;
  std::uint64_t steps = 0;
  struct {
    const char* at;
    std::ptrdiff_t size;
  } capture[max_captures];

  void step() {
    if (++steps < charge_steps) return;
    steps = 0;
    lua_sandbox::of(L).spend(L, charge_steps);
  }
  void start() { depth = level = 0; }

  const char* class_end(const char* p) {
    if (*p++ == escape_char) {
      if (p == pattern_end) luaL_error(L, "malformed pattern (ends with '%%')");
      return p + 1;
    }
    if (p[-1] == '[') {
      if (p < pattern_end && *p == '^') ++p;
      do { // the first ']' is itself
        if (p == pattern_end) luaL_error(L, "malformed pattern (missing ']')");
        step();
        if (*p++ == escape_char && p < pattern_end) ++p;
      } while (p == pattern_end || *p != ']');
      return p + 1;
    }
    return p;
  }
  static bool in_class(int c, int name) {
    bool result = false;
    switch (std::tolower(name)) {
    case 'a':
      result = std::isalpha(c);
      break;
    case 'c':
      result = std::iscntrl(c);
      break;
    case 'd':
      result = std::isdigit(c);
      break;
    case 'g':
      result = std::isgraph(c);
      break;
    case 'l':
      result = std::islower(c);
      break;
    case 'p':
      result = std::ispunct(c);
      break;
    case 's':
      result = std::isspace(c);
      break;
    case 'u':
      result = std::isupper(c);
      break;
    case 'w':
      result = std::isalnum(c);
      break;
    case 'x':
      result = std::isxdigit(c);
      break;
    default:
      return name == c;
    }
    return std::isupper(name) ? !result : result;
  }
  static int byte(const char* p) { return static_cast<unsigned char>(*p); }
  /// `p` at '[', `last` at its ']'.
  bool in_set(int c, const char* p, const char* last) {
    bool found = true;
    if (p[1] == '^') {
      found = false;
      ++p;
    }
    while (++p < last) {
      step();
      if (*p == escape_char) {
        ++p;
        if (in_class(c, byte(p))) return found;
      } else if (p[1] == '-' && p + 2 < last) {
        p += 2;
        if (byte(p - 2) <= c && c <= byte(p)) return found;
      } else if (byte(p) == c) {
        return found;
      }
    }
    return !found;
  }
  bool single(const char* s, const char* p, const char* item_end) {
    step();
    if (s >= end) return false;
    const int c = byte(s);
    switch (*p) {
    case '.':
      return true;
    case escape_char:
      return in_class(c, byte(p + 1));
    case '[':
      return in_set(c, p, item_end - 1);
    default:
      return byte(p) == c;
    }
  }
  const char* balance(const char* s, const char* p) {
    if (p >= pattern_end - 1) luaL_error(L, "malformed pattern (missing arguments to '%%b')");
    if (s >= end || *s != *p) return nullptr;
    const char open = *p, close = p[1];
    int nested = 1;
    while (++s < end) {
      step();
      if (*s == close) {
        if (--nested == 0) return s + 1;
      } else if (*s == open) {
        ++nested;
      }
    }
    return nullptr;
  }
  const char* most(const char* s, const char* p, const char* item_end) {
    std::ptrdiff_t i = 0;
    while (single(s + i, p, item_end)) ++i;
    for (; i >= 0; --i)
      if (const char* r = match(s + i, item_end + 1)) return r;
    return nullptr;
  }
  const char* least(const char* s, const char* p, const char* item_end) {
    for (;;) {
      if (const char* r = match(s, item_end + 1)) return r;
      if (!single(s, p, item_end)) return nullptr;
      ++s;
    }
  }
  const char* open_capture(const char* s, const char* p, std::ptrdiff_t what) {
    if (level >= max_captures) luaL_error(L, "too many captures");
    capture[level].at = s;
    capture[level].size = what;
    ++level;
    const char* r = match(s, p);
    if (!r) --level;
    return r;
  }
  const char* close_capture(const char* s, const char* p) {
    int l = level;
    while (--l >= 0 && capture[l].size != capture_unfinished) {
    }
    if (l < 0) luaL_error(L, "invalid pattern capture");
    capture[l].size = s - capture[l].at;
    const char* r = match(s, p);
    if (!r) capture[l].size = capture_unfinished;
    return r;
  }
  const char* back_reference(const char* s, int digit) {
    const int l = digit - '1';
    if (l < 0 || l >= level || capture[l].size == capture_unfinished) luaL_error(L, "invalid capture index %%%d", l + 1);
    const std::ptrdiff_t size = capture[l].size < 0 ? 0 : capture[l].size;
    if (end - s >= size && std::memcmp(capture[l].at, s, static_cast<std::size_t>(size)) == 0) return s + size;
    return nullptr;
  }

  const char* match(const char* s, const char* p) {
    if (++depth > max_depth) luaL_error(L, "pattern too complex");
    const char* r = match_items(s, p);
    --depth;
    return r;
  }
  const char* match_items(const char* s, const char* p) {
    for (;;) {
      step();
      if (p == pattern_end) return s;
      switch (*p) {
      case '(':
        if (p + 1 < pattern_end && p[1] == ')') return open_capture(s, p + 2, capture_position);
        return open_capture(s, p + 1, capture_unfinished);
      case ')':
        return close_capture(s, p + 1);
      case '$':
        if (p + 1 == pattern_end) return s == end ? s : nullptr;
        break;
      case escape_char:
        if (p + 1 == pattern_end) break;
        if (p[1] == 'b') {
          s = balance(s, p + 2);
          if (!s) return nullptr;
          p += 4;
          continue;
        }
        if (p[1] == 'f') {
          p += 2;
          if (p == pattern_end || *p != '[') luaL_error(L, "missing '[' after '%%f' in pattern");
          const char* item_end = class_end(p);
          const int before = s == begin ? 0 : byte(s - 1), here = s < end ? byte(s) : 0;
          if (in_set(before, p, item_end - 1) || !in_set(here, p, item_end - 1)) return nullptr;
          p = item_end;
          continue;
        }
        if (std::isdigit(byte(p + 1))) {
          s = back_reference(s, byte(p + 1));
          if (!s) return nullptr;
          p += 2;
          continue;
        }
        break;
      default:
        break;
      }
      const char* item_end = class_end(p);
      const char suffix = item_end < pattern_end ? *item_end : 0;
      if (suffix == '*') return most(s, p, item_end);
      if (suffix == '-') return least(s, p, item_end);
      const bool fits = single(s, p, item_end);
      if (suffix == '+') return fits ? most(s + 1, p, item_end) : nullptr;
      if (suffix == '?') {
        if (fits)
          if (const char* r = match(s + 1, item_end + 1)) return r;
        p = item_end + 1;
        continue;
      }
      if (!fits) return nullptr;
      ++s;
      p = item_end;
    }
  }

  void push_capture(int l, const char* s, const char* e) {
    if (l >= level) {
      if (l != 0) luaL_error(L, "invalid capture index %%%d", l + 1);
      lua_pushlstring(L, s, static_cast<std::size_t>(e - s));
    } else if (capture[l].size == capture_position) {
      lua_pushinteger(L, capture[l].at - begin + 1);
    } else {
      if (capture[l].size == capture_unfinished) luaL_error(L, "unfinished capture");
      lua_pushlstring(L, capture[l].at, static_cast<std::size_t>(capture[l].size));
    }
  }
  int push_captures(const char* s, const char* e, bool whole) {
    const int n = level == 0 && whole ? 1 : level;
    luaL_checkstack(L, n, "too many captures");
    for (int i = 0; i < n; ++i) push_capture(i, s, e);
    return n;
  }
};

bool is_plain(const char* p, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i)
    if (std::memchr("^$*+?.([%-", p[i], 10)) return false;
  return true;
}

int find_or_match(lua_State* L, bool find) {
  std::size_t size = 0, pattern_size = 0;
  const char* s = luaL_checklstring(L, 1, &size);
  const char* p = luaL_checklstring(L, 2, &pattern_size);
  lua_Integer init = luaL_optinteger(L, 3, 1);
  if (init < 0) init = static_cast<lua_Integer>(size) + init + 1 < 1 ? 1 : static_cast<lua_Integer>(size) + init + 1;
  if (init == 0) init = 1;
  if (init > static_cast<lua_Integer>(size) + 1) {
    lua_pushnil(L);
    return 1;
  }
  const auto from = static_cast<std::size_t>(init - 1);
  if (find && (lua_toboolean(L, 4) || is_plain(p, pattern_size))) {
    lua_sandbox::of(L).spend(L, (size - from) / 16); // memmem is linear
    const void* hit = pattern_size == 0 ? s + from : memmem(s + from, size - from, p, pattern_size);
    if (!hit) {
      lua_pushnil(L);
      return 1;
    }
    const auto at = static_cast<const char*>(hit) - s;
    lua_pushinteger(L, at + 1);
    lua_pushinteger(L, at + static_cast<lua_Integer>(pattern_size));
    return 2;
  }
  const bool anchored = pattern_size > 0 && *p == '^';
  matcher m{L, s, s + size, p + pattern_size, 0, 0, 0, {}};
  for (const char* at = s + from; at <= m.end; ++at) {
    m.start();
    if (const char* e = m.match(at, anchored ? p + 1 : p)) {
      if (!find) return m.push_captures(at, e, true);
      lua_pushinteger(L, at - s + 1);
      lua_pushinteger(L, e - s);
      return m.push_captures(at, e, false) + 2;
    }
    if (anchored) break;
  }
  lua_pushnil(L);
  return 1;
}
int find(lua_State* L) { return find_or_match(L, true); }
int match(lua_State* L) { return find_or_match(L, false); }

// Upvalues: text, pattern, where to go on, the end of the last match.
int gmatch_next(lua_State* L) {
  std::size_t size = 0, pattern_size = 0;
  const char* s = lua_tolstring(L, lua_upvalueindex(1), &size);
  const char* p = lua_tolstring(L, lua_upvalueindex(2), &pattern_size);
  const char* last = s + lua_tointeger(L, lua_upvalueindex(4)); // -1: none
  matcher m{L, s, s + size, p + pattern_size, 0, 0, 0, {}};
  for (const char* at = s + lua_tointeger(L, lua_upvalueindex(3)); at <= m.end; ++at) {
    m.start();
    const char* e = m.match(at, p);
    if (!e || e == last) continue;
    lua_pushinteger(L, e - s);
    lua_pushvalue(L, -1);
    lua_replace(L, lua_upvalueindex(3));
    lua_replace(L, lua_upvalueindex(4));
    return m.push_captures(at, e, true);
  }
  return 0;
}
int gmatch(lua_State* L) {
  std::size_t size = 0;
  luaL_checklstring(L, 1, &size);
  luaL_checkstring(L, 2);
  lua_Integer init = luaL_optinteger(L, 3, 1);
  if (init < 0) init = static_cast<lua_Integer>(size) + init + 1;
  if (init < 1) init = 1;
  if (init > static_cast<lua_Integer>(size) + 1) init = static_cast<lua_Integer>(size) + 2;
  lua_settop(L, 2);
  lua_pushinteger(L, init - 1);
  lua_pushinteger(L, -1);
  lua_pushcclosure(L, gmatch_next, 4);
  return 1;
}

/// Appends what stands for the match [s, e): argument 3 is a text, a table or a function.
void add_replacement(matcher& m, luaL_Buffer* out, const char* s, const char* e, int type) {
  lua_State* L = m.L;
  if (type == LUA_TSTRING || type == LUA_TNUMBER) {
    std::size_t size = 0;
    const char* r = lua_tolstring(L, 3, &size);
    for (const char* p = r; p < r + size; ++p) {
      m.step();
      if (*p != escape_char) {
        luaL_addchar(out, *p);
        continue;
      }
      ++p;
      if (p < r + size && *p == escape_char) {
        luaL_addchar(out, *p);
      } else if (p < r + size && *p == '0') {
        luaL_addlstring(out, s, static_cast<std::size_t>(e - s));
      } else if (p < r + size && std::isdigit(matcher::byte(p))) {
        m.push_capture(*p - '1', s, e);
        luaL_tolstring(L, -1, nullptr);
        lua_remove(L, -2);
        luaL_addvalue(out);
      } else {
        luaL_error(L, "invalid use of '%%' in replacement string");
      }
    }
    return;
  }
  if (type == LUA_TFUNCTION) {
    lua_pushvalue(L, 3);
    const int n = m.push_captures(s, e, true);
    lua_call(L, n, 1);
  } else {
    m.push_capture(0, s, e);
    lua_gettable(L, 3);
  }
  if (!lua_toboolean(L, -1)) {
    lua_pop(L, 1);
    luaL_addlstring(out, s, static_cast<std::size_t>(e - s));
  } else if (!lua_isstring(L, -1)) {
    luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
  } else {
    luaL_addvalue(out);
  }
}

int gsub(lua_State* L) {
  std::size_t size = 0, pattern_size = 0;
  const char* s = luaL_checklstring(L, 1, &size);
  const char* p = luaL_checklstring(L, 2, &pattern_size);
  const int type = lua_type(L, 3);
  luaL_argexpected(L, type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION || type == LUA_TTABLE, 3,
                   "string/function/table");
  const lua_Integer most = luaL_optinteger(L, 4, static_cast<lua_Integer>(size) + 1);
  const bool anchored = pattern_size > 0 && *p == '^';
  matcher m{L, s, s + size, p + pattern_size, 0, 0, 0, {}};
  luaL_Buffer out;
  luaL_buffinit(L, &out);
  const char* at = s;
  const char* last = nullptr;
  lua_Integer count = 0;
  while (count < most) {
    m.start();
    const char* e = m.match(at, anchored ? p + 1 : p);
    if (e && e != last) {
      ++count;
      add_replacement(m, &out, at, e, type);
      at = last = e;
    } else if (at < m.end) {
      luaL_addchar(&out, *at++);
    } else {
      break;
    }
    if (anchored) break;
  }
  luaL_addlstring(&out, at, static_cast<std::size_t>(m.end - at));
  luaL_pushresult(&out);
  lua_pushinteger(L, count);
  return 2;
}
} // namespace

void add_pattern_functions(lua_State* L) {
  lua_getglobal(L, "string");
  constexpr luaL_Reg functions[] = {{"find", find}, {"match", match}, {"gmatch", gmatch}, {"gsub", gsub}};
  for (const auto& [name, function] : functions) {
    lua_pushcfunction(L, function);
    lua_setfield(L, -2, name);
  }
  lua_pop(L, 1);
}

} // namespace millrace::actors::transform
