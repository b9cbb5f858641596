// verify: what differs is found and mended, what only moves is not reported.

#include "tests/integration/support/postgres.hpp"

#include <thread>

namespace millrace::testing {
namespace {

struct verified_node : postgres_node {
  verified_node() {
    src("CREATE TABLE items(id int PRIMARY KEY, v int, note text)");
    src("INSERT INTO items SELECT i, 0, 'item ' || i FROM generate_series(1, 3000) i");
    src("CREATE TABLE names(\"Name\" text, part int, v int, PRIMARY KEY(\"Name\", part))");
    src("INSERT INTO names SELECT chr(64 + i % 50) || 'ä''\"', i, i FROM generate_series(1, 500) i");
    apply("[items, names]");
    equal("SELECT count(*) FROM items");
    equal("SELECT count(*) FROM names");
  }
  json verify(std::vector<std::string> more = {}) {
    std::vector<std::string> words{"verify", "p/l", "-o", "json"};
    words.insert(words.end(), more.begin(), more.end());
    const auto said = node.cli(words, seconds{120});
    if (said.out.empty()) throw std::runtime_error(said.err);
    auto found = json::parse(said.out);
    BOOST_TEST((said.status == 0) == found.at("equal").get<bool>()); // what a script asks
    return found;
  }
};

std::vector<std::string> lines(const json& differences) {
  std::vector<std::string> found;
  for (const auto& d : differences)
    found.push_back(d.at("table").get<std::string>() + " " + d.at("kind").get<std::string>() + " " + d.at("key").dump());
  std::sort(found.begin(), found.end());
  return found;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(postgres_verify, verified_node)

BOOST_AUTO_TEST_CASE(equal_tables_are_equal) {
  const auto found = verify();
  BOOST_TEST(found.at("equal") == true);
  BOOST_TEST(found.at("rows") == 3500);
}

BOOST_AUTO_TEST_CASE(each_kind_of_difference_is_named_by_its_key_and_repaired) {
  dst("DELETE FROM items WHERE id = 17");
  dst("UPDATE items SET note = NULL WHERE id = 18");
  dst("INSERT INTO items VALUES (-5, 1, 'nobody sent me')");
  dst("UPDATE names SET v = -1 WHERE part = 1");
  const auto found = verify();
  const std::vector<std::string> expected{"public.items different {\"id\":\"18\"}", "public.items extra {\"id\":\"-5\"}",
                                          "public.items missing {\"id\":\"17\"}",
                                          "public.names different {\"Name\":\"Aä'\\\"\",\"part\":\"1\"}"};
  BOOST_TEST(lines(found.at("differences")) == expected, boost::test_tools::per_element());
  const auto mended = verify({"--repair"});
  BOOST_TEST(mended.at("repaired") == 4);
  BOOST_TEST(mended.at("equal") == true, mended.dump(2));
  for (const auto* t : {"items", "names"}) equal(std::string("SELECT count(*), sum(hashtext(t::text)) FROM ") + t + " t");
  BOOST_TEST(verify().at("equal") == true);
}

BOOST_AUTO_TEST_CASE(rows_that_change_meanwhile_are_not_reported_and_a_difference_among_them_is) {
  std::jthread writer([conninfo = server.conninfo("src")](const std::stop_token& stop) {
    postgres_client c(conninfo);
    for (int i = 0; !stop.stop_requested(); ++i) {
      c.query("UPDATE items SET v = v + 1 WHERE id % 100 = 50"); // the same ones all the time: each look finds them moved
      c.query("DELETE FROM items WHERE id = " + std::to_string(2000 + i % 50));
      c.query("INSERT INTO items VALUES (" + std::to_string(2000 + i % 50) + ", -1, 'again')");
    }
  });
  const auto first = verify();
  BOOST_TEST(first.at("equal") == true, first.dump(2));
  dst("UPDATE items SET note = 'changed by hand' WHERE id = 99"); // 99 % 100 is never written
  const auto second = verify();
  const std::vector<std::string> expected{"public.items different {\"id\":\"99\"}"};
  BOOST_TEST(lines(second.at("differences")) == expected, boost::test_tools::per_element());
  BOOST_TEST(verify({"--repair"}).at("equal") == true);
  writer.request_stop();
  writer.join();
  equal("SELECT count(*), sum(hashtext(t::text)) FROM items t");
}

BOOST_AUTO_TEST_CASE(what_cannot_be_compared_is_refused_with_its_reason) {
  node.apply("q", "pipeline: q\nsource: { type: postgres, connection: \"" + server.conninfo("src") +
                      "\", tables: [items], slot: other, publication: other }\nloads:\n"
                      "  - { name: a, destination: { type: postgres, connection: \"" +
                      server.conninfo("dst") + "\", table: items_a }, mode: append }\n");
  const auto said = node.cli({"verify", "q/a"});
  BOOST_TEST(said.status == 1);
  BOOST_TEST(said.err.find("append") != std::string::npos, said.err);
  BOOST_TEST(node.cli({"verify", "q/b"}).status == 1);
  BOOST_TEST(node.cli({"verify", "q"}).status == 2);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
