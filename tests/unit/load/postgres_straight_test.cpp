// Inserts that go by COPY straight into the table: as binary where it can be, with the same rows and rejections as text.

#include "postgres_support.hpp"

using namespace millrace::test;
using enum millrace::actors::data_type;

namespace {

struct straight_fixture : postgres_fixture {
  straight_fixture() {
    query("ALTER DATABASE " + database + " SET log_statement = 'all'");
    logged = server().log().size();
  }
  std::size_t logged;
  /// COPYs straight into the table since the last question: as binary, as text.
  std::pair<int, int> copies(const std::string& table) {
    const auto log = server().log();
    const auto begin = "COPY \"public\"." + ('"' + table + "\"(");
    constexpr std::string_view from = ") FROM STDIN", form = " (FORMAT binary)";
    std::pair<int, int> out;
    for (auto at = log.find(begin, logged); at != std::string::npos; at = log.find(begin, at + 1)) {
      const auto end = log.find(from, at) + from.size();
      // An error's line repeats the statement.
      if (const auto error = log.rfind("STATEMENT: ", at); error != std::string::npos && error > log.rfind("LOG:  statement", at))
        continue;
      ++(log.compare(end, form.size(), form) == 0 ? out.first : out.second);
    }
    logged = log.size();
    return out;
  }
};

const transform::table_layout_ptr wide = layout_of(0,
                                                   {{"id", int64},
                                                    {"flag", boolean},
                                                    {"small", int64},
                                                    {"real", float64},
                                                    {"price", decimal},
                                                    {"name", text},
                                                    {"code", text},
                                                    {"raw", bytes},
                                                    {"day", date},
                                                    {"at", timestamp},
                                                    {"local", timestamp},
                                                    {"ref", uuid},
                                                    {"doc", json},
                                                    {"mood", text}},
                                                   {0});
constexpr const char* wide_columns = "(id bigint, flag boolean, small smallint, real real, price numeric(10,2), name varchar(8), "
                                     "code char(4), raw bytea, day date, "
                                     "at timestamptz(3), local timestamp, ref uuid, doc jsonb, mood mood DEFAULT 'ok'";
constexpr const char* wide_names = "id, flag, small, real, price, name, code, raw, day, at, local, ref, doc, mood";

struct texts {
  std::deque<std::string> kept;
  cell operator()(std::string v) { return t(kept.emplace_back(std::move(v))); }
};

std::vector<cell> wide_row(std::int64_t id, texts& say) {
  const auto n = std::to_string(id);
  return {i(id),
          b(id % 2 == 0),
          i(id - 50),
          f(static_cast<double>(id) / 3),
          say(n + "." + std::to_string(10 + id % 90)),
          id % 7 ? say("n" + n) : t("zwölf"),
          say("c" + n.substr(0, 2)),
          cell::blob(say(std::string(static_cast<std::size_t>(id % 5), '\0')).view()),
          say("2024-02-" + std::to_string(10 + id % 20)),
          say("1999-12-31T23:59:59." + std::to_string(100000 + id) + "Z"),
          say("2024-01-01T00:00:" + std::to_string(10 + id % 50) + "Z"),
          say("123e4567-e89b-12d3-a456-4266141740" + std::to_string(10 + id % 90)),
          say("{\"b\":" + n + ",\"a\":1.50}"),
          id % 3 ? t("sad") : null()};
}

transform::table_layout_ptr narrow() { return layout_of(0, {{"id", int64}, {"name", text}, {"qty", int64}}, {0}); }

} // namespace

BOOST_FIXTURE_TEST_SUITE(postgres_straight, straight_fixture)

