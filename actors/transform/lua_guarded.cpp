// Library functions that had to be replaced: see lua_sandbox.hpp for why.
#include "actors/transform/lua_sandbox.hpp"

#include <cstring>

namespace millrace::actors::transform {

namespace {
int rank_of(int type) {
  switch (type) {
  case LUA_TNUMBER:
    return 0;
  case LUA_TSTRING:
    return 1;
  case LUA_TBOOLEAN:
    return 2;
  default:
    return 3;
  }
}
/// The order in which pairs() visits keys. Tables and functions as keys have none.
bool key_less(lua_State* L, int a, int b) {
  const int x = rank_of(lua_type(L, a)), y = rank_of(lua_type(L, b));
  if (x != y) return x < y;
  if (x == 2) return !lua_toboolean(L, a) && lua_toboolean(L, b);
  return x < 2 && lua_compare(L, a, b, LUA_OPLT);
}
int key_less_function(lua_State* L) {
  lua_pushboolean(L, key_less(L, 1, 2));
  return 1;
}

// Upvalues: table, keys (nil for a sequence), position.
int pairs_next(lua_State* L) {
  for (;;) {
    const lua_Integer at = lua_tointeger(L, lua_upvalueindex(3)) + 1;
    lua_pushinteger(L, at);
    lua_replace(L, lua_upvalueindex(3));
    if (lua_isnil(L, lua_upvalueindex(2)))
      lua_pushinteger(L, at);
    else
      lua_rawgeti(L, lua_upvalueindex(2), at);
    if (lua_isnil(L, -1)) return 1;
    lua_pushvalue(L, -1);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 2;
    if (lua_isnil(L, lua_upvalueindex(2))) return 1; // the end of the sequence
    lua_pop(L, 2);                                   // removed since
  }
}

int pairs(lua_State* L) {
  luaL_checkany(L, 1);
  if (luaL_getmetafield(L, 1, "__pairs") != LUA_TNIL) {
    lua_pushvalue(L, 1);
    lua_call(L, 1, 3);
    return 3;
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_sandbox::unwrap(L);
  lua_Integer count = 0;
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) ++count;
  lua_sandbox::of(L).spend(L, static_cast<std::uint64_t>(count));
  lua_pushvalue(L, 1);
  if (static_cast<lua_Integer>(lua_rawlen(L, 1)) == count) {
    lua_pushnil(L); // all keys are 1..count
  } else {
    lua_createtable(L, static_cast<int>(count < 1'000'000 ? count : 1'000'000), 0);
    lua_Integer i = 0;
    for (lua_pushnil(L); lua_next(L, 1);) {
      lua_pop(L, 1);
      lua_pushvalue(L, -1);
      lua_rawseti(L, 3, ++i);
    }
    lua_pushvalue(L, lua_upvalueindex(1)); // table.sort, with nothing that the script could have changed
    lua_pushvalue(L, 3);
    lua_pushcfunction(L, key_less_function);
    lua_call(L, 2, 0);
  }
  lua_pushinteger(L, 0);
  lua_pushcclosure(L, pairs_next, 3);
  return 1;
}

/// The least key above the given one: in no hurry, but in the order of pairs().
int next(lua_State* L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  if (luaL_getmetafield(L, 1, "__next") != LUA_TNIL) { // the change itself
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_call(L, 2, 2);
    return 2;
  }
  lua_pushvalue(L, 1);
  lua_sandbox::unwrap(L); // 3: the table
  lua_pushnil(L);         // 4: the best key so far
  lua_Integer count = 0;
  for (lua_pushnil(L); lua_next(L, 3);) {
    lua_pop(L, 1);
    ++count;
    const bool above = lua_isnil(L, 2) || key_less(L, 2, 5);
    if (above && (lua_isnil(L, 4) || key_less(L, 5, 4))) {
      lua_pushvalue(L, 5);
      lua_replace(L, 4);
    }
  }
  lua_sandbox::of(L).spend(L, static_cast<std::uint64_t>(count));
  lua_settop(L, 4);
  if (lua_isnil(L, 4)) return 1;
  lua_pushvalue(L, 4);
  lua_rawget(L, 3);
  return 2;
}

/// Leaves a text in place of the value at `index` if tostring() would show an address.
void hide_address(lua_State* L, int index) {
  const int type = lua_type(L, index);
  if (type == LUA_TNIL || type == LUA_TBOOLEAN || type == LUA_TNUMBER || type == LUA_TSTRING) return;
  if (luaL_getmetafield(L, index, "__tostring") != LUA_TNIL) return lua_pop(L, 1);
  lua_pushstring(L, lua_typename(L, type));
  lua_replace(L, index);
}
int to_text(lua_State* L) {
  luaL_checkany(L, 1);
  hide_address(L, 1);
  luaL_tolstring(L, 1, nullptr);
  return 1;
}
int format(lua_State* L) {
  const int n = lua_gettop(L);
  std::size_t size = 0;
  const char* f = luaL_checklstring(L, 1, &size);
  for (const char* p = f; p < f + size; ++p) {
    if (*p != '%') continue;
    ++p;
    while (p < f + size && std::strchr("-+ #0123456789.", *p)) ++p;
    if (p < f + size && *p == 'p')
      return luaL_error(L, "string.format: %%p shows an address, which differs from worker to worker");
  }
  for (int i = 2; i <= n; ++i) hide_address(L, i);
  lua_sandbox::of(L).spend(L, size / 16);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, n, 1);
  return 1;
}

int set_metatable(lua_State* L) {
  if (lua_type(L, 2) == LUA_TTABLE) {
    for (const char* name : {"__gc", "__mode"}) { // both show when memory is collected
      lua_pushstring(L, name);
      if (lua_rawget(L, 2) != LUA_TNIL) return luaL_error(L, "setmetatable: %s is not available", name);
      lua_pop(L, 1);
    }
  }
  const int n = lua_gettop(L);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, n, 1);
  return 1;
}

