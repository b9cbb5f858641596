// lua: values in and out, results, the sandbox and its limits.
#include "tests/unit/transform/support.hpp"

#include <boost/test/unit_test.hpp>

using namespace millrace::test;
using T = data_type;

namespace {
load_builder orders(const std::string& body) {
  return load_builder{}.column("id", T::int64).column("qty", T::int64).column("price", T::decimal).lua(body);
}
std::string function(const std::string& body) { return "function transform(change, meta) do " + body + " end return change end"; }
const auto one = [] { return batch_of({R"({"id":1,"qty":9007199254740993,"price":9.90})"}); };
/// What `expression` is, as text.
std::string value(const std::string& expression) {
  const auto set = run(load_builder{}.column("id", T::int64).lua(function("change.x = tostring(" + expression + ")")),
                       batch_of({R"({"id":1})"}));
  if (!set->failures.empty()) return set->failures[0].message;
  return std::string(set->cells_of(set->rows[0])[1].view());
}
std::string failure_of(const std::string& script, transform_limits limits = {}) {
  const auto set = run(load_builder{}.column("id", T::int64).lua(script), batch_of({R"({"id":1})"}), limits);
  return set->failures.empty() ? "no failure" : set->failures[0].message;
}
std::string compile_error(const std::string& script) {
  const auto errors = errors_of(load_builder{}.column("id", T::int64).lua(script).load);
  return errors.empty() ? "compiles" : errors[0].message;
}
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
} // namespace

BOOST_AUTO_TEST_SUITE(lua)

BOOST_AUTO_TEST_CASE(values_are_exact_both_ways) {
  BOOST_TEST(outcome(orders(function("change.qty = change.qty + 1 change.copy = change.price change.none = nil change.kind = "
                                     "math.type(change.qty) .. type(change.price)")),
                     one()) == "insert id=1 qty=9007199254740994 price='9.90' copy='9.90' kind='integerstring'\n");
}

BOOST_AUTO_TEST_CASE(nil_is_null) {
  BOOST_TEST(outcome(orders(function("change.missing = change.qty == nil change.price = nil")),
                     batch_of({R"({"id":1,"price":1})"})) == "insert id=1 qty=NULL price=NULL missing=true\n");
}

BOOST_AUTO_TEST_CASE(results_are_rows_lists_or_nothing) {
  const auto batch = batch_of({R"({"id":1})", R"({"id":2})", R"({"id":3})", R"({"id":4})", R"({"id":5})"});
  BOOST_TEST(outcome(load_builder{}.column("id", T::int64).lua(R"(
    function transform(change)
      if change.id == 1 then return nil end
      if change.id == 2 then return {} end
      if change.id == 3 then return {{id = 30, z = 1, a = 2}, change, {id = 31}} end
      if change.id == 4 then return {id = 40} end
      return 7
    end)"),
                     batch) == "filtered\nfiltered\ninsert id=30 a=2 z=1\ninsert id=3 a=NULL z=NULL\ninsert id=31 a=NULL "
                               "z=NULL\ninsert id=40 a=NULL z=NULL\nfailed transform at transform[1] lua {\"id\":5}\n");
}

BOOST_AUTO_TEST_CASE(a_result_without_its_key_is_a_dead_letter) {
  BOOST_TEST(outcome(orders(function("change.id = nil")), one()) == "failed schema at schema [id] {\"id\":1}\n");
  BOOST_TEST(outcome(orders("function transform(c) return {qty = 1} end"), one()) == "failed schema at schema [id] {\"id\":1}\n");
}

BOOST_AUTO_TEST_CASE(the_schema_checks_what_the_script_assigned) {
  BOOST_TEST(outcome(orders(function("change.qty = 1.5")), one()) == "failed type at schema [qty] {\"id\":1}\n");
  BOOST_TEST(outcome(orders(function("change.qty = '12' change.price = 3")), one()) == "insert id=1 qty=12 price='3'\n");
}

