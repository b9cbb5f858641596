// What is a dead letter, what is waited for, what needs the operator (faults.md, section 1 and row 57).

#include "support.hpp"

#include <fstream>
#include <pwd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace millrace::test;
using enum millrace::actors::data_type;

namespace {
const std::vector<field_spec> fields = {field("id", int64, true), field("name", text)};
transform::table_layout_ptr shape() { return layout_of(0, {{"id", int64}, {"name", text}}, {0}); }
std::vector<table_spec> orders() { return {table("orders", load_mode::upsert, {"id"}, fields)}; }
std::unique_ptr<load::destination> fresh(const std::string& path, std::vector<table_spec> tables = orders()) {
  auto made = load::make_destination(load_of(path, std::move(tables)));
  MUST(made);
  return std::move(made).value();
}
} // namespace

BOOST_FIXTURE_TEST_SUITE(sqlite_errors, load_fixture)

BOOST_AUTO_TEST_CASE(a_constraint_failure_takes_its_change_alone) {
  other(path).run("CREATE TABLE orders(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE ON CONFLICT REPLACE, qty INT,"
                  " z TEXT NOT NULL ON CONFLICT IGNORE DEFAULT 'z', CONSTRAINT positive CHECK (qty > 0) ON CONFLICT IGNORE)");
  open({table("orders", load_mode::upsert, {"id"},
              {field("id", int64), field("name", text), field("qty", int64), field("z", text)})});
  const auto wide = layout_of(0, {{"id", int64}, {"name", text}, {"qty", int64}, {"z", text}}, {0});
  write(rows(wide)
            .insert({i(1), t("a"), i(1), t("")})
            .insert({i(2), null(), i(1), t("")})
            .insert({i(3), t("a"), i(1), t("")}) // REPLACE would delete row 1
            .insert({i(4), t("d"), i(0), t("")})
            .insert({i(5), t("e"), i(5), null()}) // IGNORE would lose the row
            .insert({null(), t("f"), i(5), t("")})
            .insert({i(7), t("g"), i(7), t("")})
            .done());
  BOOST_TEST(rows_of("SELECT id FROM orders ORDER BY id") == "1 7");
  BOOST_REQUIRE_EQUAL(seen.refused.size(), 5u);
  const auto said = [&](std::size_t n) {
    return seen.refused[n].second.reason + "/" + seen.refused[n].second.constraint + "/" + seen.refused[n].second.column;
  };
  BOOST_TEST(said(0) == "constraint/NOT NULL/name");
  BOOST_TEST(said(1) == "constraint/UNIQUE/name");
  BOOST_TEST(said(2) == "constraint/positive/");
  BOOST_TEST(said(3) == "constraint/NOT NULL/z");
  BOOST_TEST(said(4) == "constraint/NOT NULL/id");
  BOOST_TEST(seen.refused[0].second.message.find("orders") != std::string::npos);
  BOOST_TEST(seen.refused[0].second.sqlstate == "");
}

BOOST_AUTO_TEST_CASE(a_change_of_several_rows_is_in_whole_or_not_at_all) {
  other(path).run("CREATE TABLE orders(id INTEGER PRIMARY KEY, name TEXT NOT NULL)");
  open(orders());
  write(rows(shape())
            .insert({i(1), t("a")})
            .insert({i(2), t("b")})
            .insert({i(3), null()})
            .same_change()
            .insert({i(4), t("d")})
            .insert({i(5), t("e")})
            .same_change()
            .done());
  BOOST_TEST(rows_of("SELECT id FROM orders ORDER BY id") == "1 4 5");
  BOOST_REQUIRE_EQUAL(seen.refused.size(), 1u);
  BOOST_TEST(seen.refused[0].first == 1u);
}

