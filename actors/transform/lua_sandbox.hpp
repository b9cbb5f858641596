#pragma once
// A Lua state that can only compute: limits of instructions, memory and time for each change, and nothing kept between changes.
// liblua is compiled as C: an error is a longjmp. Functions that Lua calls must hold no C++ object with a destructor when they
// raise.

#include "actors/transform/transformer.hpp"

#include <chrono>
#include <lua.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::actors::transform {

/// Owner: one step of one transformer. What a script may use: assert, error, ipairs, next, pairs, pcall, xpcall, select,
/// tonumber, tostring, type, setmetatable, getmetatable, rawequal, rawlen; string (without dump), table, math (without random),
/// utf8, coroutine. Same input, same output, on any worker: pairs() goes in the order of keys, tostring() shows no addresses, and
/// after load() globals, their tables and the script's own locals are read-only.
class lua_sandbox {
public:
  explicit lua_sandbox(const transform_limits& limits);
  ~lua_sandbox();
  lua_sandbox(const lua_sandbox&) = delete;
  lua_sandbox& operator=(const lua_sandbox&) = delete;

  /// Runs the script and freezes what it made. Empty: good, and its global function `name` is what call() calls.
  std::string load(const std::string& script, const char* name);
  /// The function's declared parameters; 255 if it takes any number.
  int parameters() const { return parameters_; }
  /// Pushes the function; the caller pushes its arguments, then call() leaves one result. New limits for each call.
  void begin_call();
  /// Empty: good. Else the reason, and no result is left.
  std::string call(int arguments);
  /// The call ended because a limit was hit.
  bool limit_hit() const { return stop_ != stop::none; }

  lua_State* state() const { return L_.get(); }
  /// Leaves what a frozen table holds on the stack in place of the table at the top; anything else stays.
  static void unwrap(lua_State* L);

  // ---- For functions that Lua calls
  static lua_sandbox& of(lua_State* L) { return **static_cast<lua_sandbox**>(lua_getextraspace(L)); }
  /// Work done in C on behalf of the script, in instructions. Raises once a limit is hit.
  void spend(lua_State* L, std::uint64_t instructions);

private:
  enum class stop : std::uint8_t { none, instructions, memory, time };
  struct closer {
    void operator()(lua_State* L) const noexcept { lua_close(L); }
  };
  static void* allocate(void* self, void* p, std::size_t old_size, std::size_t new_size);
  static void hook(lua_State* L, lua_Debug*);
  static int pcall_end(lua_State* L, int status, lua_KContext extra);
  static int pcall(lua_State* L);
  static int message_handler(lua_State* L);
  static int xpcall(lua_State* L);
  static int resume(lua_State* L);
  static int wrap(lua_State* L);
  static int wrapped(lua_State* L);
  void open_libraries();
  std::string freeze();
  void begin_limits();
  bool kept_nothing();
  [[noreturn]] static void raise(lua_State* L, const char* what);
  std::string stop_message() const;
  static std::string take_message(lua_State* L);

  transform_limits limits_;
  std::uint64_t instructions_ = 0;
  std::chrono::steady_clock::time_point deadline_;
  std::size_t memory_ = 0;
  bool refused_memory_ = false, limited_ = false;
  stop stop_ = stop::none;
  int parameters_ = 0, function_ = LUA_NOREF, environment_ = LUA_NOREF;
  struct kept_value { ///< a local of the script that functions share: it must not change
    int function, index, value;
    std::string name;
  };
  std::vector<kept_value> kept_;
  std::string changed_;
  std::unique_ptr<lua_State, closer> L_;
};

/// string.find, match, gmatch, gsub with Lua's patterns, spending instructions as they go: Lua's own run in C, where no limit
/// holds.
void add_pattern_functions(lua_State* L);
/// pairs, next, tostring, string.format and others that would show addresses or hash order, or loop in C without end.
void add_guarded_functions(lua_State* L);

} // namespace millrace::actors::transform
