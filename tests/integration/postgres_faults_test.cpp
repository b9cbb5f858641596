// What is killed, refused or taken away: nothing is lost, nothing comes twice, every stop has a name.

#include "tests/integration/support/postgres.hpp"

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>

namespace millrace::testing {
namespace {

/// Writes transactions until it is told to stop; outlives the server's restarts.
class steady_writer {
public:
  explicit steady_writer(std::string conninfo) : thread_([this, conninfo = std::move(conninfo)] { run(conninfo); }) {}
  ~steady_writer() { finish(); }
  void finish() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  int committed() const { return committed_; }
  /// From now on each transaction writes the audit, too. Not before it was copied: a row that comes while its table is copied is
  /// in the log as the change and as the copied row, which a key makes one and an append does not.
  void audit() { audits_ = true; }

private:
  void run(const std::string& conninfo) {
    for (int i = 0; !stop_;) {
      try {
        postgres_client client(conninfo);
        for (; !stop_; ++i) {
          const auto n = std::to_string(i);
          client.query((audits_ ? "INSERT INTO audit(v) VALUES (" + n + "); " : std::string()) + "INSERT INTO items VALUES (" +
                       n + ", 0) ON CONFLICT (id) DO UPDATE SET v = items.v + 1; UPDATE items SET v = v + 1 WHERE id = " +
                       std::to_string(i / 2) + "; DELETE FROM items WHERE id = " + std::to_string(i / 3) + " AND id % 5 = 0");
          ++committed_;
        }
      } catch (const std::exception&) { // the server is away
        ::poll(nullptr, 0, 50);
        ++i;
      }
    }
  }
  std::atomic<bool> stop_ = false, audits_ = false;
  std::atomic<int> committed_ = 0;
  std::thread thread_;
};

struct faults_node : postgres_node {
  faults_node() {
    src("CREATE TABLE items(id int PRIMARY KEY, v int); CREATE TABLE audit(id bigserial PRIMARY KEY, v int);"
        "INSERT INTO items SELECT -i, 0 FROM generate_series(1, 5000) i");
  }
  /// Items by their key; of the audit every row as often as it was written.
  std::string two_modes(const std::string& connection = "") {
    const auto to = connection.empty() ? server.conninfo("dst") : connection;
    return "pipeline: p\nsource: { type: postgres, connection: \"" + server.conninfo("src") +
           "\", tables: [items, audit], snapshot_options: { chunk_rows: 500 } }\nloads:\n"
           "  - { name: l, destination: { type: postgres, connection: \"" +
           to + "\" }, tables: [items, { name: audit, mode: append }] }\n";
  }
  void copied() { // a table that was done before the node's last start is not listed
    node.until("p", "both tables are copied", [](const json& s) {
      const auto list = in(s, "/source/snapshots");
      return s.at("state") == "running" && s.at("ingested") >= 5000 &&
             std::all_of(list.begin(), list.end(), [](const json& t) { return t.at("done") == true; });
    });
  }
  void all_there() {
    equal("SELECT count(*), sum(id), sum(v) FROM items", seconds{60});
    equal("SELECT id, v FROM items ORDER BY id");
    equal("SELECT count(*), count(DISTINCT id), sum(v) FROM audit"); // nothing twice, nothing missing
    node.caught_up("p");
    BOOST_TEST(unaccounted(node, "p") == "");
    BOOST_TEST(node.dead_letters("p").dump() == "[]");
  }
};
} // namespace

BOOST_FIXTURE_TEST_SUITE(postgres_faults, faults_node)

BOOST_AUTO_TEST_CASE(a_node_that_is_killed_again_and_again_loses_and_doubles_nothing) {
  const char* given = std::getenv("MILLRACE_SEED");
  const auto seed = given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  BOOST_TEST_MESSAGE("MILLRACE_SEED=" << seed);
  std::mt19937_64 random(seed);
  node.apply("p", two_modes());
  steady_writer writer(server.conninfo("src"));
  for (int kill = 0; kill < 6; ++kill) {
    if (kill == 3) {
      copied();
      writer.audit();
    }
    const auto before = writer.committed();
    const auto pause = milliseconds{100 + random() % 900}; // into the snapshot, into the stream
    eventually("the writer goes on", [&] { return writer.committed() > before + 5; });
    ::poll(nullptr, 0, static_cast<int>(pause.count())); // the moment of the kill is the test's input
    node.kill9();
    node.start();
  }
  writer.finish();
  BOOST_TEST(writer.committed() > 50);
  all_there();
}

BOOST_AUTO_TEST_CASE(a_source_that_stops_at_once_and_comes_back_repeats_nothing) {
  postgres_server other(logical_server()); // the destination stays
  other.start();
  other.create_database("dst");
  node.apply("p", two_modes(other.conninfo("dst")));
  const auto there = [&](const std::string& sql) {
    try {
      return other.query(sql, "dst");
    } catch (const std::exception&) {
      return std::string();
    }
  };
  {
    steady_writer writer(server.conninfo("src"));
    copied();
    writer.audit();
    for (int round = 0; round < 3; ++round) {
      const auto before = writer.committed();
      eventually("the writer goes on", [&] { return writer.committed() > before + 100; });
      server.restart(postgres_server::stop_mode::immediate);
    }
    const auto before = writer.committed();
    eventually("the writer goes on", [&] { return writer.committed() > before + 100; });
  }
  for (const auto* sql :
       {"SELECT count(*), sum(id), sum(v) FROM items", "SELECT count(*), count(DISTINCT id), sum(v) FROM audit"}) {
    const auto expected = src(sql);
    eventually(
        std::string(sql) + " gives " + expected, [&] { return there(sql) == expected; }, seconds{60},
        [&] { return there(sql) + "\n" + node.status("p").dump(2) + node.log(); });
  }
}

BOOST_AUTO_TEST_CASE(a_slot_that_is_gone_is_named_and_nothing_is_skipped) {
  node.apply("p", two_modes());
  equal("SELECT count(*) FROM items");
  node.caught_up("p");
  node.must({"pipeline", "pause", "p"});
  eventually("the slot is free", [&] { return src("SELECT active FROM pg_replication_slots") == "f"; });
  src("SELECT pg_drop_replication_slot('millrace_p'); INSERT INTO items VALUES (70000, 7)");
  node.must({"pipeline", "resume", "p"});
  const auto s =
      node.until("p", "it stops", [](const json& s) { return s.at("state") == "failed" || s.at("state") == "waiting"; });
  const auto reason = s.at("reason").get<std::string>();
  BOOST_TEST(reason.find("millrace_p") != std::string::npos, reason);
  BOOST_TEST(reason.find("slot") != std::string::npos, reason);
  BOOST_TEST(dst("SELECT count(*) FROM items WHERE id = 70000") == "0");
  BOOST_TEST(src("SELECT count(*) FROM pg_replication_slots") == "0"); // never made anew unasked
}

BOOST_AUTO_TEST_CASE(a_deleted_pipeline_leaves_no_slot_behind) {
  node.apply("p", two_modes());
  equal("SELECT count(*) FROM items");
  node.must({"pipeline", "delete", "p"});
  eventually("the slot is gone", [&] { return src("SELECT count(*) FROM pg_replication_slots") == "0"; });
}

BOOST_AUTO_TEST_CASE(what_the_destination_refuses_is_a_dead_letter_that_can_be_redriven) {
  src("CREATE TABLE orders(id int PRIMARY KEY, qty int, note text)");
  dst("CREATE TABLE orders(id int PRIMARY KEY, qty int CONSTRAINT few CHECK (qty < 100), note text)");
  apply("[orders]");
  node.until("p", "running", [](const json& s) { return s.at("state") == "running"; });
  src("INSERT INTO orders VALUES (1, 5, 'a')");
  src("BEGIN; INSERT INTO orders VALUES (2, 500, 'b'); INSERT INTO orders VALUES (3, 6, 'c'); COMMIT");
  src("UPDATE orders SET note = 'later' WHERE id = 2"); // held behind it
  dst_becomes("SELECT id, qty, note FROM orders ORDER BY id", "1|5|a\n3|6|c");
  node.until("p", "two letters", [](const json& s) { return in(s, "/loads/0/dead_letters/open") == 2; });
  const auto letters = node.dead_letters("p");
  BOOST_TEST(letters[0].at("reason") == "constraint");
  BOOST_TEST(letters[0].at("error").at("sqlstate") == "23514");
  BOOST_TEST(letters[0].at("error").at("constraint") == "few");
  BOOST_TEST(letters[0].at("key").at("id") == 2);
  BOOST_TEST(letters[0].at("table") == "public.orders");
  BOOST_TEST(letters[0].at("transaction") != "");
  BOOST_TEST(letters[1].at("reason") == "held");
  const auto shown = node.ask({"dead-letters", "show", "p", "--id", letters[0].at("id").get<std::string>()});
  const auto& letter = shown.is_array() ? shown.at(0) : shown;
  BOOST_TEST(letter.at("row").at("new").at("qty") == 500);
  dst("ALTER TABLE orders DROP CONSTRAINT few");
  node.must({"dead-letters", "redrive", "p", "--all"});
  dst_becomes("SELECT id, qty, note FROM orders ORDER BY id", "1|5|a\n2|500|later\n3|6|c");
  BOOST_TEST(node.load("p", "l").at("dead_letters").at("open") == 0);
  BOOST_TEST(unaccounted(node, "p") == "");
}

BOOST_AUTO_TEST_CASE(a_history_dates_a_redriven_change_by_its_commit) {
  src("CREATE TABLE orders(id int PRIMARY KEY, qty int)");
  apply("[orders]", "", "mode: history");
  node.until("p", "running", [](const json& s) { return s.at("state") == "running"; });
  src("INSERT INTO orders VALUES (1, 5)");
  dst_becomes("SELECT id, qty, current FROM orders", "1|5|t");
  dst("ALTER TABLE orders ADD CONSTRAINT few CHECK (qty < 100)");
  src("UPDATE orders SET qty = 500");
  node.until("p", "a letter", [](const json& s) { return in(s, "/loads/0/dead_letters/open") == 1; });
  const auto before_repair = dst("SELECT clock_timestamp()");
  dst("ALTER TABLE orders DROP CONSTRAINT few");
  node.must({"dead-letters", "redrive", "p", "--all"});
  dst_becomes("SELECT qty, current FROM orders ORDER BY valid_from", "5|f\n500|t");
  BOOST_TEST(dst("SELECT valid_from < '" + before_repair + "' FROM orders WHERE qty = 500") == "t");
}

BOOST_AUTO_TEST_CASE(a_destination_that_is_down_is_waited_for) {
  postgres_server other(logical_server());
  other.start();
  other.create_database("dst");
  node.apply("p", two_modes(other.conninfo("dst")));
  eventually("rows arrive", [&] {
    try {
      return other.query("SELECT count(*) FROM items", "dst") == "5000";
    } catch (const std::exception&) {
      return false;
    }
  });
  other.kill9();
  src("INSERT INTO items SELECT i, 1 FROM generate_series(10001, 20000) i");
  node.until("p", "waiting", [](const json& s) { return s.at("state") == "waiting" && !text_in(s, "/reason").empty(); });
  // The log has it all: the source need not keep it.
  const auto position = src("SELECT pg_current_wal_lsn()");
  src("INSERT INTO audit(v) VALUES (1)");
  eventually("the slot moves on",
             [&] { return src("SELECT confirmed_flush_lsn >= '" + position + "' FROM pg_replication_slots") == "t"; });
  other.start();
  eventually("all rows arrive", [&] {
    try {
      return other.query("SELECT count(*), sum(v) FROM items", "dst") == "15000|10000";
    } catch (const std::exception&) {
      return false;
    }
  });
  BOOST_TEST(node.dead_letters("p").dump() == "[]");
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