BOOST_AUTO_TEST_CASE(a_move_that_fails_leaves_both_rows_as_they_were) {
  other(path).run("CREATE TABLE orders(id INTEGER PRIMARY KEY, name TEXT UNIQUE)");
  open(orders());
  write(rows(shape()).insert({i(1), t("a")}).insert({i(2), t("b")}).insert({i(3), t("c")}).done());
  write(rows(shape()).move({i(1)}, {i(2), t("c")}).done());
  BOOST_TEST(rows_of("SELECT * FROM orders ORDER BY id") == "1|a 2|b 3|c");
  BOOST_TEST(seen.refused.size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_history_version_that_fails_does_not_close_the_one_before) {
  open({table("orders", load_mode::history, {"id"}, fields)});
  other(path).run("CREATE TRIGGER no_poison BEFORE INSERT ON orders WHEN new.name = 'poison' BEGIN SELECT RAISE(ABORT, 'no "
                  "poison here'); END");
  write(rows(shape()).insert({i(1), t("a")}).update({i(1), t("poison")}).insert({i(2), t("b")}).done());
  BOOST_TEST(rows_of("SELECT id, name, current FROM orders ORDER BY id") == "1|a|1 2|b|1");
  BOOST_REQUIRE_EQUAL(seen.refused.size(), 1u);
  BOOST_TEST(seen.refused[0].second.constraint == "TRIGGER");
  BOOST_TEST(seen.refused[0].second.message.find("no poison here") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(halting_keeps_what_came_before_in_the_transaction) {
  other(path).run("CREATE TABLE orders(id INTEGER PRIMARY KEY, name TEXT NOT NULL)");
  auto& d = open(orders());
  seen.go_on = false;
  const auto set = rows(shape()).insert({i(1), t("a")}).insert({i(2), null()}).insert({i(3), t("c")}).done();
  MUST(d.begin());
  FAILS(d.apply(set, 0, 3, seen), errc::halted, "offset 1");
  MUST(d.commit({{1}, 0}));
  BOOST_TEST(rows_of("SELECT id FROM orders") == "1");
  BOOST_TEST(rows_of("SELECT next_offset FROM _millrace_offsets") == "1");
}

BOOST_AUTO_TEST_CASE(an_immediate_foreign_key_rejects_its_change) {
  other(path).run("CREATE TABLE customers(id INTEGER PRIMARY KEY); INSERT INTO customers VALUES(1);"
                  "CREATE TABLE orders(id INTEGER PRIMARY KEY, name TEXT, customer INTEGER REFERENCES customers(id))");
  open({table("orders", load_mode::upsert, {"id"}, {field("id", int64), field("customer", int64)})});
  write(rows(layout_of(0, {{"id", int64}, {"customer", int64}}, {0}))
            .insert({i(1), i(1)})
            .insert({i(2), i(9)})
            .insert({i(3), null()})
            .done());
  BOOST_TEST(rows_of("SELECT id FROM orders ORDER BY id") == "1 3");
  BOOST_REQUIRE_EQUAL(seen.refused.size(), 1u);
  BOOST_TEST(seen.refused[0].second.constraint == "FOREIGN KEY");
}

BOOST_AUTO_TEST_CASE(a_deferred_foreign_key_refuses_the_commit_and_isolation_finds_the_change) {
  other(path).run(
      "CREATE TABLE customers(id INTEGER PRIMARY KEY); INSERT INTO customers VALUES(1);"
      "CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customers(id) DEFERRABLE INITIALLY DEFERRED)");
  auto& d = open({table("orders", load_mode::upsert, {"id"}, {field("id", int64), field("customer", int64)})});
  const auto set = rows(layout_of(0, {{"id", int64}, {"customer", int64}}, {0}))
                       .insert({i(1), i(1)})
                       .insert({i(2), i(9)})
                       .insert({i(3), i(1)})
                       .done();
  MUST(d.begin());
  MUST(d.apply(set, 0, 3, seen));
  BOOST_TEST(seen.refused.empty());
  FAILS(d.commit({{3}, 0}), errc::refused, "FOREIGN KEY");
  d.set_isolation(true);
  write(set);
  d.set_isolation(false);
  BOOST_TEST(rows_of("SELECT id FROM orders ORDER BY id") == "1 3");
  BOOST_REQUIRE_EQUAL(seen.refused.size(), 1u);
  BOOST_TEST(seen.refused[0].first == 1u);
  BOOST_TEST(seen.refused[0].second.constraint == "FOREIGN KEY");
}

BOOST_AUTO_TEST_CASE(a_trigger_that_rolls_everything_back_is_refused_and_nothing_is_half_written) {
  open(orders());
  other(path).run(
      "CREATE TRIGGER all_gone BEFORE INSERT ON orders WHEN new.name = 'poison' BEGIN SELECT RAISE(ROLLBACK, 'gone'); END");
  const auto set = rows(shape()).insert({i(1), t("a")}).insert({i(2), t("poison")}).insert({i(3), t("c")}).done();
  MUST(made->begin());
  FAILS(made->apply(set, 0, 3, seen), errc::refused, "RAISE(ABORT)", "gone", "offset 1");
  BOOST_TEST(rows_of("SELECT count(*) FROM orders") == "0");
  MUST(made->begin());
}

BOOST_AUTO_TEST_CASE(a_strict_table_rejects_other_types_as_type) {
  other(path).run("CREATE TABLE orders(id INTEGER PRIMARY KEY, name TEXT, n INT) STRICT");
  open({table("orders", load_mode::upsert, {"id"})});
  write(rows(layout_of(0, {{"id", int64}, {"n", std::nullopt}}, {0}))
            .insert({i(1), i(5)})
            .insert({i(2), t("x")})
            .insert({i(3), t("7")})
            .done());
  BOOST_TEST(rows_of("SELECT id, n FROM orders") == "1|5");
  for (const auto& [change, why] : seen.refused) BOOST_TEST(why.reason == "type");
}

BOOST_AUTO_TEST_CASE(a_lock_of_another_process_is_unavailable_and_passes) {
  auto& d = open(orders());
  const auto set = rows(shape()).insert({i(1), t("a")}).done();
  {
    other holder(path);
    holder.run("BEGIN IMMEDIATE");
    const auto before = std::chrono::steady_clock::now();
    FAILS(d.begin(), errc::unavailable, path, "locked", "code 5");
    BOOST_TEST((std::chrono::steady_clock::now() - before < std::chrono::seconds(2)));
    FAILS(d.claim(who()), errc::unavailable, "locked");
  }
  MUST(d.claim(who()));
  write(set);
  BOOST_TEST(rows_of("SELECT count(*) FROM orders") == "1");
}

BOOST_AUTO_TEST_CASE(a_long_reader_stops_nothing) {
  open(orders());
  write(rows(shape()).insert({i(1), t("a")}).done());
  other reader(path);
  reader.run("BEGIN");
  BOOST_TEST(reader.rows("SELECT count(*) FROM orders") == "1");
  for (int n = 2; n < 50; ++n) write(rows(shape()).insert({i(n), t("b")}).done());
  BOOST_TEST(reader.rows("SELECT count(*) FROM orders") == "1");
  BOOST_TEST(rows_of("SELECT count(*) FROM orders") == "49");
}

BOOST_AUTO_TEST_CASE(a_full_disk_is_unavailable_and_goes_on_when_there_is_room) {
  const auto mounted = folder / "small";
  std::filesystem::create_directory(mounted);
  if (::mount("tmpfs", mounted.c_str(), "tmpfs", 0, "size=2m") != 0) {
    BOOST_TEST_MESSAGE("skipped: a tmpfs cannot be mounted here (needs root): " << std::strerror(errno));
    return;
  }
  path = mounted + "/shop.db";
  {
    auto& d = open(orders());
    const std::string big(100000, 'x');
    bool full = false;
    std::uint64_t written = 0;
    while (!full && written < 100) {
      const auto set = rows(shape()).insert({i(static_cast<std::int64_t>(written)), t(big)}).done();
      auto ok = d.begin();
      if (ok) ok = d.apply(set, 0, 1, seen);
      if (ok) ok = d.commit({{written + 1}, 0});
      if (ok) {
        ++written;
        continue;
      }
      full = true;
      BOOST_TEST(is(ok.error(), errc::unavailable), text_of(ok.error()));
      BOOST_TEST(ok.error().message.find("SQLite code") != std::string::npos, ok.error().message);
    }
    BOOST_TEST(full);
    BOOST_TEST(seen.refused.empty());
    // Room again: a larger file system is what an operator would make.
    BOOST_REQUIRE(::mount("tmpfs", mounted.c_str(), "tmpfs", MS_REMOUNT, "size=64m") == 0);
    const auto claimed = d.claim(who());
    MUST(claimed);
    BOOST_TEST(claimed.value().next.value >= written); // the failed commit may have made it
    next = claimed.value().next.value;
    write(rows(shape()).insert({i(1000), t(big)}).done());
    BOOST_TEST(rows_of("PRAGMA integrity_check") == "ok");
    BOOST_TEST(rows_of("SELECT count(*) FROM orders") == std::to_string(next));
    made.reset();
  }
  ::umount2(mounted.c_str(), MNT_DETACH);
}

BOOST_AUTO_TEST_CASE(a_missing_directory_is_unavailable_and_named) {
  path = folder / "not/there/shop.db";
  auto d = fresh(path);
  FAILS(d->claim(who()), errc::unavailable, "the directory " + (folder / "not/there") + " does not exist");
  std::filesystem::create_directories(folder / "not/there");
  MUST(d->claim(who()));
}

BOOST_AUTO_TEST_CASE(files_that_are_no_database_are_refused_and_left_alone) {
  const std::string before(5000, 'x');
  std::ofstream(path) << before;
  FAILS(fresh(path)->claim(who()), errc::refused, "not a database", "expected an SQLite 3 database");
  std::string after;
  std::getline(std::ifstream(path), after);
  BOOST_TEST(after == before);
  std::filesystem::create_directory(folder / "dir.db");
  FAILS(fresh(folder / "dir.db")->claim(who()), errc::refused, "not a regular file");
  FAILS(fresh("/dev/null")->claim(who()), errc::refused, "not a regular file");
}

BOOST_AUTO_TEST_CASE(a_damaged_file_is_refused) {
  open(orders());
  for (int n = 0; n < 20; ++n) write(rows(shape()).insert({i(n), t("some text")}).done());
  made.reset();
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100); // the schema's page, behind the file header
    const std::string noise(3000, '\x5a');
    file << noise;
  }
  auto d = fresh(path);
  FAILS(d->claim(who()), errc::refused, "malformed", "integrity_check");
}

BOOST_AUTO_TEST_CASE(without_permission_it_is_refused_with_what_to_do) {
  if (geteuid() != 0) {
    BOOST_TEST_MESSAGE("skipped: needs root, to become somebody else");
    return;
  }
  open(orders());
  made.reset();
  ::chmod(folder.path().c_str(), 0755);
  ::chmod(path.c_str(), 0644);
  int answer[2];
  BOOST_REQUIRE(pipe(answer) == 0);
  const pid_t child = fork();
  if (child == 0) {
    if (setgid(65534) != 0 || setuid(65534) != 0) _exit(2);
    const auto own = load::make_destination(load_of(path, orders())).value()->claim(who());
    const auto absent = load::make_destination(load_of(folder / "new.db", orders())).value()->claim(who());
    std::string text;
    for (const auto* r : {&own, &absent}) text += *r ? "worked\n" : text_of(r->error()) + "\n";
    _exit(::write(answer[1], text.data(), text.size()) > 0 ? 0 : 3);
  }
  close(answer[1]);
  char said[4096] = {};
  BOOST_REQUIRE(::read(answer[0], said, sizeof said - 1) > 0);
  close(answer[0]);
  int status = 0;
  waitpid(child, &status, 0);
  const std::string text = said;
  BOOST_TEST(text.find("refused: sqlite " + path + ": it can only be read; give the node's user write permission") !=
                 std::string::npos,
             text);
  BOOST_TEST(text.find("refused: sqlite " + (folder / "new.db")) != std::string::npos, text);
  BOOST_TEST(text.find("must be able to write") != std::string::npos, text);
}

BOOST_AUTO_TEST_CASE(a_file_that_is_moved_or_deleted_under_us_is_noticed) {
  auto& d = open(orders());
  const auto set = rows(shape()).insert({i(1), t("a")}).done();
  write(set);
  const auto aside = folder / "aside.db";
  std::filesystem::rename(path, aside);
  FAILS(d.begin(), errc::unavailable, "deleted, renamed or replaced", "offset 1");
  // No new file at the name: the WAL beside it holds commits.
  FAILS(d.claim(who()), errc::unavailable, "Put it back");
  BOOST_TEST(!std::filesystem::exists(path));
  std::filesystem::rename(aside, path);
  MUST(d.claim(who()));
  write(rows(shape()).insert({i(2), t("b")}).done());
  BOOST_TEST(rows_of("SELECT id FROM orders ORDER BY id") == "1 2");
  // In the middle of a transaction: it does not commit into a file that nobody sees.
  MUST(d.begin());
  MUST(d.apply(rows(shape()).insert({i(3), t("c")}).done(), 0, 1, seen));
  std::filesystem::rename(path, aside);
  FAILS(d.commit({{9}, 0}), errc::unavailable, "replaced");
  std::filesystem::rename(aside, path);
  MUST(d.claim(who()));
  BOOST_TEST(rows_of("SELECT id FROM orders ORDER BY id") == "1 2");
}

BOOST_AUTO_TEST_CASE(a_file_that_was_replaced_by_another_one_stops_the_load) {
  auto& d = open(orders());
  write(rows(shape()).insert({i(1), t("a")}).done());
  for (const auto* end : {"", "-wal", "-shm"}) std::filesystem::remove(path + end);
  other(path).run("CREATE TABLE t(x)");
  FAILS(d.begin(), errc::unavailable, "replaced");
  FAILS(d.claim(who()), errc::log_mismatch, "its row is gone", "offset 1 was committed");
  // A new process cannot know what was committed: it is told that nothing was there.
  const auto claimed = fresh(path)->claim(who());
  MUST(claimed);
  BOOST_TEST(claimed.value().created);
}

BOOST_AUTO_TEST_CASE(a_symbolic_link_and_its_target_are_one_file_with_one_connection) {
  auto& d = open(orders());
  const auto alias = folder / "alias.db";
  std::filesystem::create_symlink(path, alias);
  auto second = fresh(alias, {table("other", load_mode::upsert, {"id"}, fields)});
  auto request = who();
  request.load = "second";
  MUST(second->claim(request));
  MUST(d.begin());
  FAILS(second->begin(), errc::unavailable, "another load of this node");
  d.rollback();
}

BOOST_AUTO_TEST_CASE(a_destination_that_this_build_does_not_have_is_named_and_a_path_is_needed) {
  auto spec = load_of(path, orders());
  spec.destination.type = "oracle";
  FAILS(load::make_destination(spec), errc::invalid, "oracle", "expected sqlite");
  spec.destination = {};
  spec.destination.type = "sqlite";
  FAILS(load::make_destination(spec), errc::invalid, "path");
  BOOST_TEST(fresh(path)->name() == "sqlite " + path);
}

BOOST_AUTO_TEST_SUITE_END()
