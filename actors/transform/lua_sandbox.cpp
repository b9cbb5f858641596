#include "actors/transform/lua_sandbox.hpp"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <unordered_set>

namespace millrace::actors::transform {

namespace {
constexpr int hook_interval = 1000;     // instructions between two looks at the limits
constexpr std::size_t large = 1u << 20; // an allocation from which on the clock is looked at: copying takes time, too
const char frozen_key = 0;              // its address is the key under which a frozen table's metatable keeps the content
constexpr const char* no_memory = "not enough memory"; // Lua's own words

int read_only(lua_State* L) {
  if (lua_type(L, 2) == LUA_TSTRING)
    return luaL_error(L, "attempt to change '%s', which outlives the change: globals and their tables are read-only",
                      lua_tostring(L, 2));
  return luaL_error(L, "attempt to change a table that outlives the change: globals and their tables are read-only");
}
int frozen_length(lua_State* L) {
  lua_pushinteger(L, luaL_len(L, lua_upvalueindex(1)));
  return 1;
}
} // namespace

lua_sandbox::lua_sandbox(const transform_limits& limits) : limits_(limits), L_(lua_newstate(allocate, this)) {
  if (!L_) throw std::bad_alloc();
  *static_cast<lua_sandbox**>(lua_getextraspace(L_.get())) = this; // threads inherit a copy
  open_libraries();
}

lua_sandbox::~lua_sandbox() { limited_ = false; }

void* lua_sandbox::allocate(void* self, void* p, std::size_t old_size, std::size_t new_size) {
  auto& s = *static_cast<lua_sandbox*>(self);
  if (!p) old_size = 0; // then it is a type, not a size
  if (new_size == 0) {
    std::free(p);
    s.memory_ -= old_size;
    return nullptr;
  }
  if (s.limited_ && new_size > old_size) {
    if (s.memory_ - old_size + new_size > s.limits_.lua_memory_bytes) {
      s.refused_memory_ = true;
      return nullptr;
    }
    if (new_size > large && std::chrono::steady_clock::now() > s.deadline_) {
      s.stop_ = stop::time;
      return nullptr;
    }
  }
  void* q = std::realloc(p, new_size);
  if (q) s.memory_ += new_size - old_size;
  return q;
}

void lua_sandbox::raise(lua_State* L, const char* what) {
  lua_pushstring(L, what);
  lua_error(L);
  std::abort(); // lua_error does not come back
}

void lua_sandbox::spend(lua_State* L, std::uint64_t instructions) {
  if (!limited_) return;
  instructions_ += instructions;
  if (stop_ == stop::none) {
    if (instructions_ > limits_.lua_instructions)
      stop_ = stop::instructions;
    else if (std::chrono::steady_clock::now() > deadline_)
      stop_ = stop::time;
  }
  if (stop_ != stop::none) raise(L, "a limit was hit");
}

void lua_sandbox::hook(lua_State* L, lua_Debug*) { of(L).spend(L, hook_interval); }

std::string lua_sandbox::stop_message() const {
  switch (stop_) {
  case stop::instructions:
    return "took more than " + std::to_string(limits_.lua_instructions) + " instructions";
  case stop::memory:
    return "took more than " + std::to_string(limits_.lua_memory_bytes) + " bytes of memory";
  case stop::time:
    return "took longer than " + std::to_string(limits_.lua_time.count()) + " ms";
  case stop::none:
    break;
  }
  return {};
}

// pcall and xpcall as in Lua's base library, but a hit limit goes on upwards: a script cannot outlive it.
int lua_sandbox::pcall_end(lua_State* L, int status, lua_KContext extra) {
  lua_sandbox& s = of(L);
  if (status == LUA_OK || status == LUA_YIELD) return lua_gettop(L) - static_cast<int>(extra);
  if (status == LUA_ERRMEM && s.stop_ == stop::none) s.stop_ = stop::memory;
  if (s.stop_ != stop::none) return lua_error(L);
  lua_pushboolean(L, 0);
  lua_pushvalue(L, -2);
  return 2;
}
int lua_sandbox::pcall(lua_State* L) {
  luaL_checkany(L, 1);
  lua_pushboolean(L, 1);
  lua_insert(L, 1);
  return pcall_end(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, pcall_end), 0);
}
// The error that a hook raises calls the message handler with hooks off: past a limit the script's own must not run at all.
int lua_sandbox::message_handler(lua_State* L) {
  if (of(L).stop_ != stop::none) return 1;
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, 1, 1);
  return 1;
}
int lua_sandbox::xpcall(lua_State* L) {
  const int n = lua_gettop(L);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_pushvalue(L, 2);
  lua_pushcclosure(L, message_handler, 1);
  lua_replace(L, 2);
  lua_pushboolean(L, 1);
  lua_pushvalue(L, 1);
  lua_rotate(L, 3, 2);
  return pcall_end(L, lua_pcallk(L, n - 2, LUA_MULTRET, 2, 2, pcall_end), 2);
}

