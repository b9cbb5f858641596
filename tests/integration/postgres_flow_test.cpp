// PostgreSQL to PostgreSQL, the whole way: a snapshot and the changes made meanwhile, updates of every kind, transactions.

#include "tests/integration/support/postgres.hpp"

#include <atomic>
#include <thread>

namespace millrace::testing {

BOOST_FIXTURE_TEST_SUITE(postgres_flow, postgres_node)

BOOST_AUTO_TEST_CASE(a_snapshot_and_the_changes_made_meanwhile_give_an_equal_table) {
  src("CREATE TABLE orders(id int PRIMARY KEY, qty int NOT NULL, note text);"
      "CREATE TABLE customers(no bigint, region text, name text, PRIMARY KEY (region, no));"
      "INSERT INTO orders SELECT i, i % 7, 'note ' || i FROM generate_series(1, 20000) i;"
      "INSERT INTO customers SELECT i, 'r' || i % 3, 'name ' || i FROM generate_series(1, 3000) i");
  std::atomic<bool> stop = false;
  std::string failed;
  std::thread writer([&] {
    try {
      postgres_client client(server.conninfo("src"));
      for (int i = 0; !stop; ++i) {
        const auto id = std::to_string(i * 37 % 20000 + 1), fresh = std::to_string(30000 + i);
        client.query("UPDATE orders SET qty = qty + 1000 WHERE id = " + id + "; INSERT INTO orders VALUES (" + fresh +
                     ", 1, 'new'); DELETE FROM orders WHERE id = " + std::to_string(i * 41 % 20000 + 1) +
                     "; UPDATE customers SET no = no + 100000 WHERE no = " + std::to_string(i % 3000));
      }
    } catch (const std::exception& e) {
      failed = e.what();
    }
  });
  const auto finish = [&] {
    stop = true;
    if (writer.joinable()) writer.join();
  };
  try {
    apply("[orders, customers]", "snapshot_options: { chunk_rows: 1000 }");
    node.until("p", "the snapshot is done", [](const json& s) {
      const auto list = in(s, "/source/snapshots");
      return s.at("state") == "running" && list.size() == 2 && list[0].at("done") == true && list[1].at("done") == true;
    });
  } catch (...) {
    finish();
    throw;
  }
  finish();
  BOOST_TEST(failed == "");
  equal("SELECT count(*), md5(string_agg(t::text, '/' ORDER BY id)) FROM orders t");
  equal("SELECT count(*), md5(string_agg(t::text, '/' ORDER BY region, no)) FROM customers t");
  equal("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename NOT LIKE '\\_millrace%' ORDER BY 1");
  node.caught_up("p");
  BOOST_TEST(node.load("p", "l").at("dead_letters").at("total") == 0);
  BOOST_TEST(unaccounted(node, "p") == "");
}

BOOST_AUTO_TEST_CASE(source_transactions_are_never_half_visible) {
  src("CREATE TABLE accounts(id int PRIMARY KEY, balance int NOT NULL);"
      "INSERT INTO accounts SELECT i, 100 FROM generate_series(1, 50) i");
  apply("[accounts]");
  dst_becomes("SELECT count(*), sum(balance) FROM accounts", "50|5000");
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    postgres_client client(server.conninfo("src"));
    for (int i = 0; !stop; ++i) {
      const auto from = std::to_string(i * 7 % 50 + 1), to = std::to_string(i * 11 % 50 + 1);
      client.query("UPDATE accounts SET balance = balance - 5 WHERE id = " + from +
                   "; UPDATE accounts SET balance = balance + 5 WHERE id = " + to);
      if (i % 100 == 0) // larger than a block of the log, so that it is cut
        client.query("UPDATE accounts SET balance = balance + 1; UPDATE accounts SET balance = balance - 1");
    }
  });
  std::string wrong;
  int looks = 0;
  const auto deadline = test_clock::now() + seconds{4};
  while (test_clock::now() < deadline && wrong.empty()) {
    const auto sum = dst_or_why("SELECT sum(balance) FROM accounts");
    if (sum != "5000") wrong = sum;
    ++looks;
  }
  stop = true;
  writer.join();
  BOOST_TEST(wrong == "");
  BOOST_TEST(looks > 20);
  equal("SELECT id, balance FROM accounts ORDER BY id");
}