BOOST_AUTO_TEST_CASE(values_that_no_column_holds_are_refused) {
  for (const char* bad : {"change.x = {}", "change.x = print or pcall", "change.x = 0/0", "change.x = 1/0", "change.x = '\\xff'",
                          "change[1] = 2", "meta.op = 'x'"})
    BOOST_TEST(outcome(orders(function(bad)), one()) == "failed transform at transform[1] lua {\"id\":1}\n", bad);
}

BOOST_AUTO_TEST_CASE(meta_tells_where_a_change_comes_from) {
  BOOST_TEST(
      outcome(
          load_builder{}
              .column("id", T::int64)
              .lua(function(
                  "change.m = meta.op .. '|' .. meta.table .. '|' .. meta.offset .. '|' .. meta.time .. '|' .. meta.position")),
          debezium({"null", R"({"op":"u","after":{"id":1},"source":{"schema":"s","table":"t","ts_ms":1000}})"})) ==
      "filtered\nupdate id=1 m='update|s.t|101|1970-01-01T00:00:01Z|in.ndjson:5'\n");
}

BOOST_AUTO_TEST_CASE(pairs_goes_over_the_columns_in_order) {
  BOOST_TEST(outcome(orders(function("local t = {} for k, v in pairs(change) do t[#t + 1] = k .. '=' .. tostring(v) end "
                                     "change.all = table.concat(t, ',') change.first = next(change)")),
                     one()) ==
             "insert id=1 qty=9007199254740993 price='9.90' all='id=1,qty=9007199254740993,price=9.90' first='id'\n");
}

BOOST_AUTO_TEST_CASE(a_delete_is_never_filtered_nor_failed_and_follows_its_key) {
  const auto events =
      debezium({R"({"op":"d","before":{"id":1}})", R"({"op":"u","before":{"id":1},"after":{"id":2,"qty":1,"price":2}})"});
  BOOST_TEST(outcome(orders(function("change.total = change.qty * change.price")), events) ==
             "delete id=1\nupdate(id=1) id=2 qty=1 price='2' total=2\n");
  BOOST_TEST(outcome(orders("function transform(c) if not c.qty then return nil end return c end"), events) ==
             "delete id=1\nupdate(id=1) id=2 qty=1 price='2'\n");
  BOOST_TEST(outcome(orders(function("change.id = change.id + 10")), events) ==
             "delete id=11\nupdate(id=11) id=12 qty=1 price='2'\n");
}

BOOST_AUTO_TEST_CASE(errors_name_line_and_step) {
  const auto set = run(orders("function transform(c)\n  return c.qty .. {}\nend"), one());
  BOOST_TEST(set->failures[0].step == "transform[1] lua");
  BOOST_TEST(contains(set->failures[0].message, "lua:2: attempt to concatenate a table value"));
}

BOOST_AUTO_TEST_CASE(scripts_that_cannot_work_do_not_compile) {
  BOOST_TEST(contains(compile_error("function transform(c"), "lua:1:"));
  BOOST_TEST(contains(compile_error("x = 1"), "expected function transform"));
  BOOST_TEST(contains(compile_error("error('no')"), "no"));
  BOOST_TEST(
      contains(compile_error("local co = coroutine.wrap(function() end) function transform(c) co() return c end"), "outlive"));
  BOOST_TEST(contains(compile_error("local it = string.gmatch('a', 'a') function transform(c) it() return c end"), "outlive"));
  BOOST_TEST(contains(compile_error("while true do end"), "instructions"));
}

BOOST_AUTO_TEST_CASE(nothing_reaches_the_machine) {
  for (const char* name : {"io", "os", "load", "loadfile", "dofile", "loadstring", "require", "package", "debug",
                           "collectgarbage", "print", "rawset", "rawget", "_G", "string.dump", "math.random", "math.randomseed"})
    BOOST_TEST(value(name) == "nil", name);
  BOOST_TEST(value("tostring({}) .. tostring(print) .. string.format('%s', {})") == "tableniltable");
  BOOST_TEST(contains(value("string.format('%p', {})"), "address"));
}