BOOST_AUTO_TEST_CASE(every_mode_writes_the_rows_that_text_would_write) {
  query("CREATE TYPE mood AS ENUM ('sad', 'ok')");
  texts say;
  for (const auto mode : {load_mode::append, load_mode::upsert, load_mode::soft_delete, load_mode::history}) {
    const std::string own = mode == load_mode::soft_delete ? ", _deleted boolean"
                            : mode == load_mode::history
                                ? ", valid_from timestamptz, valid_to timestamptz, current boolean, _offset bigint"
                                : "";
    const std::string key = mode == load_mode::append    ? ")"
                            : mode == load_mode::history ? ", UNIQUE (id, _offset))"
                                                         : ", UNIQUE (id))";
    for (const auto* form : {"binary", "text"}) {
      const std::string name = std::string(form) + "_" + to_string(mode);
      // A column that has no binary form but in our server's head makes the other table's COPY text.
      const bool text = form == std::string_view("text");
      query("CREATE TABLE " + name + wide_columns + own + (text ? ", lasts interval" : "") + key);
      auto columns = *wide;
      if (text) columns.columns.push_back({"lasts", {}, {}, false, false});
      rows all(std::make_shared<transform::table_layout>(columns));
      for (std::int64_t id = 0; id < 900; ++id) {
        auto row = wide_row(id, say);
        if (id % 10 == 9 && mode == load_mode::append) row[5] = row[13] = missing(); // another subset: the default is the table's
        if (text) row.push_back(null());
        all.insert(row);
      }
      open({table(name, mode, {"id"})});
      const auto before = refused();
      write(all.done());
      BOOST_TEST(refused() == before);
      const auto [binary, as_text] = copies(name);
      BOOST_TEST(binary == (text ? 0 : mode == load_mode::append ? 2 : 1), name << ": " << binary << " as binary");
      BOOST_TEST(as_text == (!text ? 0 : mode == load_mode::append ? 2 : 1), name << ": " << as_text << " as text");
      query("DELETE FROM _millrace_offsets");
    }
    const std::string m = to_string(mode),
                      list = wide_names + (mode == load_mode::soft_delete ? std::string(", _deleted")
                                           : mode == load_mode::history   ? ", valid_from, valid_to, current, _offset"
                                                                          : "");
    BOOST_TEST(query("SELECT count(*) FROM binary_" + m) == "900");
    BOOST_TEST(query("SELECT b, t FROM (SELECT " + list + " FROM binary_" + m + ") b FULL JOIN (SELECT " + list + " FROM text_" +
                     m + ") t USING (id) WHERE NOT coalesce(b *= t AND b::text = t::text, false) LIMIT 3") == "");
  }
}

BOOST_AUTO_TEST_CASE(what_is_rejected_is_the_same_change_for_the_same_reason_and_found_at_once) {
  query("CREATE TYPE mood AS ENUM ('sad', 'ok')");
  texts say;
  using spoil = std::function<void(std::vector<cell>&)>;
  const std::vector<spoil> all = {
      [](auto& r) { r[2] = i(70000); },                           // out of range: seen by us
      [](auto& r) { r[2] = t("x"); },                             // no integer
      [](auto& r) { r[4] = t("123456789.00"); },                  // numeric_recv
      [](auto& r) { r[5] = t("much too long"); },                 // varcharrecv
      [](auto& r) { r[6] = t("abcde"); },                         // bpcharrecv
      [](auto& r) { r[8] = t("2023-02-29"); },                    // no day
      [](auto& r) { r[12] = t("{"); },                            // jsonb_recv
      [](auto& r) { r[12] = t("\"\\u0000\""); },                  //
      [](auto& r) { r[13] = t("happy"); },                        // enum_recv
      [](auto& r) { r[5] = t("\xff"); },                          // encoding
      [](auto& r) { r[3] = f(1e300); },                           // out of real's range
      [](auto& r) { r[2] = i(-1000); },                           // CHECK
      [](auto& r) { r[1] = null(); },                             // NOT NULL
      [](auto& r) { r[9] = t("2024-01-01T00:00:00 Nowhere/At"); } // no zone
  };
  for (const auto mode : {load_mode::append, load_mode::upsert}) {
    std::vector<std::vector<std::pair<std::uint32_t, load::row_error>>> found;
    for (const auto* form : {"binary", "text"}) {
      const bool text = form == std::string_view("text");
      const std::string name = std::string(form) + "_" + to_string(mode);
      query("CREATE TABLE " + name + wide_columns + (text ? ", lasts interval" : "") +
            ", CONSTRAINT far CHECK (small > -999), UNIQUE (id)); ALTER TABLE " + name + " ALTER flag SET NOT NULL");
      auto columns = *wide;
      if (text) columns.columns.push_back({"lasts", {}, {}, false, false});
      rows out(std::make_shared<transform::table_layout>(columns));
      for (std::int64_t id = 0; id < 1500; ++id) {
        auto row = wide_row(id, say);
        if (id % 100 == 50 && static_cast<std::size_t>(id / 100) < all.size()) all[static_cast<std::size_t>(id / 100)](row);
        if (text) row.push_back(null());
        out.insert(row);
      }
      seen.refused.clear();
      open({table(name, mode, {"id"})});
      write(out.done());
      found.push_back(seen.refused);
      BOOST_TEST((copies(name).first > 0) == !text);
      query("DELETE FROM _millrace_offsets");
    }
    BOOST_REQUIRE_EQUAL(found[0].size(), all.size());
    BOOST_REQUIRE_EQUAL(found[1].size(), all.size());
    for (std::size_t k = 0; k < all.size(); ++k) {
      const auto& [at, why] = found[0][k];
      auto [other, wanted] = found[1][k];
      BOOST_TEST(at == 100 * k + 50);
      BOOST_TEST(at == other);
      BOOST_TEST(why.reason == wanted.reason);
      BOOST_TEST(why.sqlstate == wanted.sqlstate);
      BOOST_TEST(why.constraint == wanted.constraint);
      BOOST_TEST(why.column == wanted.column);
      BOOST_TEST_MESSAGE(why.sqlstate << " " << why.column << ": " << why.message);
    }
  }
}

