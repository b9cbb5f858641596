#include "postgres_live.hpp"

using namespace postgres_test;

namespace {
/// Reads everything, with the schema of the last block that has changes.
std::vector<table_shape> last_schema(pipeline& p) {
  return p.last_context.empty() ? std::vector<table_shape>{} : read_context(p.last_context);
}
} // namespace

BOOST_AUTO_TEST_SUITE(postgres_tables_live, *boost::unit_test::precondition(given))

BOOST_AUTO_TEST_CASE(partitions_are_one_table_under_their_roots_name) {
  database db;
  db.run("drop table if exists part; create table part (id int primary key, v text) partition by range (id); "
         "create table part_1 partition of part for values from (0) to (1000); "
         "create table part_2 partition of part for values from (1000) to (2000)");
  db.run("insert into part select i, 'v' || i from generate_series(0, 1999) i");
  pipeline p("part", {"public.part"});
  p.open();
  p.until("the snapshot", [&] { return !p.reader->status().snapshotting && p.in_flight.empty(); });
  BOOST_TEST(p.log.snapshot_rows == 2000u);
  db.run("update part set id = id + 1000 where id = 5 and false; update part set v = 'x' where id < 10; delete from part where "
         "id > 1990; "
         "update part set id = 1995 where id = 7");
  p.catch_up(db);
  BOOST_TEST(p.log.tables.size() == 1u);
  p.equals(db, "public.part", {"id"});
}

BOOST_AUTO_TEST_CASE(each_change_is_described_by_the_columns_it_was_made_under) {
  database db;
  db.run("drop table if exists evolving; drop type if exists mood; create type mood as enum ('sad', 'ok'); "
         "create table evolving (id int primary key, a int, b text)");
  pipeline p("evolving", {"evolving"});
  p.open();
  p.until("the slot", [&] { return !p.reader->status().snapshotting && p.in_flight.empty(); });
  db.run("insert into evolving values (1, 1, 'x')");
  db.run("alter table evolving add c mood; insert into evolving values (2, 2, 'y', 'ok')");
  db.run("alter table evolving drop a; insert into evolving values (3, 'z', 'sad')");
  db.run("alter table evolving rename b to renamed; insert into evolving values (4, 'w', 'sad')");
  db.run("begin; insert into evolving values (5, 'v', 'sad'); alter table evolving add d numeric(5,1)[]; "
         "insert into evolving values (6, 'u', 'ok', '{1.5}'); commit");
  p.catch_up(db);
  for (const auto& f : p.log.faults) BOOST_ERROR(f);
  auto& rows = p.log.tables["public.evolving"].by_key;
  BOOST_TEST(*rows[{"1"}]["a"] == "1");
  BOOST_TEST(*rows[{"2"}]["c"] == "ok");
  BOOST_TEST(rows[{"3"}].count("a") == 0u);
  BOOST_TEST(*rows[{"4"}]["renamed"] == "w");
  BOOST_TEST(*rows[{"6"}]["d"] == "{1.5}");
  const auto shape = last_schema(p);
  BOOST_REQUIRE_EQUAL(shape.size(), 1u);
  BOOST_TEST(shape[0].columns.back().type == "numeric(5,1)[]");
  BOOST_TEST(shape[0].columns[2].type == "public.mood");
  BOOST_TEST(shape[0].columns[0].key == 1);
  db.run("alter type mood add value 'great'"); // the server tells nobody
  db.run("insert into evolving values (7, 't', 'great')");
  p.catch_up(db);
  const auto labels = last_schema(p)[0].columns[2].labels;
  BOOST_TEST((std::find(labels.begin(), labels.end(), "great") != labels.end()));
}

BOOST_AUTO_TEST_CASE(a_table_that_is_rewritten_while_it_is_read_is_read_anew) {
  database db;
  db.run("drop table if exists rewritten; create table rewritten (id int primary key, v text)");
  db.run("insert into rewritten select i, repeat('x', 500) from generate_series(1, 20000) i");
  db.run("delete from rewritten where id <= 10000"); // a rewrite moves the rest to the blocks that were read first
  pipeline p("rewritten", {"public.rewritten"});
  p.spec.snapshot_workers = 1;
  p.spec.snapshot_chunk_rows = 1000;
  p.open();
  p.until("some rows", [&] { return p.reader->status().snapshots.at(0).rows >= 2000; });
  db.run("vacuum full rewritten");
  p.until("the snapshot", [&] { return !p.reader->status().snapshotting && p.in_flight.empty(); });
  p.equals(db, "public.rewritten", {"id"});
  BOOST_TEST(p.notices.size() >= 1u);
}

BOOST_AUTO_TEST_CASE(a_table_can_be_read_again_added_and_removed) {
  database db;
  db.run("drop table if exists one, two, bag; create table one (id int primary key); create table two (id int primary key); "
         "create table bag (v text); alter table bag replica identity full");
  db.run("insert into one select generate_series(1, 100); insert into two select generate_series(1, 50); insert into bag select "
         "'x' from generate_series(1, 30)");
  pipeline p("tables", {"public.one", "public.bag"});
  p.open();
  const auto done = [&] { return !p.reader->status().snapshotting && p.in_flight.empty(); };
  p.until("the snapshot", done);
  BOOST_TEST(p.log.snapshot_rows == 130u);
  p.log.tables["public.one"].by_key.clear(); // as a destination that was emptied
  BOOST_TEST(!p.reader->snapshot("public.none").has_value());
  for (const auto* t : {"public.one", "bag"}) BOOST_REQUIRE(p.reader->snapshot(t).has_value());
  p.until("the start", [&] { return !done(); });
  p.until("the second snapshot", done);
  BOOST_TEST(p.log.snapshot_rows == 260u);
  p.equals(db, "public.one", {"id"});
  p.equals(db, "public.bag", {});
  p.spec.tables = {"public.one", "public.two"};
  p.crash();
  p.open();
  db.run("insert into two values (51); insert into bag values ('no longer')");
  p.until("the snapshot", done);
  p.catch_up(db);
  p.equals(db, "public.two", {"id"});
  BOOST_TEST(p.log.tables["public.bag"].bag.size() == 30u);
  BOOST_TEST(db.one("select count(*) from pg_publication_tables where pubname = 't_tables'") == "2");
}

