#include "postgres_live.hpp"

using namespace postgres_test;

BOOST_AUTO_TEST_SUITE(postgres_source_live, *boost::unit_test::precondition(given))

BOOST_AUTO_TEST_CASE(a_snapshot_then_changes_make_an_equal_table) {
  database db;
  db.run("drop table if exists orders; create table orders (id int primary key, note text, price numeric(10,2))");
  db.run("insert into orders select i, case when i % 7 <> 0 then E'n\\t\\\\' || i end, i / 3.0 from generate_series(1, 5000) i");
  pipeline p("basic", {"orders"});
  p.open();
  p.until("the snapshot", [&] { return !p.reader->status().snapshotting && p.in_flight.empty(); });
  BOOST_TEST(p.log.snapshot_rows == 5000u);
  p.equals(db, "public.orders", {"id"});
  db.run("begin; update orders set note = 'x' where id < 100; delete from orders where id between 100 and 200; "
         "update orders set id = id + 100000 where id > 4990; insert into orders values (7777, 'new', 1); commit");
  p.catch_up(db);
  p.equals(db, "public.orders", {"id"});
  BOOST_TEST(p.log.transaction_sizes.size() == 1u);
  db.run("truncate orders; insert into orders values (1, 'one', 1)");
  p.catch_up(db);
  p.equals(db, "public.orders", {"id"});
}

BOOST_AUTO_TEST_CASE(it_goes_on_behind_what_the_log_has_after_any_crash) {
  const auto seed = ingest_test::seed();
  std::cerr << "MILLRACE_SEED=" << seed << '\n';
  std::mt19937_64 random(seed);
  database db;
  db.run("drop table if exists big; create table big (id int primary key, v text, w int default 0); alter table big alter v set "
         "storage external");
  pipeline p("crash", {"public.big"});
  p.flight_max = 3;
  p.open();
  p.until("the slot", [&] { return !p.reader->status().snapshotting && p.in_flight.empty(); });
  db.run(
      "insert into big select i, repeat(md5(i::text), 100) from generate_series(1, 3000) i"); // one transaction, several blocks
  for (int i = 0; i < 50; ++i) db.run("update big set w = w + 1 where id % 50 = " + std::to_string(i));
  db.run("begin; insert into big select i, 'gone' from generate_series(5000, 6000) i; rollback");
  db.run("update big set v = 'short' where id < 1500");
  for (int round = 0; round < 30; ++round) {
    const auto polls = random() % 6;
    for (std::uint64_t i = 0; i < polls; ++i) p.poll(milliseconds{5});
    p.crash();
    p.open();
  }
  p.catch_up(db);
  BOOST_TEST(p.log.open_ends > 0u);
  BOOST_TEST(p.log.changes == 3000u + 3000u + 1499u);
  p.equals(db, "public.big", {"id"});
}

BOOST_AUTO_TEST_CASE(a_lost_connection_loses_and_repeats_nothing) {
  database db;
  db.run("drop table if exists big; create table big (id int primary key, v text)");
  pipeline p("lost", {"public.big"});
  p.flight_max = 2;
  p.open();
  p.until("the slot", [&] { return !p.reader->status().snapshotting && p.in_flight.empty(); });
  for (int i = 0; i < 20; ++i) {
    const auto from = std::to_string(i * 20000);
    db.run("insert into big select i, repeat('x', 200) from generate_series(" + from + ", " + from + " + 19999) i");
    p.poll(milliseconds{1});
    db.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'millrace t_lost'");
  }
  p.catch_up(db);
  BOOST_TEST(p.log.changes == 400000u);
  BOOST_TEST(p.log.faults.empty());
}