// Each resume begins a count of its own up to the next look, so it is charged for one; and it must not swallow a limit either.
int lua_sandbox::resume(lua_State* L) {
  lua_sandbox& s = of(L);
  s.spend(L, hook_interval);
  const int arguments = lua_gettop(L);
  lua_pushvalue(L, lua_upvalueindex(1)); // coroutine.resume
  lua_insert(L, 1);
  lua_call(L, arguments, LUA_MULTRET);
  if (!lua_toboolean(L, 1)) {
    const char* message = lua_tostring(L, 2);
    if (s.refused_memory_ && message && std::strcmp(message, no_memory) == 0 && s.stop_ == stop::none) s.stop_ = stop::memory;
    if (s.stop_ != stop::none) return luaL_error(L, "a limit was hit");
  }
  return lua_gettop(L);
}
// As coroutine.wrap, but where a limit was hit the coroutine's variables are not closed: that, too, would run with hooks off.
int lua_sandbox::wrapped(lua_State* L) {
  lua_sandbox& s = of(L);
  s.spend(L, hook_interval);
  lua_State* co = lua_tothread(L, lua_upvalueindex(1));
  const int arguments = lua_gettop(L);
  if (!lua_checkstack(co, arguments)) return luaL_error(L, "too many arguments to resume");
  lua_xmove(L, co, arguments);
  int results = 0;
  int status = lua_resume(co, L, arguments, &results);
  if (status == LUA_OK || status == LUA_YIELD) {
    if (!lua_checkstack(L, results + 1)) return luaL_error(L, "too many results to resume");
    lua_xmove(co, L, results);
    return results;
  }
  if (status == LUA_ERRMEM && s.stop_ == stop::none) s.stop_ = stop::memory;
  if (s.stop_ == stop::none && lua_status(co) != LUA_OK && lua_status(co) != LUA_YIELD) lua_resetthread(co);
  lua_xmove(co, L, 1);
  return lua_error(L);
}
int lua_sandbox::wrap(lua_State* L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_State* co = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  lua_pushcclosure(L, wrapped, 1);
  return 1;
}

void lua_sandbox::open_libraries() {
  lua_State* L = L_.get();
  constexpr luaL_Reg libraries[] = {{LUA_GNAME, luaopen_base},       {LUA_STRLIBNAME, luaopen_string},
                                    {LUA_TABLIBNAME, luaopen_table}, {LUA_MATHLIBNAME, luaopen_math},
                                    {LUA_UTF8LIBNAME, luaopen_utf8}, {LUA_COLIBNAME, luaopen_coroutine}};
  for (const auto& [name, open] : libraries) {
    luaL_requiref(L, name, open, 1);
    lua_pop(L, 1);
  }
  lua_pushglobaltable(L);
  for (const char* name : {"collectgarbage", "dofile", "load", "loadfile", "print", "rawget", "rawset", "warn", "_G"}) {
    lua_pushnil(L);
    lua_setfield(L, -2, name);
  }
  const auto remove = [&](const char* library, const char* name) {
    lua_getfield(L, -1, library);
    lua_pushnil(L);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
  };
  remove("string", "dump");
  remove("math", "random");
  remove("math", "randomseed");
  remove("coroutine", "running"); // an address to tell changes apart by
  lua_pushcfunction(L, pcall);
  lua_setfield(L, -2, "pcall");
  lua_pushcfunction(L, xpcall);
  lua_setfield(L, -2, "xpcall");
  lua_getfield(L, -1, "coroutine");
  lua_getfield(L, -1, "resume");
  lua_pushcclosure(L, resume, 1);
  lua_setfield(L, -2, "resume");
  lua_pushcfunction(L, wrap);
  lua_setfield(L, -2, "wrap");
  lua_pop(L, 2);
  add_pattern_functions(L);
  add_guarded_functions(L);
  lua_pushliteral(L, ""); // the metatable of all strings
  lua_getmetatable(L, -1);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 2);
}