/// Calls upvalue 1 after charging for the table's length (upvalue 2: how much an element costs).
int by_length(lua_State* L) {
  const int n = lua_gettop(L);
  if (n > 0 && (lua_type(L, 1) == LUA_TTABLE || lua_type(L, 1) == LUA_TSTRING)) {
    const lua_Integer size = luaL_len(L, 1);
    if (size > 0)
      lua_sandbox::of(L).spend(L, static_cast<std::uint64_t>(size) *
                                      static_cast<std::uint64_t>(lua_tointeger(L, lua_upvalueindex(2))) / 16);
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, n, LUA_MULTRET);
  return lua_gettop(L);
}
/// The same for functions that take a range: upvalue 2 is where its first end stands.
int by_range(lua_State* L) {
  const int n = lua_gettop(L);
  const int first = static_cast<int>(lua_tointeger(L, lua_upvalueindex(2))), last = first + 1;
  if (n >= last && lua_isinteger(L, first) && lua_isinteger(L, last) && lua_tointeger(L, last) >= lua_tointeger(L, first))
    lua_sandbox::of(L).spend(L, static_cast<std::uint64_t>(lua_tointeger(L, last)) -
                                    static_cast<std::uint64_t>(lua_tointeger(L, first)));
  return by_length(L);
}
int repeat(lua_State* L) {
  std::size_t size = 0, separator = 0;
  luaL_checklstring(L, 1, &size);
  const lua_Integer times = luaL_checkinteger(L, 2);
  luaL_optlstring(L, 3, "", &separator);
  if (size + separator == 0) { // Lua's own would count to `times` all the same
    lua_pushliteral(L, "");
    return 1;
  }
  if (times > 0) lua_sandbox::of(L).spend(L, static_cast<std::uint64_t>(times) / 16);
  const int n = lua_gettop(L);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, n, 1);
  return 1;
}
} // namespace

void add_guarded_functions(lua_State* L) {
  lua_pushglobaltable(L);
  lua_getfield(L, -1, "table");
  lua_getfield(L, -1, "sort");
  lua_pushcclosure(L, pairs, 1);
  lua_setfield(L, -3, "pairs");
  const auto guard = [&](const char* name, lua_CFunction with, lua_Integer argument) { // in the table on the top
    lua_getfield(L, -1, name);
    lua_pushinteger(L, argument);
    lua_pushcclosure(L, with, 2);
    lua_setfield(L, -2, name);
  };
  for (const char* name : {"insert", "remove"}) guard(name, by_length, 8);
  guard("sort", by_length, 256);
  guard("move", by_range, 2);
  guard("unpack", by_range, 2);
  guard("concat", by_range, 3);
  lua_pop(L, 1);
  lua_getfield(L, -1, "string");
  lua_getfield(L, -1, "format");
  lua_pushcclosure(L, format, 1);
  lua_setfield(L, -2, "format");
  lua_getfield(L, -1, "rep");
  lua_pushcclosure(L, repeat, 1);
  lua_setfield(L, -2, "rep");
  for (const char* name : {"upper", "lower", "reverse"}) guard(name, by_length, 1);
  lua_pop(L, 1);
  lua_pushcfunction(L, next);
  lua_setfield(L, -2, "next");
  lua_pushcfunction(L, to_text);
  lua_setfield(L, -2, "tostring");
  lua_getfield(L, -1, "setmetatable");
  lua_pushcclosure(L, set_metatable, 1);
  lua_setfield(L, -2, "setmetatable");
  lua_pop(L, 1);
}

} // namespace millrace::actors::transform
