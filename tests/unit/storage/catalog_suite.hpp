// One suite for every catalog, run against what its factories make. Whoever includes this has declared `catalogs` before: a
// boost::mpl::list of types with `catalog& open()`.
// No #pragma once: it is text for one source file.
#include "tests/unit/storage/seen_changes.hpp"

#include <boost/mpl/list.hpp>

BOOST_AUTO_TEST_SUITE(catalog_suite)

BOOST_AUTO_TEST_CASE_TEMPLATE(a_value_is_read_back_with_its_revisions, Factory, catalogs) {
  Factory factory;
  auto& c = factory.open();
  BOOST_TEST(!must(c.get("a")));
  const auto first = must(c.commit({}, {{"a", "1", 0}}));
  const auto second = must(c.commit({}, {{"a", "2", 0}, {"b", "", 0}}));
  BOOST_TEST(second > first);
  const auto a = must(c.get("a"));
  BOOST_REQUIRE(a);
  BOOST_TEST(a->value == "2");
  BOOST_TEST(a->create_revision == first);
  BOOST_TEST(a->mod_revision == second);
  BOOST_TEST(must(c.get("b"))->value == "");
  BOOST_TEST(must(c.revision()) == second);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_guard_that_does_not_hold_writes_nothing, Factory, catalogs) {
  Factory factory;
  auto& c = factory.open();
  const auto made = must(c.commit({{"a", 0}}, {{"a", "1", 0}}));
  must_fail(c.commit({{"a", 0}}, {{"a", "2", 0}}), errc::conflict, {"a"});
  must_fail(c.commit({{"a", made}, {"b", 7}}, {{"a", "2", 0}, {"b", "2", 0}}), errc::conflict);
  BOOST_TEST(must(c.get("a"))->value == "1");
  BOOST_TEST(!must(c.get("b")));
  must(c.commit({{"a", made}, {"b", 0}}, {{"a", std::nullopt, 0}, {"b", "2", 0}}));
  BOOST_TEST(!must(c.get("a")));
  const auto again = must(c.commit({{"a", 0}}, {{"a", "3", 0}}));
  BOOST_TEST(must(c.get("a"))->create_revision == again);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(one_commit_cannot_write_a_key_twice, Factory, catalogs) {
  Factory factory;
  must_fail(factory.open().commit({}, {{"a", "1", 0}, {"a", "2", 0}}), errc::invalid);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(only_one_of_many_writers_wins, Factory, catalogs) {
  Factory factory;
  auto& c = factory.open();
  must(c.commit({}, {{"n", "0", 0}}));
  std::vector<std::jthread> writers;
  std::atomic<int> won{0};
  for (int w = 0; w < 4; ++w)
    writers.emplace_back([&] {
      for (int i = 0; i < 25; ++i) {
        const auto entry = c.get("n");
        if (!entry || !entry.value()) return;
        if (c.commit({{"n", entry.value()->mod_revision}}, {{"n", std::to_string(std::stoi(entry.value()->value) + 1), 0}}))
          ++won;
      }
    });
  writers.clear();
  BOOST_TEST(must(c.get("n"))->value == std::to_string(won.load()));
  BOOST_TEST(won > 0);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(list_gives_a_prefix_in_order, Factory, catalogs) {
  Factory factory;
  auto& c = factory.open();
  must(c.commit({}, {{"p/b", "2", 0}, {"p/a", "1", 0}, {"q/a", "3", 0}, {"p", "4", 0}}));
  const auto found = must(c.list("p/"));
  BOOST_REQUIRE_EQUAL(found.size(), 2u);
  BOOST_TEST(found[0].key == "p/a");
  BOOST_TEST(found[1].value == "2");
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_watch_sees_every_change_from_the_past_on_in_order, Factory, catalogs) {
  Factory factory;
  auto& c = factory.open();
  must(c.commit({}, {{"p/0", "before", 0}}));
  const auto after = must(c.revision());
  must(c.commit({}, {{"p/1", "a", 0}, {"q/1", "x", 0}}));
  seen_changes seen;
  auto watch = must(c.watch("p/", after, seen.watcher(), {}));
  for (int i = 0; i < 50; ++i) must(c.commit({}, {{"p/2", std::to_string(i), 0}}));
  must(c.commit({}, {{"p/1", std::nullopt, 0}}));
  BOOST_REQUIRE(eventually([&] { return seen.size() == 52; }));
  std::lock_guard lock(seen.mutex);
  BOOST_TEST(seen.list.front() == "p/1=a");
  for (int i = 0; i < 50; ++i) BOOST_TEST(seen.list[1 + i] == "p/2=" + std::to_string(i));
  BOOST_TEST(seen.list.back() == "p/1=-");
}

BOOST_AUTO_TEST_CASE_TEMPLATE(ending_a_watch_waits_for_its_running_call, Factory, catalogs) {
  Factory factory;
  auto& c = factory.open();
  std::atomic<bool> inside{false}, leave{false}, left{false};
  auto watch = must(c.watch("p/", must(c.revision()),
                            [&](auto...) {
                              inside = true;
                              while (!leave) std::this_thread::yield();
                              left = true;
                            },
                            {}));
  must(c.commit({}, {{"p/1", "a", 0}}));
  BOOST_REQUIRE(eventually([&] { return inside.load(); }));
  std::jthread helper([&] { leave = true; });
  watch.reset();
  BOOST_TEST(left);
  inside = false;
  must(c.commit({}, {{"p/1", "b", 0}}));
  seen_changes later; // when this one has seen the change, the ended one would have
  auto second = must(c.watch("p/", must(c.revision()) - 1, later.watcher(), {}));
  BOOST_REQUIRE(eventually([&] { return later.size() == 1; }));
  BOOST_TEST(!inside);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_watcher_may_write_and_end_itself, Factory, catalogs) {
  Factory factory;
  auto& c = factory.open();
  std::unique_ptr<catalog::watch_handle> watch;
  std::mutex set;
  std::atomic<int> calls{0};
  {
    std::lock_guard lock(set);
    watch = must(c.watch("p/", must(c.revision()),
                         [&](auto...) {
                           ++calls;
                           (void)c.commit({}, {{"done", "1", 0}});
                           std::lock_guard inner(set);
                           watch.reset();
                         },
                         {}));
  }
  must(c.commit({}, {{"p/1", "a", 0}}));
  BOOST_REQUIRE(eventually([&] {
    std::lock_guard lock(set);
    return !watch && must(c.get("done")).has_value();
  }));
  must(c.commit({}, {{"p/1", "b", 0}}));
  BOOST_TEST(calls == 1);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(keys_go_with_a_lease_that_is_not_kept_alive, Factory, catalogs) {
  Factory factory;
  auto& c = factory.open();
  seen_changes seen;
  auto watch = must(c.watch("node/", must(c.revision()), seen.watcher(), {}));
  const auto kept = must(c.grant_lease(std::chrono::seconds(30)));
  const auto lost = must(c.grant_lease(std::chrono::milliseconds(30)));
  must(c.commit({}, {{"node/a", "1", kept}}));
  auto late = c.commit({}, {{"node/b", "2", lost}});
  BOOST_REQUIRE(eventually([&] { return !must(c.get("node/b")); }));
  BOOST_REQUIRE(eventually([&] { return !c.keep_alive(lost); }));
  must_fail(c.keep_alive(lost), errc::not_found);
  BOOST_REQUIRE(eventually([&] { return !c.commit({}, {{"node/c", "3", lost}}); }));
  must(c.keep_alive(kept));
  BOOST_TEST(must(c.get("node/a"))->value == "1");
  if (late) BOOST_REQUIRE(eventually([&] { return seen.size() == 3; }));
  must(c.revoke(kept));
  BOOST_TEST(!must(c.get("node/a")));
  must_fail(c.revoke(kept), errc::not_found);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_key_written_without_the_lease_outlives_it, Factory, catalogs) {
  Factory factory;
  auto& c = factory.open();
  const auto lease = must(c.grant_lease(std::chrono::seconds(30)));
  must(c.commit({}, {{"a", "1", lease}}));
  must(c.commit({}, {{"a", "2", 0}}));
  must(c.revoke(lease));
  BOOST_TEST(must(c.get("a"))->value == "2");
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_snapshot_and_a_watch_from_its_revision_miss_and_repeat_nothing, Factory, catalogs) {
  Factory factory;
  auto& c = factory.open();
  must(c.commit({}, {{"p/0", "", 0}}));
  std::atomic<bool> stop{false};
  std::jthread writer([&] {
    for (int i = 1; !stop && i < 2000; ++i) must(c.commit({}, {{"p/" + std::to_string(i), "", 0}}));
  });
  const auto listing = must(c.snapshot("p/"));
  for (const auto& e : listing.entries) BOOST_TEST(e.mod_revision <= listing.revision);
  seen_changes seen;
  auto watch = must(c.watch("p/", listing.revision, seen.watcher(), {}));
  BOOST_REQUIRE(eventually([&] { return seen.size() >= 20; }));
  stop = true;
  writer.join();
  const auto all = must(c.list("p/"));
  BOOST_REQUIRE(eventually([&] { return listing.entries.size() + seen.size() >= all.size(); }));
  BOOST_TEST(listing.entries.size() + seen.size() == all.size());
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_guard_on_the_create_revision_tells_a_session_from_the_next, Factory, catalogs) {
  Factory factory;
  auto& c = factory.open();
  const auto session = must(c.commit({}, {{"node/a", "1", 0}}));
  must(c.commit({}, {{"node/a", "2", 0}})); // the same session goes on
  must(c.commit({catalog_guard::created_at("node/a", session)}, {{"x", "1", 0}}));
  must_fail(c.commit({catalog_guard::not_created_at("node/a", session)}, {{"x", "2", 0}}), errc::conflict, {"node/a"});
  must(c.commit({}, {{"node/a", std::nullopt, 0}}));
  must_fail(c.commit({catalog_guard::created_at("node/a", session)}, {{"x", "2", 0}}), errc::conflict, {"node/a"});
  must(c.commit({catalog_guard::not_created_at("node/a", session)}, {{"x", "2", 0}}));
  must(c.commit({}, {{"node/a", "3", 0}}));
  must_fail(c.commit({catalog_guard::created_at("node/a", session)}, {{"x", "3", 0}}), errc::conflict, {"node/a"});
  must(c.commit({catalog_guard::not_created_at("node/a", session)}, {{"x", "3", 0}}));
  BOOST_TEST(must(c.get("x"))->value == "3");
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_commit_without_writes_only_checks, Factory, catalogs) {
  Factory factory;
  auto& c = factory.open();
  const auto made = must(c.commit({}, {{"a", "1", 0}}));
  BOOST_TEST(must(c.commit({{"a", made}}, {})) == made);
  must_fail(c.commit({{"a", made}, {"b", 1}}, {}), errc::conflict, {"b"});
}

BOOST_AUTO_TEST_CASE_TEMPLATE(bytes_of_any_kind_are_kept, Factory, catalogs) {
  Factory factory;
  auto& c = factory.open();
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  for (std::size_t length : {0u, 1u, 2u, 3u, 255u, 256u}) {
    must(c.commit({}, {{"k", all.substr(256 - length), 0}}));
    BOOST_TEST((must(c.get("k"))->value == all.substr(256 - length)), length);
  }
}

BOOST_AUTO_TEST_SUITE_END()