std::string lua_sandbox::take_message(lua_State* L) {
  std::string text =
      lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : std::string("an error that is a ") + luaL_typename(L, -1);
  lua_pop(L, 1);
  return text;
}

void lua_sandbox::begin_limits() {
  instructions_ = 0;
  refused_memory_ = false;
  stop_ = stop::none;
  limited_ = true;
  deadline_ = std::chrono::steady_clock::now() + limits_.lua_time;
  lua_sethook(L_.get(), hook, LUA_MASKCOUNT, hook_interval); // counts anew: the same change meets the same limit everywhere
}

std::string lua_sandbox::load(const std::string& script, const char* name) {
  lua_State* L = L_.get();
  if (luaL_loadbufferx(L, script.data(), script.size(), "=lua", "t") != LUA_OK) return take_message(L);
  begin_limits();
  const int status = lua_pcall(L, 0, 0, 0);
  limited_ = false;
  if (status == LUA_ERRMEM && stop_ == stop::none) stop_ = stop::memory;
  if (status != LUA_OK) {
    const std::string message = take_message(L);
    return limit_hit() ? stop_message() : message;
  }
  if (lua_getglobal(L, name) != LUA_TFUNCTION || lua_iscfunction(L, -1)) {
    lua_pop(L, 1);
    return std::string("found no function \"") + name + "\", expected function " + name + "(change, meta)";
  }
  lua_pushvalue(L, -1);
  lua_Debug info;
  lua_getinfo(L, ">u", &info);
  parameters_ = info.isvararg ? 255 : info.nparams;
  function_ = luaL_ref(L, LUA_REGISTRYINDEX);
  return freeze();
}

std::string lua_sandbox::freeze() {
  lua_State* L = L_.get();
  // Every table that a later change could reach is emptied into a hidden one and stands in front of it, read-only; every local
  // that functions share is remembered, to be compared after each call.
  std::unordered_set<const void*> seen, upvalues;
  std::vector<int> queue; // references to values to visit
  std::string problem;
  const auto visit = [&] { // pops the value on the top
    const int type = lua_type(L, -1);
    const bool container = type == LUA_TTABLE || type == LUA_TFUNCTION || type == LUA_TTHREAD;
    if (!container || !seen.insert(lua_topointer(L, -1)).second) return lua_pop(L, 1);
    if (type == LUA_TTHREAD) problem = "found a coroutine that would outlive the change";
    queue.push_back(luaL_ref(L, LUA_REGISTRYINDEX));
  };
  // The libraries' own functions keep their upvalues: they are ours.
  std::unordered_set<const void*> libraries;
  lua_pushglobaltable(L);
  const auto note_functions = [&] {
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
      if (lua_iscfunction(L, -1)) libraries.insert(reinterpret_cast<const void*>(lua_tocfunction(L, -1)));
  };
  note_functions();
  for (const char* name : {"string", "table", "math", "utf8", "coroutine"}) {
    if (lua_getfield(L, -1, name) == LUA_TTABLE) note_functions();
    lua_pop(L, 1);
  }
  visit();
  while (!queue.empty()) {
    const int reference = queue.back();
    queue.pop_back();
    lua_rawgeti(L, LUA_REGISTRYINDEX, reference);
    if (lua_type(L, -1) == LUA_TFUNCTION) {
      if (lua_iscfunction(L, -1)) {
        const bool ours = libraries.contains(reinterpret_cast<const void*>(lua_tocfunction(L, -1)));
        if (!ours && lua_getupvalue(L, -1, 1)) {
          lua_pop(L, 1);
          problem = "found an iterator or coroutine that would outlive the change";
        }
      } else {
        for (int i = 1; const char* name = lua_getupvalue(L, -1, i); ++i) {
          if (upvalues.insert(lua_upvalueid(L, -2, i)).second) {
            lua_pushvalue(L, -1);
            kept_.push_back({reference, i, luaL_ref(L, LUA_REGISTRYINDEX), name});
          }
          visit();
        }
      }
      lua_pop(L, 1);
      continue; // the reference stays: kept_ names it
    }
    if (lua_type(L, -1) == LUA_TTABLE) {
      lua_newtable(L); // table, content
      std::vector<int> keys;
      for (lua_pushnil(L); lua_next(L, -3);) {
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, -5); // content[key] = value
        visit();
        lua_pushvalue(L, -1);
        visit(); // a table may be a key
        lua_pushvalue(L, -1);
        keys.push_back(luaL_ref(L, LUA_REGISTRYINDEX));
      }
      for (const int key : keys) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, key);
        // Metamethods are looked up without metamethods: a table that is a metatable must keep them itself.
        const char* name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
        if (std::strncmp(name, "__", 2) != 0) {
          lua_pushnil(L);
          lua_rawset(L, -4);
        } else {
          lua_pop(L, 1);
        }
        luaL_unref(L, LUA_REGISTRYINDEX, key);
      }
      if (lua_getmetatable(L, -2)) { // what it inherited, it goes on to inherit
        lua_pushvalue(L, -1);
        visit();
        lua_setmetatable(L, -2);
      }
      lua_createtable(L, 0, 5); // table, content, metatable
      lua_pushvalue(L, -2);
      lua_setfield(L, -2, "__index");
      lua_pushcfunction(L, read_only);
      lua_setfield(L, -2, "__newindex");
      lua_pushvalue(L, -2);
      lua_pushcclosure(L, frozen_length, 1);
      lua_setfield(L, -2, "__len");
      lua_pushboolean(L, 0);
      lua_setfield(L, -2, "__metatable");
      lua_pushvalue(L, -2);
      lua_rawsetp(L, -2, &frozen_key);
      lua_setmetatable(L, -3);
      lua_pop(L, 1);
    }
    lua_pop(L, 1);
    luaL_unref(L, LUA_REGISTRYINDEX, reference);
  }
  return problem;
}