BOOST_AUTO_TEST_CASE(an_error_of_a_binary_copy_names_its_line_so_that_one_row_costs_three_more_attempts) {
  const auto shape = narrow();
  for (const auto mode : {load_mode::append, load_mode::upsert})
    for (const bool constraint : {false, true}) {
      const std::string name = std::string(to_string(mode)) + (constraint ? "_check" : "_value");
      query("CREATE TABLE " + name + "(id bigint PRIMARY KEY, name varchar(4) CHECK (name <> 'bad'), qty bigint)");
      open({table(name, mode, {"id"})});
      rows all(shape);
      for (std::int64_t id = 0; id < 3000; ++id)
        all.insert({i(id), id == 2001 ? t(constraint ? "bad" : "too long") : t("ok"), i(1)});
      seen.refused.clear();
      write(all.done());
      BOOST_REQUIRE_EQUAL(refused(), 1u);
      BOOST_TEST(seen.refused[0].first == 2001u);
      BOOST_TEST(seen.refused[0].second.sqlstate == (constraint ? "23514" : "22001"));
      const auto [binary, as_text] = copies(name);
      BOOST_TEST(binary >= 3); // all of it, what stands before the row, what stands behind it in two or three
      BOOST_TEST(binary <= 5);
      BOOST_TEST(as_text == (mode == load_mode::append ? 1 : 0)); // the row alone, into the temporary table if there is one
      BOOST_TEST(rows_of("SELECT count(*) FROM " + name) == "2999");
      query("DELETE FROM _millrace_offsets");
    }
}

BOOST_AUTO_TEST_CASE(values_that_binary_cannot_say_go_as_text_and_cost_ever_fewer_attempts) {
  query("CREATE TABLE finds(id bigint PRIMARY KEY, name date, qty bigint)");
  open({table("finds", load_mode::upsert, {"id"})});
  const auto shape = layout_of(0, {{"id", int64}, {"name", date}, {"qty", int64}}, {0});
  std::int64_t id = 0;
  const auto round = [&](bool old) {
    rows all(shape, next);
    for (int k = 0; k < 20; ++k, ++id) all.insert({i(id), t(old && k == 13 ? "0044-03-15 BC" : "2024-02-29"), i(1)});
    write(all.done());
  };
  for (int n = 0; n < 50; ++n) round(true);
  auto [binary, as_text] = copies("finds");
  BOOST_TEST(binary == 3); // 1; after 8 that went as text; after 16 more; the next would come after 32
  BOOST_TEST(as_text == 50);
  for (int n = 0; n < 40; ++n) round(false);
  std::tie(binary, as_text) = copies("finds");
  BOOST_TEST(binary == 34); // as soon as the pause is over
  BOOST_TEST(binary + as_text == 40);
  BOOST_TEST(rows_of("SELECT name, count(*) FROM finds GROUP BY 1 ORDER BY 1") == "0044-03-15 BC|50 2024-02-29|1750");
  round(true);
  for (int n = 0; n < 9; ++n) round(false);
  std::tie(binary, as_text) = copies("finds");
  BOOST_TEST(binary == 3); // once it went well the pause is short again
  BOOST_TEST(as_text == 8);
  BOOST_TEST(refused() == 0u);
}

