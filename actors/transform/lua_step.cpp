// lua: transform(change, meta) for each row. `change` is one table for all calls that reads and writes the row's cells in place:
// a script pays for the fields it touches, not for those it leaves alone.
#include "actors/transform/calendar.hpp"
#include "actors/transform/lua_sandbox.hpp"
#include "actors/transform/step.hpp"

#include <algorithm>
#include <cmath>
#include <simdjson.h>

namespace millrace::actors::transform {

namespace {
using storage::operation;

class lua_step final : public step {
public:
  lua_step(std::unique_ptr<lua_sandbox> sandbox, std::string name)
      : sandbox_(std::move(sandbox)), L_(sandbox_->state()), name_(std::move(name)) {
    make_proxy(change_, index, new_index);
    lua_rawgeti(L_, LUA_REGISTRYINDEX, change_);
    lua_getmetatable(L_, -1);
    push_closure(pairs);
    lua_setfield(L_, -2, "__pairs");
    push_closure(next);
    lua_setfield(L_, -2, "__next");
    lua_pop(L_, 2);
    make_proxy(meta_, meta_index, meta_new_index);
  }

  void run(frame& f, run_state& state) override {
    f_ = &f;
    state_ = &state;
    bind_names();
    position_of_ = no_row;
    out_.clear();
    for (const frame_row& r : f.rows) {
      if (r.live && r.op != operation::truncate)
        one(r);
      else
        out_.push_back(r);
    }
    for (frame_row& r : f.shadows)
      if (r.live) one_delete(r, false);
    f.rows.swap(out_);
    f_ = nullptr;
  }

private:
  // ---- What Lua calls. No C++ object with a destructor may be alive where these raise.
  static lua_step& self(lua_State* L) { return *static_cast<lua_step*>(lua_touserdata(L, lua_upvalueindex(1))); }
  static int index(lua_State* L) {
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNUMBER) {
      lua_pushnil(L);
      return 1;
    }
    lua_step& s = self(L);
    const auto column = static_cast<std::uint32_t>(lua_tointeger(L, -1));
    if (s.f_ && s.f_->at(s.slot_, column).k == cell::kind::missing) return s.raise_unknown(L, column);
    s.push_cell(L, column);
    return 1;
  }
  static int new_index(lua_State* L) {
    lua_step& s = self(L);
    if (!s.f_) return luaL_error(L, "the change is over");
    if (lua_type(L, 2) != LUA_TSTRING)
      return luaL_error(L, "attempt to set a column whose name is a %s, expected text", luaL_typename(L, 2));
    lua_pushvalue(L, 2);
    int column = -1;
    if (lua_rawget(L, lua_upvalueindex(2)) == LUA_TNUMBER) column = static_cast<int>(lua_tointeger(L, -1));
    lua_pop(L, 1);
    if (column < 0) {
      if (lua_isnil(L, 3)) return 0;
      column = s.add_column(L);
      if (column < 0)
        return luaL_error(L, "column '%s': there are %d columns, no more are taken", lua_tostring(L, 2),
                          static_cast<int>(max_columns));
      lua_pushvalue(L, 2);
      lua_pushinteger(L, column);
      lua_rawset(L, lua_upvalueindex(2));
    }
    const char* why = s.to_cell(L, 3, static_cast<std::uint32_t>(column), s.f_->at(s.slot_, static_cast<std::uint32_t>(column)));
    if (why) return luaL_error(L, "column '%s': %s", lua_tostring(L, 2), why);
    return 0;
  }
  static int next(lua_State* L) {
    lua_step& s = self(L);
    lua_settop(L, 2);
    std::size_t at = 0;
    if (!lua_isnil(L, 2)) {
      lua_pushvalue(L, 2);
      if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNUMBER) return luaL_error(L, "invalid key to 'next'");
      at = static_cast<std::size_t>(lua_tointeger(L, -1)) + 1;
    }
    for (; s.f_ && at < s.f_->columns.size(); ++at) {
      const frame_column& c = s.f_->columns[at];
      if (c.dropped) continue;
      const cell& v = s.f_->at(s.slot_, static_cast<std::uint32_t>(at));
      if (v.k == cell::kind::null || v.k == cell::kind::missing) continue;
      lua_pushlstring(L, c.name.data(), c.name.size());
      s.push_cell(L, static_cast<std::uint32_t>(at));
      return 2;
    }
    lua_pushnil(L);
    return 1;
  }
  static int pairs(lua_State* L) {
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_pushcclosure(L, next, 2);
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    return 3;
  }
  static int meta_index(lua_State* L) {
    lua_step& s = self(L);
    const char* key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (!s.row_) return 0;
    const frame_row& r = *s.row_;
    const std::string_view name = key;
    if (name == "op") {
      lua_pushstring(L, storage::to_string(s.op_));
    } else if (name == "table") {
      lua_pushlstring(L, r.table.data() ? r.table.data() : "", r.table.size());
    } else if (name == "offset") {
      lua_pushinteger(L, static_cast<lua_Integer>(s.state_->batch().base().value + r.change));
    } else if (name == "time") {
      char text[32];
      lua_pushlstring(L, text, write_timestamp(r.time_us, text));
    } else if (name == "position") {
      if (s.position_of_ != r.change) {
        s.position_ = s.state_->batch().source_position(r.change);
        s.position_of_ = r.change;
      }
      lua_pushlstring(L, s.position_.data(), s.position_.size());
    } else {
      lua_pushnil(L);
    }
    return 1;
  }
  static int meta_new_index(lua_State* L) { return luaL_error(L, "meta is read-only"); }