BOOST_AUTO_TEST_CASE(a_transaction_larger_than_a_block_becomes_visible_at_once) {
  src("CREATE TABLE big(id int PRIMARY KEY, pad text)");
  apply("[big]");
  node.until("p", "running", [](const json& s) { return s.at("state") == "running"; });
  src("INSERT INTO big SELECT i, repeat('x', 200) FROM generate_series(1, 50000) i"); // about 10 MiB
  std::string partial;
  eventually("the transaction arrives", [&] {
    const auto n = dst_or_why("SELECT count(*) FROM big");
    if (n != "0" && n != "50000" && n.front() != '(') partial = n;
    return n == "50000";
  });
  BOOST_TEST(partial == "");
  equal("SELECT count(*), sum(length(pad)) FROM big");
}

BOOST_AUTO_TEST_CASE(a_key_change_keeps_a_large_value_that_was_not_sent) {
  src("CREATE TABLE docs(id int PRIMARY KEY, n int, body text);"
      "ALTER TABLE docs ALTER body SET STORAGE EXTERNAL;"
      "INSERT INTO docs SELECT i, 0, repeat('large ' || i, 2000) FROM generate_series(1, 20) i");
  apply("[docs]");
  equal("SELECT id, n, md5(body) FROM docs ORDER BY id");
  src("UPDATE docs SET n = 1 WHERE id <= 5");                                              // the body stays where it is
  src("UPDATE docs SET id = id + 100 WHERE id <= 10");                                     // and moves with its row
  src("UPDATE docs SET id = 200 WHERE id = 101; UPDATE docs SET id = 101 WHERE id = 102"); // through each other's places
  src("DELETE FROM docs WHERE id = 20; INSERT INTO docs VALUES (20, 5, 'short')");
  equal("SELECT id, n, md5(body) FROM docs ORDER BY id");
  BOOST_TEST(node.load("p", "l").at("dead_letters").at("total") == 0);
}

BOOST_AUTO_TEST_CASE(truncate_empties_each_table_in_its_turn) {
  src("CREATE TABLE parent(id int PRIMARY KEY); CREATE TABLE child(id int PRIMARY KEY, p int REFERENCES parent);"
      "CREATE TABLE other(id int PRIMARY KEY); INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (1, 1);"
      "INSERT INTO other VALUES (1)");
  apply("[parent, child, other]");
  equal("SELECT (SELECT count(*) FROM parent), (SELECT count(*) FROM child), (SELECT count(*) FROM other)");
  src("TRUNCATE parent CASCADE");
  src("INSERT INTO parent VALUES (3)");
  dst_becomes("SELECT (SELECT string_agg(id::text, ',') FROM parent), (SELECT count(*) FROM child), (SELECT count(*) FROM other)",
              "3|0|1");
}

BOOST_AUTO_TEST_CASE(names_are_taken_as_they_are) {
  src("CREATE SCHEMA \"Größe\"; CREATE TABLE \"Größe\".\"Select Straße\"(\"Id\" int PRIMARY KEY, \"order\" text, \"a\"\"b\" int);"
      "INSERT INTO \"Größe\".\"Select Straße\" VALUES (1, 'x', 2)");
  apply("[\"Größe.Select Straße\"]");
  const std::string rows = "SELECT \"Id\", \"order\", \"a\"\"b\" FROM ";
  dst_becomes(rows + "\"Select Straße\"", "1|x|2");
  src("UPDATE \"Größe\".\"Select Straße\" SET \"order\" = 'ÿ', \"a\"\"b\" = 3; INSERT INTO \"Größe\".\"Select Straße\" VALUES "
      "(2)");
  dst_becomes(rows + "\"Select Straße\" ORDER BY 1", "1|ÿ|3\n2|NULL|NULL");
}

BOOST_AUTO_TEST_CASE(an_idle_source_does_not_keep_its_log) {
  src("CREATE TABLE quiet(id int PRIMARY KEY); CREATE TABLE noise(id int)");
  apply("[quiet]", "heartbeat: 200ms");
  node.until("p", "running", [](const json& s) { return s.at("state") == "running"; });
  src("INSERT INTO noise SELECT generate_series(1, 10000)");
  const auto position = src("SELECT pg_current_wal_lsn()");
  eventually("the slot passes what was written beside it",
             [&] { return src("SELECT confirmed_flush_lsn >= '" + position + "' FROM pg_replication_slots") == "t"; });
}