BOOST_AUTO_TEST_CASE(nothing_is_kept_between_changes) {
  const auto twice = batch_of({R"({"id":1})", R"({"id":2})"});
  const auto both = [&](const std::string& script) { return outcome(load_builder{}.column("id", T::int64).lua(script), twice); };
  const std::string failed = "failed transform at transform[1] lua {\"id\":1}\nfailed transform at transform[1] lua {\"id\":2}\n";
  BOOST_TEST(both("n = 0 " + function("n = n + 1")) == failed);
  BOOST_TEST(both(function("seen = change.id")) == failed);
  BOOST_TEST(both("t = {} " + function("t[change.id] = true")) == failed);
  BOOST_TEST(both("local t = {x = {}} " + function("t.x.y = 1")) == failed);
  BOOST_TEST(both("local n = 0 " + function("n = n + 1")) == failed);
  BOOST_TEST(both("local last " + function("last = change")) == failed);
  BOOST_TEST(both("local n = 0 local function count() n = n + 1 return n end " +
                  function("pcall(count) change.id = change.id")) == failed);
  BOOST_TEST(both("local a, b = 0, 0 " + function("a = 1 b = 2")) == failed);
  BOOST_TEST(both("local none = 0/0 " + function("change.id = none == none and 0 or change.id")) == "insert id=1\ninsert id=2\n");
  BOOST_TEST(both(function("string.x = 1")) == failed);
  BOOST_TEST(both(function("getmetatable('').__index = {}")) == failed);
  BOOST_TEST(both(function("setmetatable({}, {__gc = function() end})")) == failed);
  BOOST_TEST(both("local rates = {1.5, usd = 2} local class = {} class.__index = class function class:get() return self.v end " +
                  function("change.x = rates.usd + #rates + setmetatable({v = 3}, class):get()")) ==
             "insert id=1 x=6\ninsert id=2 x=6\n");
}

BOOST_AUTO_TEST_CASE(limits_hold_wherever_the_script_is) {
  transform_limits limits;
  limits.lua_instructions = 300'000;
  limits.lua_memory_bytes = 4u << 20;
  for (const char* body :
       {"while true do end", "pcall(function() while true do end end)", "repeat until pcall(function() while true do end end)",
        "coroutine.wrap(function() while true do end end)()",
        "local co = coroutine.create(function() while true do end end) while true do coroutine.resume(co) end",
        "while true do coroutine.wrap(function() end)() end",
        "local t = setmetatable({}, {__index = function(t, k) while true do end end}) return t.x",
        "xpcall(function() while true do end end, function() while true do end end)",
        "local s = ('a'):rep(30000) s:find(('a*'):rep(30) .. 'b')", "(('x'):rep(20000)):gsub('.-y', '')",
        "for w in (('a'):rep(20000)):gmatch('a*a*a*b') do end",
        "local x <close> = setmetatable({}, {__close = function() while true do end end}) while true do end",
        "coroutine.wrap(function() local x <close> = setmetatable({}, {__close = function() while true do end end}) while true "
        "do end end)()",
        "table.move({}, 1, 1 << 60, 2)",
        "table.concat(setmetatable({}, {__index = string.upper, __len = function() return 1 << 60 end}))",
        "table.insert(setmetatable({}, {__len = function() return 1 << 60 end}), 1, 1)",
        "table.sort({3, 2, 1}, function() while true do end end)"})
    BOOST_TEST(contains(failure_of(function(body), limits), "instructions"), body << ": " << failure_of(function(body), limits));
  limits.lua_instructions = 10'000'000;
  for (const char* body :
       {"local s = 'x' while true do s = s .. s end", "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end",
        "return ('x'):rep(1000):rep(1 << 14)", "pcall(string.rep, ('x'):rep(1000), 1 << 14)",
        "local co = coroutine.wrap(function() return pcall(string.rep, ('x'):rep(1000), 1 << 14) end) co()",
        "local a = table.pack(pcall(string.rep, ('x'):rep(1000), 1 << 14))"})
    BOOST_TEST((contains(failure_of(function(body), limits), "memory") ||
                contains(failure_of(function(body), limits), "resulting string too large")),
               body << ": " << failure_of(function(body), limits));
  limits.lua_instructions = ~std::uint64_t{0} / 2;
  limits.lua_time = std::chrono::milliseconds(50);
  BOOST_TEST(contains(failure_of(function("while true do end"), limits), "50 ms"));
  BOOST_TEST(failure_of(function("local s = (''):rep(1 << 60)"), limits) == "no failure");
}