BOOST_AUTO_TEST_CASE(rows_that_are_there_and_values_without_a_form_in_several_tables_of_one_segment) {
  query("CREATE TABLE a(id bigint PRIMARY KEY, name date, qty bigint); CREATE TABLE b(id bigint PRIMARY KEY, name date, qty "
        "bigint);"
        "CREATE TABLE c(id bigint PRIMARY KEY, name date, qty bigint); INSERT INTO b VALUES (7, NULL, 0); INSERT INTO c VALUES "
        "(8)");
  open({table("a", load_mode::upsert, {"id"}), table("b", load_mode::upsert, {"id"}), table("c", load_mode::upsert, {"id"})});
  rows all(layout_of(0, {{"id", int64}, {"name", date}, {"qty", int64}}, {0}));
  for (std::uint32_t n = 0; n < 3; ++n) {
    if (n) all.use(layout_of(n, {{"id", int64}, {"name", date}, {"qty", int64}}, {0}));
    for (std::int64_t id = 0; id < 100; ++id) all.insert({i(id), t(id == 50 && n < 2 ? "10000-01-01" : "2024-02-29"), i(1)});
  }
  write(all.done());
  for (const auto* name : {"a", "b", "c"})
    BOOST_TEST(rows_of("SELECT count(*), max(name), sum(qty) FROM " + std::string(name)) ==
               (name[0] == 'c' ? "100|2024-02-29|100" : "100|10000-01-01|100"));
  BOOST_TEST(refused() == 0u);
}

BOOST_AUTO_TEST_CASE(a_server_whose_types_read_other_bytes_gets_text) {
  // What COPY then says: 22P03 (bytes are left over) and 08P01 (there are too few).
  for (const auto* type : {"uuid", "boolean"}) {
    const bool ref = type == std::string_view("uuid");
    const std::string name = std::string("by_") + type;
    query("UPDATE pg_type SET typreceive = 'int8recv'::regproc WHERE oid = '" + std::string(type) + "'::regtype; CREATE TABLE " +
          name + "(id bigint PRIMARY KEY, v " + type + ")");
    open({table(name, load_mode::upsert, {"id"})});
    rows all(layout_of(0, {{"id", int64}, {"v", ref ? uuid : boolean}}, {0}));
    for (std::int64_t id = 0; id < 100; ++id) all.insert({i(id), ref ? t("123e4567-e89b-12d3-a456-426614174000") : b(true)});
    write(all.done());
    BOOST_TEST(rows_of("SELECT count(v) FROM " + name) == "100");
    BOOST_TEST((copies(name) == std::pair(1, 1)));
    query("DELETE FROM _millrace_offsets");
  }
  BOOST_TEST(refused() == 0u);
}

BOOST_AUTO_TEST_CASE(a_range_that_is_given_up_leaves_nothing_and_a_constraint_before_it_is_found) {
  query("CREATE TABLE finds(id bigint PRIMARY KEY, name date, qty bigint CHECK (qty > 0))");
  open({table("finds", load_mode::append, {})});
  rows all(layout_of(0, {{"id", int64}, {"name", date}, {"qty", int64}}, {}));
  for (std::int64_t id = 0; id < 30000; ++id) // the server has long seen the first before we come to the second
    all.insert({i(id), t(id == 29000 ? "0044-03-15 BC" : "2024-02-29"), i(id == 100 ? 0 : 1)});
  write(all.done());
  BOOST_TEST(rows_of("SELECT count(*), count(DISTINCT id), min(name) FROM finds") == "29999|29999|0044-03-15 BC");
  BOOST_REQUIRE_EQUAL(refused(), 1u);
  BOOST_TEST(seen.refused[0].first == 100u);
}

BOOST_AUTO_TEST_SUITE_END()