void lua_sandbox::unwrap(lua_State* L) {
  if (!lua_getmetatable(L, -1)) return;
  if (lua_rawgetp(L, -1, &frozen_key) == LUA_TTABLE) {
    lua_replace(L, -3);
    lua_pop(L, 1);
  } else {
    lua_pop(L, 2);
  }
}

bool lua_sandbox::kept_nothing() {
  lua_State* L = L_.get();
  bool nothing = true;
  for (const kept_value& k : kept_) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, k.function);
    lua_getupvalue(L, -1, k.index);
    lua_rawgeti(L, LUA_REGISTRYINDEX, k.value);
    const bool no_number = !lua_rawequal(L, -1, -1); // not-a-number equals nothing, not even itself
    const bool same = lua_rawequal(L, -1, -2) || (no_number && !lua_rawequal(L, -2, -2));
    if (same) {
      lua_pop(L, 3);
      continue;
    }
    nothing = false;
    changed_ = k.name;
    lua_setupvalue(L, -3, k.index); // as it was: the next change must not see it
    lua_pop(L, 2);
  }
  return nothing;
}

void lua_sandbox::begin_call() { lua_rawgeti(L_.get(), LUA_REGISTRYINDEX, function_); }

std::string lua_sandbox::call(int arguments) {
  lua_State* L = L_.get();
  begin_limits();
  const int status = lua_pcall(L, arguments, 1, 0);
  limited_ = false;
  if (status == LUA_ERRMEM && stop_ == stop::none) stop_ = stop::memory;
  std::string message;
  if (status != LUA_OK) {
    message = take_message(L);
    if (limit_hit()) message = stop_message();
  } else if (limit_hit()) { // swallowed somewhere, such as in an error handler
    lua_pop(L, 1);
    message = stop_message();
  }
  if (!kept_nothing() && message.empty()) {
    lua_pop(L, 1);
    message = "changed the local '" + changed_ + "', which outlives the change: workers would give different rows";
  }
  if (!message.empty()) lua_gc(L, LUA_GCCOLLECT); // a change that failed may leave much behind
  return message;
}

} // namespace millrace::actors::transform