  /// As SQL does: taken for nil it would decide wrongly without a word.
  int raise_unknown(lua_State* L, std::uint32_t column) {
    unknown_ = unknown_value(f_->columns[column].name);
    lua_pushlstring(L, unknown_.data(), unknown_.size());
    return lua_error(L);
  }

  void push_cell(lua_State* L, std::uint32_t column) {
    if (!f_) return lua_pushnil(L);
    const cell& c = f_->at(slot_, column);
    switch (c.k) {
    case cell::kind::boolean:
      return lua_pushboolean(L, c.i != 0);
    case cell::kind::int64:
      return lua_pushinteger(L, c.i);
    case cell::kind::float64:
      return lua_pushnumber(L, c.d);
    case cell::kind::text:
    case cell::kind::blob:
      lua_pushlstring(L, c.size ? c.p : "", c.size);
      return;
    default:
      return lua_pushnil(L);
    }
  }

  /// Null: done; else what was found and expected.
  const char* to_cell(lua_State* L, int index, std::uint32_t column, cell& out) {
    const field_spec* field = f_->columns[column].field;
    switch (lua_type(L, index)) {
    case LUA_TNIL:
      out = cell::null();
      break;
    case LUA_TBOOLEAN:
      out = cell::of(lua_toboolean(L, index) != 0);
      break;
    case LUA_TNUMBER:
      if (lua_isinteger(L, index)) {
        out = cell::of(static_cast<std::int64_t>(lua_tointeger(L, index)));
      } else {
        const double d = lua_tonumber(L, index);
        if (!std::isfinite(d))
          return std::isnan(d) ? "found not-a-number, expected a finite number"
                               : "found an infinite number, expected a finite one";
        out = cell::of(d);
      }
      break;
    case LUA_TSTRING: {
      std::size_t size = 0;
      const char* p = lua_tolstring(L, index, &size);
      const bool bytes = field && field->type == data_type::bytes; // enters as its bytes, leaves as its bytes
      if (!bytes && !simdjson::validate_utf8(p, size)) return "found text that is not UTF-8 (declare the column as bytes)";
      const std::string_view kept = state_->memory().copy({p, size});
      out = bytes ? cell::blob(kept) : cell::text(kept);
      break;
    }
    case LUA_TTABLE:
      return "found a table, expected nil, a boolean, a number or a text";
    default:
      return "found a value that no column holds, expected nil, a boolean, a number or a text";
    }
    out.note = note::assigned;
    f_->columns[column].assigned = true;
    return nullptr;
  }
  /// For the name at index 2; -1: there are too many.
  int add_column(lua_State* L) {
    if (f_->columns.size() >= max_columns) return -1;
    std::size_t size = 0;
    const char* name = lua_tolstring(L, 2, &size);
    return static_cast<int>(f_->add_column({std::string(name, size)}));
  }

  // ---- From here on outside of Lua's calls.
  void push_closure(lua_CFunction function) {
    lua_pushlightuserdata(L_, this);
    lua_rawgeti(L_, LUA_REGISTRYINDEX, names_);
    lua_pushcclosure(L_, function, 2);
  }
  void make_proxy(int& reference, lua_CFunction get, lua_CFunction set) {
    if (names_ == LUA_NOREF) {
      lua_newtable(L_);
      names_ = luaL_ref(L_, LUA_REGISTRYINDEX);
    }
    lua_newtable(L_);
    lua_createtable(L_, 0, 5);
    push_closure(get);
    lua_setfield(L_, -2, "__index");
    push_closure(set);
    lua_setfield(L_, -2, "__newindex");
    lua_pushboolean(L_, 0);
    lua_setfield(L_, -2, "__metatable");
    lua_setmetatable(L_, -2);
    reference = luaL_ref(L_, LUA_REGISTRYINDEX);
  }

