// Random streams in bulk against a model, and against the same destination one by one.

#include "postgres_support.hpp"

#include <map>
#include <random>
#include <unordered_set>

using namespace millrace::test;
using enum millrace::actors::data_type;

namespace {

std::uint64_t seed() {
  const char* set = std::getenv("MILLRACE_SEED");
  const auto value = set ? std::strtoull(set, nullptr, 10) : std::random_device{}();
  BOOST_TEST_MESSAGE("MILLRACE_SEED=" << value);
  return value;
}

const std::vector<field_spec> fields = {field("id", int64, true), field("name", text), field("qty", int64)};

/// What a source does: updates and deletes of rows that are there, moves to free keys. Values are kept by `texts`.
struct source {
  explicit source(std::uint64_t s) : random(s) {}
  std::mt19937_64 random;
  std::map<std::int64_t, std::pair<std::string, std::int64_t>> table;
  std::deque<std::string> texts;
  std::uint64_t base = 0;

  cell say(const std::string& v) { return t(texts.emplace_back(v)); }
  transform::row_set_ptr batch(std::size_t n, std::int64_t keys, bool truncates) {
    rows out(layout_of(0, {{"id", int64}, {"name", text}, {"qty", int64}}, {0}), base,
             1700000000000000 + static_cast<std::int64_t>(base) * 1000);
    for (std::size_t k = 0; k < n; ++k) {
      const auto id = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(keys));
      const auto found = table.find(id);
      const auto name = "n" + std::to_string(random() % 1000) + (random() % 5 ? "" : "\t\\ tab and 'slash' \n");
      const auto qty = static_cast<std::int64_t>(random() % 1000);
      const auto kind = random() % 12;
      if (truncates && random() % 300 == 0) {
        table.clear();
        out.truncate();
      } else if (found == table.end()) {
        table[id] = {name, qty};
        out.insert({i(id), say(name), i(qty)});
      } else if (kind < 3) {
        table.erase(found);
        out.remove({i(id), null(), null()});
      } else if (kind < 5) {
        std::int64_t to = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(keys));
        if (table.contains(to)) to = keys + static_cast<std::int64_t>(random() % 1000000000);
        auto row = found->second;
        table.erase(found);
        row.second = qty;
        table[to] = row;
        out.move({i(id)}, {i(to), missing(), i(qty)});
      } else if (kind < 8) {
        found->second.second = qty;
        out.update({i(id), missing(), i(qty)});
      } else if (kind < 9) {
        found->second.first = name;
        out.update({i(id), say(name), missing()});
      } else {
        found->second = {name, qty};
        out.update({i(id), say(name), i(qty)});
      }
    }
    base += n;
    return out.done();
  }
  std::string rows_text() const {
    std::string out;
    for (const auto& [id, row] : table)
      out += (out.empty() ? "" : "\n") + std::to_string(id) + "|" + row.first + "|" + std::to_string(row.second);
    return out;
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(postgres_random, postgres_fixture)

BOOST_AUTO_TEST_CASE(an_upserted_table_is_the_source_s_after_every_commit) {
  open({table("orders", load_mode::upsert, {"id"}, fields)});
  source from(seed());
  for (int round = 0; round < 40; ++round) {
    const std::size_t n = from.random() % 4 ? from.random() % 60 + 1 : from.random() % 2000 + 1;
    write(from.batch(n, round % 3 ? 50 : 3000, true));
    BOOST_REQUIRE_EQUAL(query("SELECT id, name, qty FROM orders ORDER BY id"), from.rows_text());
  }
  BOOST_TEST(refused() == 0u);
}

BOOST_AUTO_TEST_CASE(columns_of_the_destination_s_own_survive_updates_and_moves_but_not_a_delete) {
  query("CREATE TABLE orders(id bigint PRIMARY KEY, name text, qty bigint, own text DEFAULT 'new')");
  open({table("orders", load_mode::upsert, {"id"}, fields)});
  const auto shape = layout_of(0, {{"id", int64}, {"name", text}, {"qty", int64}}, {0});
  write(rows(shape).insert({i(1), t("a"), i(1)}).insert({i(2), t("b"), i(2)}).insert({i(3), t("c"), i(3)}).done());
  query("UPDATE orders SET own = 'kept'");
  write(rows(shape)
            .update({i(1), t("x"), i(5)})
            .move({i(2)}, {i(20), t("y"), i(6)})
            .remove({i(3), null(), null()})
            .insert({i(3), t("z"), i(7)})
            .done());
  BOOST_TEST(rows_of("SELECT * FROM orders ORDER BY id") == "1|x|5|kept 3|z|7|new 20|y|6|kept");
}

BOOST_AUTO_TEST_CASE(every_mode_in_bulk_is_the_same_as_one_by_one) {
  const auto start = seed();
  for (const auto mode : {load_mode::upsert, load_mode::soft_delete, load_mode::history}) {
    source from(start + static_cast<std::uint64_t>(mode));
    const std::string suffix = to_string(mode);
    auto bulk = make({table("bulk_" + suffix, mode, {"id"}, fields)});
    auto single = make({table("single_" + suffix, mode, {"id"}, fields)});
    auto one = who(), other_one = who();
    one.load = "bulk_" + suffix;
    other_one.load = "single_" + suffix;
    MUST(bulk->claim(one));
    MUST(single->claim(other_one));
    single->set_isolation(true);
    std::uint64_t at = 0;
    for (int round = 0; round < 8; ++round) {
      const auto set = from.batch(from.random() % 150 + 1, 40, true);
      at += set->end;
      for (auto* d : {bulk.get(), single.get()}) {
        MUST(d->begin());
        MUST(d->apply(set, 0, set->rows.size(), seen));
        MUST(d->flush(seen));
        MUST(d->commit({{at}, 0}));
      }
      const std::string order = mode == load_mode::history ? "_offset" : "id";
      BOOST_REQUIRE_EQUAL(query("SELECT * FROM bulk_" + suffix + " ORDER BY " + order),
                          query("SELECT * FROM single_" + suffix + " ORDER BY " + order));
    }
    if (mode == load_mode::upsert)
      BOOST_TEST(query("SELECT id, name, qty FROM bulk_upsert ORDER BY id") == from.rows_text());
    else if (mode == load_mode::soft_delete)
      BOOST_TEST(query("SELECT id, name, qty FROM bulk_soft_delete WHERE NOT _deleted ORDER BY id") == from.rows_text());
    else
      BOOST_TEST(query("SELECT id, name, qty FROM bulk_history WHERE current ORDER BY id") == from.rows_text());
  }
  BOOST_TEST(refused() == 0u);
}

BOOST_AUTO_TEST_CASE(keys_that_only_the_server_takes_for_equal_are_one_key) {
  const auto shape = layout_of(0, {{"id", decimal}, {"name", text}}, {0});
  for (const auto mode : {load_mode::upsert, load_mode::soft_delete, load_mode::history}) {
    const auto name = "t_" + std::string(to_string(mode));
    open({table(name, mode, {"id"}, {field("id", decimal, true), field("name", text)})});
    next = 0;
    made->set_isolation(false);
    write(rows(shape, 0)
              .insert({t("1.0"), t("a")})
              .remove({t("1.00"), null()})
              .insert({t("2"), t("b")})
              .update({t("2.0"), t("c")})
              .insert({t("3"), t("d")})
              .move({t("3.0")}, {t("3.00"), t("e")})
              .done());
    const std::string alive = mode == load_mode::upsert ? "true" : mode == load_mode::soft_delete ? "NOT _deleted" : "current";
    BOOST_TEST(rows_of("SELECT id::int, name FROM " + name + " WHERE " + alive + " ORDER BY id") == "2|c 3|e");
    BOOST_TEST(refused() == 0u);
    query("DELETE FROM _millrace_offsets");
  }
}

BOOST_AUTO_TEST_CASE(bad_rows_at_random_take_only_their_keys) {
  query("CREATE TABLE orders(id bigint PRIMARY KEY, name text CHECK (name <> 'bad'), qty integer)");
  open({table("orders", load_mode::upsert, {"id"}, fields)});
  std::mt19937_64 random(seed());
  std::unordered_set<std::int64_t> spoiled;
  std::map<std::int64_t, std::int64_t> model;
  std::size_t bad = 0;
  for (int round = 0; round < 12; ++round) {
    rows out(layout_of(0, {{"id", int64}, {"name", text}, {"qty", int64}}, {0}), next);
    const std::size_t n = random() % 3000 + 1;
    std::unordered_set<std::int64_t> used;
    for (std::size_t k = 0; k < n; ++k) {
      const auto id = static_cast<std::int64_t>(random() % 5000);
      if (!used.insert(id).second) { // one change a key and batch: what coalescing hides is not this case's matter
        out.remove({i(id + 100000), null(), null()});
        continue;
      }
      const auto poison = random() % 200;
      if (poison == 0) {
        out.insert({i(id), t("bad"), i(1)});
      } else if (poison == 1) {
        out.update({i(id), t("good"), i(5000000000)}); // out of integer's range
      } else {
        const auto qty = static_cast<std::int64_t>(random() % 1000);
        out.update({i(id), t("good"), i(qty)});
        model[id] = qty;
        continue;
      }
      ++bad;
    }
    write(out.done());
  }
  std::string expected;
  for (const auto& [id, qty] : model) expected += (expected.empty() ? "" : "\n") + std::to_string(id) + "|" + std::to_string(qty);
  BOOST_TEST(query("SELECT id, qty FROM orders ORDER BY id") == expected);
  BOOST_TEST(refused() == bad);
  for (const auto& [change, why] : seen.refused) BOOST_TEST((why.sqlstate == "23514" || why.sqlstate == "22003"));
}

BOOST_AUTO_TEST_SUITE_END()