BOOST_AUTO_TEST_CASE(a_snapshot_under_writes_and_crashes_converges) {
  const auto seed = ingest_test::seed();
  std::cerr << "MILLRACE_SEED=" << seed << '\n';
  std::mt19937_64 random(seed);
  database db;
  db.run("drop table if exists hot; create table hot (id int primary key, v text, w int default 0); alter table hot alter v set "
         "storage external");
  db.run("insert into hot select i, repeat(md5(i::text), 80) from generate_series(1, 20000) i");
  pipeline p("hot", {"public.hot"});
  p.spec.snapshot_chunk_rows = 300;
  p.spec.snapshot_workers = 3;
  p.flight_max = 4;
  writers load(3, [](std::mt19937_64& r) {
    const auto id = std::to_string(r() % 20000 + 1), other = std::to_string(r() % 40000 + 1);
    switch (r() % 6) {
    case 0:
      return "delete from hot where id = " + id;
    case 1:
      return "insert into hot values (" + other + ", repeat('y', 3000), 5) on conflict (id) do update set v = excluded.v";
    case 2:
      return "update hot set id = " + other + " where id = " + id + " and not exists (select 1 from hot where id = " + other +
             ")";
    default:
      return "update hot set w = w + 1 where id = " + id; // v is not carried
    }
  });
  p.open();
  int crashes = 0;
  const auto end = clk::now() + seconds{60};
  while (p.reader->status().snapshotting || !p.in_flight.empty()) {
    BOOST_REQUIRE(clk::now() < end);
    p.poll(milliseconds{5});
    if (crashes < 15 && random() % 10 == 0) {
      ++crashes;
      p.crash();
      p.open();
    }
  }
  BOOST_TEST_MESSAGE(crashes << " crashes, " << load.committed << " writes, " << p.log.snapshot_rows << " rows");
  load.end();
  p.catch_up(db);
  BOOST_TEST(p.log.tables["public.hot"].partial.empty());
  p.equals(db, "public.hot", {"id"});
}

BOOST_AUTO_TEST_CASE(a_table_without_a_key_has_every_row_once) {
  const auto seed = ingest_test::seed();
  std::cerr << "MILLRACE_SEED=" << seed << '\n';
  std::mt19937_64 random(seed);
  database db;
  db.run("drop table if exists bag; create table bag (a int, b text); alter table bag replica identity full");
  db.run("insert into bag select i % 500, 'v' || i % 3 from generate_series(1, 20000) i");
  pipeline p("bag", {"public.bag"});
  p.spec.snapshot_chunk_rows = 1000;
  writers load(3, [](std::mt19937_64& r) {
    const auto a = std::to_string(r() % 500);
    switch (r() % 3) {
    case 0:
      return "insert into bag values (" + a + ", 'new')";
    case 1:
      return "update bag set b = b || 'u' where ctid = (select ctid from bag where a = " + a + " limit 1)";
    default:
      return "delete from bag where ctid = (select ctid from bag where a = " + a + " limit 1)";
    }
  });
  p.open();
  int crashes = 0;
  const auto end = clk::now() + seconds{60};
  while (p.reader->status().snapshotting || !p.in_flight.empty()) {
    BOOST_REQUIRE(clk::now() < end);
    p.poll(milliseconds{5});
    if (crashes < 5 && random() % 8 == 0) {
      ++crashes;
      p.crash();
      p.open();
    }
  }
  load.end();
  p.catch_up(db);
  p.equals(db, "public.bag", {});
}

BOOST_AUTO_TEST_CASE(a_slot_that_is_gone_or_ahead_is_refused_by_name) {
  database db;
  db.run("drop table if exists t; create table t (id int primary key)");
  pipeline p("slots", {"public.t"});
  p.open();
  p.until("the slot", [&] { return !p.reader->status().snapshotting && p.in_flight.empty(); });
  db.run("insert into t values (1)");
  p.catch_up(db);
  p.crash();
  db.run("insert into t values (2)");
  db.one("select pg_replication_slot_advance('t_slots', pg_current_wal_lsn())");
  auto ahead = p.try_open();
  BOOST_REQUIRE(!ahead.has_value());
  BOOST_TEST(is(ahead.error(), actors::errc::log_mismatch));
  BOOST_TEST(ahead.error().message.starts_with("slot_ahead"));
  db.one("select pg_drop_replication_slot('t_slots')");
  auto missing = p.try_open();
  BOOST_REQUIRE(!missing.has_value());
  BOOST_TEST(missing.error().message.starts_with("slot_missing"));
  p.reader.reset();
}

BOOST_AUTO_TEST_CASE(an_idle_source_confirms_what_others_write) {
  database db;
  db.run("drop table if exists t; create table t (id int primary key); drop table if exists other; create table other (v text)");
  pipeline p("idle", {"public.t"});
  p.open();
  p.until("the slot", [&] { return !p.reader->status().snapshotting && p.in_flight.empty(); });
  db.run("insert into other select repeat('x', 100) from generate_series(1, 200000)");
  const auto end = *actors::postgres::parse_lsn(db.one("select pg_current_wal_lsn()"));
  p.until("the confirmation", [&] {
    return *actors::postgres::parse_lsn(
               db.one("select confirmed_flush_lsn from pg_replication_slots where slot_name = 't_idle'")) >= end;
  });
  BOOST_TEST(p.log.changes == 0u);
  BOOST_TEST(p.log.blocks < 100u);
}

BOOST_AUTO_TEST_SUITE_END()