  /// The table of columns by name, made anew only when the columns are others than last time.
  void bind_names() {
    std::vector<std::string> now;
    for (const frame_column& c : f_->columns) now.push_back(c.dropped ? std::string() : c.name);
    if (now == bound_) return;
    lua_rawgeti(L_, LUA_REGISTRYINDEX, names_);
    for (lua_pushnil(L_); lua_next(L_, -2);) {
      lua_pop(L_, 1);
      lua_pushvalue(L_, -1);
      lua_pushnil(L_);
      lua_rawset(L_, -4); // clearing while going over is allowed
    }
    for (std::size_t i = 0; i < now.size(); ++i) {
      if (f_->columns[i].dropped) continue;
      lua_pushlstring(L_, now[i].data(), now[i].size());
      lua_pushinteger(L_, static_cast<lua_Integer>(i));
      lua_rawset(L_, -3);
    }
    lua_pop(L_, 1);
    bound_ = std::move(now);
  }

  std::string call(const frame_row& r) {
    slot_ = r.slot;
    row_ = &r;
    const std::size_t columns = f_->columns.size();
    sandbox_->begin_call();
    lua_rawgeti(L_, LUA_REGISTRYINDEX, change_);
    int arguments = 1;
    if (sandbox_->parameters() >= 2) {
      lua_rawgeti(L_, LUA_REGISTRYINDEX, meta_);
      ++arguments;
    }
    std::string message = sandbox_->call(arguments);
    row_ = nullptr;
    for (std::size_t i = columns; i < f_->columns.size(); ++i) bound_.push_back(f_->columns[i].name); // the script has added them
    return message;
  }
  bool is_change(int index) {
    lua_rawgeti(L_, LUA_REGISTRYINDEX, change_);
    const bool same = lua_rawequal(L_, -1, index < 0 ? index - 1 : index);
    lua_pop(L_, 1);
    return same;
  }

  /// A table's fields into a slot of their own; what it does not have is NULL. Null: done; else what was found. Index is
  /// absolute.
  std::string row_of(int index, std::uint32_t& slot) {
    slot = f_->add_slot();
    std::fill_n(f_->cells(slot), f_->stride(), cell::null());
    for (std::uint32_t i = 0; i < f_->columns.size(); ++i) // what the source did not send no script could copy
      if (f_->at(slot_, i).k == cell::kind::missing) f_->at(slot, i) = f_->at(slot_, i);
    std::vector<std::string> fresh; // sorted: a table has no order of its own that all workers share
    for (lua_pushnil(L_); lua_next(L_, index); lua_pop(L_, 1)) {
      if (lua_type(L_, -2) != LUA_TSTRING) {
        const std::string found = lua_typename(L_, lua_type(L_, -2));
        lua_pop(L_, 2);
        return "found a key that is a " + found + " beside columns, expected names of columns";
      }
      std::size_t size = 0;
      const char* p = lua_tolstring(L_, -2, &size);
      const std::string name(p, size);
      if (f_->find(name) < 0) fresh.push_back(name);
    }
    std::sort(fresh.begin(), fresh.end());
    for (const std::string& name : fresh) {
      if (f_->columns.size() >= max_columns)
        return "found the column '" + name + "' beyond " + std::to_string(max_columns) + " columns";
      f_->add_column({name});
    }
    if (!fresh.empty()) bind_names();
    for (lua_pushnil(L_); lua_next(L_, index); lua_pop(L_, 1)) {
      std::size_t size = 0;
      const char* p = lua_tolstring(L_, -2, &size);
      const auto column = static_cast<std::uint32_t>(f_->find({p, size}));
      if (const char* why = to_cell(L_, lua_gettop(L_), column, f_->at(slot, column))) {
        std::string message = "column '" + std::string(p, size) + "': " + why;
        lua_pop(L_, 2);
        return message;
      }
    }
    return {};
  }

  void one(const frame_row& r) {
    op_ = r.op;
    if (r.op == operation::remove) {
      frame_row copy = r;
      one_delete(copy, true);
      return;
    }
    std::string message = call(r);
    if (message.empty()) {
      message = take_result(r);
      lua_pop(L_, 1);
    }
    if (message.empty()) return;
    frame_row failed = r;
    state_->fail(*f_, failed, "transform", std::move(message), name_, {});
  }