BOOST_AUTO_TEST_CASE(only_a_snapshot_is_one_moment_and_leaves_nothing_in_the_source) {
  database db;
  db.run("drop table if exists one, bag; create table one (id int primary key, v int); create table bag (v text)");
  db.run("insert into one select i, 0 from generate_series(1, 3000) i; insert into bag select 'x' from generate_series(1, 2000)");
  pipeline p("only", {"public.one", "public.bag"});
  p.spec.snapshot = snapshot_mode::only;
  p.open();
  p.until("the end", [&] { return p.reader->status().caught_up && p.in_flight.empty(); });
  p.equals(db, "public.one", {"id"});
  p.equals(db, "public.bag", {});
  BOOST_TEST(db.one("select count(*) from pg_replication_slots where slot_name = 't_only'") == "0");
  BOOST_TEST(db.one("select count(*) from pg_publication where pubname = 't_only'") == "0");
  p.crash();
  p.open();
  p.until("the end", [&] { return p.reader->status().caught_up && p.in_flight.empty(); });
  BOOST_TEST(p.log.snapshot_rows == 5000u); // not again
}

BOOST_AUTO_TEST_CASE(what_would_harm_the_source_or_miss_changes_is_refused_by_name) {
  database db;
  db.run("drop table if exists nokey, fine; create table nokey (v text); create table fine (id int primary key)");
  db.run("drop view if exists looks; create view looks as select 1 as x");
  const auto refusal = [&](std::vector<std::string> tables) {
    pipeline p("refused", std::move(tables));
    auto r = p.try_open();
    BOOST_REQUIRE(!r.has_value());
    BOOST_TEST(is(r.error(), actors::errc::refused));
    BOOST_TEST(db.one("select count(*) from pg_publication where pubname = 't_refused'") == "0");
    return r.error().message;
  };
  BOOST_TEST(refusal({"public.fine", "public.nokey"}).starts_with("replica_identity_missing: public.nokey "));
  BOOST_TEST(refusal({"public.fine", "public.absent", "other.absent"})
                 .starts_with("table_missing: the source has no table public.absent, other.absent,"));
  BOOST_TEST(refusal({"public.looks"}).starts_with("table_kind: public.looks "));
  db.run("create publication t_inserts for table nokey with (publish = 'insert, truncate')");
  {
    pipeline p("inserts", {"public.nokey"});
    p.open();
    p.until("the slot", [&] { return !p.reader->status().snapshotting && p.in_flight.empty(); });
    db.run("insert into nokey values ('x')");
    p.catch_up(db);
    p.equals(db, "public.nokey", {});
  }
  BOOST_TEST(db.one("select count(*) from pg_publication where pubname = 't_inserts'") == "1"); // not ours to drop
  db.run("drop publication t_inserts");
}

BOOST_AUTO_TEST_CASE(names_and_keys_of_any_text_and_row_filters_and_column_lists_work) {
  database db;
  db.run("drop schema if exists \"Schéma\" cascade; create schema \"Schéma\"; "
         "create table \"Schéma\".\"A \"\"table\"\"\" (\"Ké y\" text, k2 date, v text, hidden int, n int, primary key (\"Ké y\", "
         "k2))");
  const std::string t = "\"Schéma\".\"A \"\"table\"\"\"";
  db.run("create publication t_names for table " + t + " (\"Ké y\", k2, v, n) where (n > 0)");
  db.run("insert into " + t +
         " select E'k\\t\\\\' || i, '0044-03-15 BC', repeat('v', 3000), 1, i % 2 from generate_series(1, 100) i");
  // A row filter may use only identity columns for updates.
  db.run("drop publication t_names; create publication t_names for table " + t + " (\"Ké y\", k2, v, n)");
  pipeline p("names", {"Schéma.A \"table\""});
  p.open();
  p.until("the snapshot", [&] { return !p.reader->status().snapshotting && p.in_flight.empty(); });
  db.run("update " + t + " set n = n + 10 where \"Ké y\" like '%1'; delete from " + t + " where \"Ké y\" like '%2'");
  p.catch_up(db);
  for (const auto& f : p.log.faults) BOOST_ERROR(f);
  auto& rows = p.log.tables["Schéma.A \"table\""].by_key;
  BOOST_TEST(rows.size() == 90u);
  auto& row = rows[{"k\t\\11", "0044-03-15 BC"}];
  BOOST_TEST(row.count("hidden") == 0u);
  BOOST_TEST(*row["n"] == "11");
  BOOST_TEST(row["v"]->size() == 3000u);
  db.run("drop publication t_names");
}

BOOST_AUTO_TEST_SUITE_END()
