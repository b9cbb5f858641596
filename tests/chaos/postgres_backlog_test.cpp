// What a source must never be hostage to: a destination that is down, a transaction of gigabytes.
// MILLRACE_CHAOS_CHANGES (200,000) and MILLRACE_CHAOS_TRANSACTION_MB (200) choose how much; `tests/run long` takes a million and
// 2048.

#include "tests/chaos/workload.hpp"
#include "tests/integration/support/postgres.hpp"

#include <iostream>

namespace millrace::testing {

BOOST_FIXTURE_TEST_SUITE(postgres_backlog, postgres_node)

BOOST_AUTO_TEST_CASE(a_destination_that_is_down_costs_our_disk_and_not_the_source_s) {
  const auto changes = setting("MILLRACE_CHAOS_CHANGES", 200000);
  postgres_server other(logical_server());
  other.start();
  other.create_database("dst");
  src("CREATE TABLE items(id bigint PRIMARY KEY, v int, note text)");
  node.apply("p",
             "pipeline: p\nsource: { type: postgres, connection: \"" + server.conninfo("src") +
                 "\", tables: [items], heartbeat: 1s }\nloads:\n  - { name: l, destination: { type: postgres, connection: \"" +
                 other.conninfo("dst") + "\" } }\n");
  src("INSERT INTO items VALUES (0, 0, 'first')");
  eventually("it flows", [&] {
    try {
      return other.query("SELECT count(*) FROM items", "dst") == "1";
    } catch (const std::exception&) {
      return false;
    }
  });
  other.stop();
  std::uint64_t most = 0;
  auto look = [&] {
    const auto kept =
        std::stoull(src("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint FROM pg_replication_slots"));
    most = std::max<std::uint64_t>(most, kept);
  };
  const std::uint64_t at_once = 5000;
  for (std::uint64_t done = 0; done < changes; done += at_once) {
    src("INSERT INTO items SELECT i, i % 7, 'item number ' || i FROM generate_series(" + std::to_string(done + 1) + "::bigint, " +
        std::to_string(done + at_once) + ") i");
    look();
  }
  node.until(
      "p", "all is in the log", [&](const json& s) { return s.at("ingested") == changes + 1; }, seconds{120});
  eventually("the slot is where the source is", [&] {
    look();
    return src("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn) < 65536 FROM pg_replication_slots") == "t";
  });
  BOOST_TEST(text_in(node.status("p"), "/state") == "waiting");
  std::cerr << changes << " changes while the destination was down: the slot kept at most " << (most >> 20)
            << " MiB, the log has " << (node.status("p").at("log")[0].at("bytes").get<std::uint64_t>() >> 20) << " MiB\n";
  BOOST_TEST(most < (64u << 20));
  other.start();
  const auto sum = [](postgres_server& s, const char* db) {
    return s.query("SELECT count(*), sum(hashtext(t::text)) FROM items t", db);
  };
  const auto expected = sum(server, "src");
  eventually(
      "all rows arrive", [&] { return sum(other, "dst") == expected; }, seconds{120}, [&] { return node.status("p").dump(2); });
}

BOOST_AUTO_TEST_CASE(a_transaction_of_gigabytes_passes_in_bounded_memory_and_becomes_visible_at_once) {
  const auto megabytes = setting("MILLRACE_CHAOS_TRANSACTION_MB", 200);
  src("CREATE TABLE big(id bigint PRIMARY KEY, v text); ALTER TABLE big ALTER v SET STORAGE EXTERNAL");
  apply("[big]");
  node.until("p", "running", [](const json& s) { return s.at("state") == "running"; });
  src("INSERT INTO big VALUES (0, 'first')");
  dst_becomes("SELECT count(*) FROM big", "1");
  // 10,240 bytes a row that do not compress away.
  src("INSERT INTO big SELECT i, (SELECT string_agg(md5(i::text || k), '') FROM generate_series(1, 320) k) FROM "
      "generate_series(1, " +
      std::to_string(megabytes * 100) + ") i");
  const auto rows = std::to_string(megabytes * 100 + 1);
  std::string found, odd;
  eventually(
      "the transaction is there",
      [&] {
        found = dst_or_why("SELECT count(*) FROM big");
        if (found != "1" && found != rows && found[0] != '(') odd = found;
        return found == rows;
      },
      seconds{1200}, [&] { return node.status("p").dump(2) + node.log(); });
  BOOST_TEST(odd == "", "a reader saw " << odd << " rows");
  equal("SELECT sum(hashtext(v)) FROM big", seconds{60});
  std::cerr << "a transaction of " << megabytes << " MB: max RSS " << (node.process().peak_memory() >> 20) << " MiB\n";
  BOOST_TEST((node.process().peak_memory() >> 20) < 512u);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