  /// The result on the top into rows. Empty: done.
  std::string take_result(const frame_row& r) {
    if (lua_isnil(L_, -1)) return {};
    if (is_change(-1)) {
      out_.push_back(r);
      return {};
    }
    if (!lua_istable(L_, -1))
      return std::string("found a result that is a ") + luaL_typename(L_, -1) +
             ", expected the change, a table, a list of tables or nil";
    lua_sandbox::unwrap(L_);
    const int result = lua_gettop(L_);
    const std::size_t before = out_.size();
    std::string message;
    const bool list = lua_rawgeti(L_, result, 1) != LUA_TNIL;
    lua_pop(L_, 1);
    if (!list) {
      lua_pushnil(L_);
      if (!lua_next(L_, result)) return {}; // an empty list
      lua_pop(L_, 2);
      message = append(r, result);
    } else {
      const auto length = static_cast<lua_Integer>(lua_rawlen(L_, result));
      bool used = false;
      std::size_t keys = 0;
      for (lua_pushnil(L_); lua_next(L_, result); lua_pop(L_, 1)) ++keys;
      if (keys != static_cast<std::size_t>(length))
        message = "found a table with both a list and names of columns, or a list with gaps, expected one or the other";
      for (lua_Integer i = 1; message.empty() && i <= length; ++i) {
        lua_rawgeti(L_, result, i);
        if (is_change(-1)) {
          frame_row copy = r;
          if (used) { // a second row of the same values
            copy.slot = f_->add_slot();
            std::copy_n(f_->cells(r.slot), f_->stride(), f_->cells(copy.slot));
          }
          used = true;
          out_.push_back(copy);
        } else if (lua_istable(L_, -1)) {
          lua_sandbox::unwrap(L_);
          message = append(r, lua_gettop(L_));
        } else {
          message = std::string("found a list with a ") + luaL_typename(L_, -1) + " in it, expected tables";
        }
        lua_pop(L_, 1);
      }
    }
    if (!message.empty()) out_.resize(before);
    for (std::size_t i = before + 1; i < out_.size(); ++i) out_[i].shadow = no_row; // the row moves once
    return message;
  }
  std::string append(const frame_row& r, int index) {
    frame_row made = r;
    std::string message = row_of(index, made.slot);
    if (message.empty()) out_.push_back(made);
    return message;
  }

  /// A delete is never filtered and does not fail for values that it does not carry: the script may only move its key.
  void one_delete(frame_row& r, bool emit) {
    op_ = operation::remove;
    const std::uint32_t original = r.slot;
    r.slot = f_->add_slot();
    std::copy_n(f_->cells(original), f_->stride(), f_->cells(r.slot));
    const std::string message = call(r);
    if (!message.empty() && sandbox_->limit_hit()) {
      state_->fail(*f_, r, "transform", message, name_, {});
      return;
    }
    bool moved = false;
    if (message.empty()) {
      if (is_change(-1)) {
        moved = true;
      } else if (lua_istable(L_, -1)) {
        lua_sandbox::unwrap(L_);
        const int result = lua_gettop(L_);
        const std::size_t before = out_.size();
        if (lua_rawgeti(L_, result, 1) != LUA_TNIL && emit) {
          lua_pop(L_, 1);
          if (take_result(r).empty() && out_.size() > before) { // as many rows go as had come
            lua_pop(L_, 1);
            return;
          }
          out_.resize(before);
        } else {
          lua_pop(L_, 1);
          std::uint32_t slot = 0;
          if (row_of(result, slot).empty()) {
            fill_gaps(slot, original);
            r.slot = slot;
            moved = true;
            if (emit) out_.push_back(r);
            lua_pop(L_, 1);
            return;
          }
        }
      }
      lua_pop(L_, 1);
    }
    if (!moved) r.slot = original;
    if (emit) out_.push_back(r);
  }
  void fill_gaps(std::uint32_t slot, std::uint32_t from) {
    for (std::uint32_t i = 0; i < f_->columns.size(); ++i)
      if (f_->at(slot, i).is_null()) f_->at(slot, i) = f_->at(from, i);
  }

  std::unique_ptr<lua_sandbox> sandbox_;
  lua_State* L_;
  std::string name_;
  int names_ = LUA_NOREF, change_ = LUA_NOREF, meta_ = LUA_NOREF;
  std::vector<std::string> bound_; ///< the columns' names as names_ has them
  std::vector<frame_row> out_;
  frame* f_ = nullptr;
  run_state* state_ = nullptr;
  std::uint32_t slot_ = 0;
  const frame_row* row_ = nullptr;
  operation op_ = operation::insert;
  std::string unknown_; ///< here, because no C++ object outlives a jump out of Lua's call
  std::string position_;
  std::uint32_t position_of_ = no_row;
};
} // namespace

step_ptr make_lua(step_compiler& c, const transform_step& s, std::string name) {
  auto sandbox = std::make_unique<lua_sandbox>(c.limits);
  if (const std::string message = sandbox->load(s.text, "transform"); !message.empty()) {
    c.error(s, "lua: " + message);
    return nullptr;
  }
  return std::make_unique<lua_step>(std::move(sandbox), std::move(name));
}

} // namespace millrace::actors::transform