BOOST_AUTO_TEST_CASE(a_change_after_one_that_hit_a_limit_is_as_good_as_ever) {
  transform_limits limits;
  limits.lua_memory_bytes = 4u << 20;
  BOOST_TEST(
      outcome(load_builder{}
                  .column("id", T::int64)
                  .lua(function(
                      "if change.id == 1 then local s = 'x' while true do s = s .. s end end change.n = #(('y'):rep(1 << 20))")),
              batch_of({R"({"id":1})", R"({"id":2})"}),
              limits) == "failed transform at transform[1] lua {\"id\":1}\ninsert id=2 n=1048576\n");
}

BOOST_AUTO_TEST_CASE(patterns_are_luas) {
  for (const auto& [expression, expected] : std::initializer_list<std::pair<const char*, const char*>>{
           {"('  trim me  '):match('^%s*(.-)%s*$')", "trim me"},
           {"('key = value'):match('(%w+)%s*=%s*(%w+)')", "key"},
           {"select(2, ('key = value'):match('(%w+)%s*=%s*(%w+)'))", "value"},
           {"('hello world'):find('wor')", "7"},
           {"select(2, ('hello'):find('l+'))", "4"},
           {"('a.b'):find('.', 1, true)", "2"},
           {"('abc'):find('')", "1"},
           {"('abc'):find('', 10)", "nil"},
           {"('hello'):gsub('l', 'L')", "heLLo"},
           {"('hello'):gsub('(h)(e)', '%2%1%0%%')", "ehhe%llo"},
           {"('abc'):gsub('', '-')", "-a-b-c-"},
           {"('abc'):gsub('%w', {a = 1, b = true and 'x'})", "1xc"},
           {"('abc'):gsub('%w', function(c) return c:upper() end, 2)", "ABc"},
           {"('f(a(b)c)d'):match('%b()')", "(a(b)c)"},
           {"('THE (quick) fox'):find('%f[%a]%a+%f[%A]')", "1"},
           {"('x=[[y]]'):match('[]]+')", "]]"},
           {"('2024-01-02'):match('^(%d+)-(%d+)-(%d+)$')", "2024"},
           {"('aa'):match('(a)%1')", "a"},
           {"('abc'):match('()b()')", "2"},
           {"('a-b_c'):gsub('[^%w_]', '')", "ab_c"},
           {"('äb'):match('[\\xc3][\\xa4]')", "ä"},
           {"('x'):match('%')", "lua:1: malformed pattern (ends with '%')"},
           {"('x'):match('(')", "lua:1: unfinished capture"},
           {"('abc'):match('b', -2)", "b"},
           {"(function() local n = 0 for k, v in ('a=1, b=2'):gmatch('(%w+)=(%w+)') do n = n + v end return n end)()", "3"},
           {"('a,b,,c'):gsub(',', ';', 2)", "a;b;,c"}})
    BOOST_TEST(value(expression) == expected, expression << " gives " << value(expression));
}

BOOST_AUTO_TEST_CASE(pairs_has_one_order_everywhere) {
  BOOST_TEST(value("(function() local s = '' for k in pairs({z = 1, a = 2, [3] = 1, [1] = 1, m = 3, [2.5] = 1}) do s = s .. "
                   "tostring(k) .. ' ' end return s end)()") == "1 2.5 3 a m z ");
  BOOST_TEST(value("(function() local s = '' for k, v in pairs({'x', 'y', 'z'}) do s = s .. k .. v end return s end)()") ==
             "1x2y3z");
}

BOOST_AUTO_TEST_SUITE_END()