BOOST_AUTO_TEST_CASE(a_table_can_be_read_whole_again) {
  src("CREATE TABLE orders(id int PRIMARY KEY, qty int); INSERT INTO orders SELECT i, i FROM generate_series(1, 1000) i");
  apply("[orders]");
  equal("SELECT count(*), sum(qty) FROM orders");
  dst("UPDATE orders SET qty = 0 WHERE id % 2 = 0"); // somebody's accident
  node.must({"pipeline", "snapshot", "p", "orders"});
  equal("SELECT count(*), sum(qty) FROM orders");
  BOOST_TEST(node.cli({"pipeline", "snapshot", "p", "public.nothing"}).status == 1);
}

BOOST_AUTO_TEST_CASE(people_can_read_the_log) {
  src("CREATE TABLE orders(id int PRIMARY KEY, note text); INSERT INTO orders VALUES (1, 'copied')");
  apply("[orders]");
  equal("SELECT * FROM orders");
  src("INSERT INTO orders VALUES (2, 'streamed'); UPDATE orders SET id = 3 WHERE id = 2");
  equal("SELECT * FROM orders ORDER BY id");
  std::vector<json> changes;
  const auto text = node.must({"log", "read", "p", "-o", "json"});
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    if (end > at) changes.push_back(json::parse(text.substr(at, end - at)));
    at = end + 1;
  }
  std::erase_if(changes, [](const json& c) { return !c.contains("row"); });
  BOOST_TEST_REQUIRE(changes.size() == 3u);
  BOOST_TEST(changes[0].at("row").at("new").at("note") == "copied");
  BOOST_TEST(changes[0].at("transaction") == "");
  BOOST_TEST(changes[1].at("table") == "public.orders");
  BOOST_TEST(changes[1].at("key").at("id") == 2);
  BOOST_TEST(changes[1].at("transaction") == changes[2].at("transaction"));
  BOOST_TEST(changes[1].at("transaction") != "");
  BOOST_TEST(changes[2].at("op") == "update");
  BOOST_TEST(changes[2].at("row").at("old").at("id") == 2);
}

BOOST_AUTO_TEST_CASE(sqlite_takes_the_source_s_columns_types_and_key) {
  src("CREATE TABLE items(id int PRIMARY KEY, n numeric(12,3), at timestamptz, ok bool, f float8, b bytea, big text); "
      "ALTER TABLE items ALTER big SET STORAGE EXTERNAL");
  src("INSERT INTO items SELECT i, i / 8.0, '2024-01-01 00:00:00+00', i % 2 = 0, i / 4.0, '\\xdead', repeat(md5(i::text), 200) "
      "FROM "
      "generate_series(1, 100) i");
  src("INSERT INTO items(id, f) VALUES (2000, 'NaN')");
  node.apply("p", "pipeline: p\nsource: { type: postgres, connection: \"" + server.conninfo("src") +
                      "\", tables: [items] }\nloads:\n  - { name: l, destination: { type: sqlite, path: out.db } }\n");
  node.caught_up("p");
  src("UPDATE items SET n = 7.5 WHERE id = 3"); // its large value is not sent
  src("DELETE FROM items WHERE id = 4");
  src("UPDATE items SET id = 5000 WHERE id = 5");
  eventually("the changes are there",
             [&] { return sqlite_file(path("out.db")).number("select count(*) from items where id = 5000") == 1; });
  const std::vector<std::string> expected{"3|7.500|2024-01-01T00:00:00Z|0|0.75|DEAD|6400",
                                          "5000|0.625|2024-01-01T00:00:00Z|0|1.25|DEAD|6400"};
  const auto rows = sqlite_file(path("out.db"))
                        .rows("select id, n, at, ok, f, hex(b), length(big) from items where id in (3, 4, 5, 5000) order by id");
  BOOST_TEST(rows == expected, boost::test_tools::per_element());
  BOOST_TEST(sqlite_file(path("out.db")).number("select count(*) from items") == 99);
  const auto letters = node.dead_letters("p"); // SQLite would make NULL of NaN without a word
  BOOST_TEST_REQUIRE(letters.size() == 1u);
  BOOST_TEST(letters[0].at("reason") == "type");
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
