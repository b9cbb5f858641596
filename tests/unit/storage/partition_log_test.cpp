#include "tests/unit/storage/storage_fixture.hpp"

using namespace millrace::storage;
using namespace millrace::storage::test;

BOOST_FIXTURE_TEST_SUITE(partition_log_appends_and_reads, store_fixture)

BOOST_AUTO_TEST_CASE(a_new_log_begins_with_its_epoch_marker) {
  open();
  const auto info = log->info();
  BOOST_TEST(info.first.value == 0u);
  BOOST_TEST(info.next.value == 1u);
  BOOST_TEST(info.changes == 0u);
  BOOST_TEST(info.epoch.value == 1u);
  BOOST_TEST(info.id.value != 0u);
  const auto marker = must(log->read({0}));
  BOOST_TEST((marker->kind() == batch_kind::epoch_marker));
  BOOST_TEST(marker->count() == 1u);
}

BOOST_AUTO_TEST_CASE(changes_come_back_as_they_arrived_from_memory_and_from_disk) {
  for (const auto c : {codec::none, codec::lz4, codec::zstd}) {
    open("codec-" + std::to_string(static_cast<int>(c)));
    auto block = numbered(0, 1000);
    block.format = payload_format::csv;
    block.envelope = envelope::debezium;
    block.origin_position = 500;
    block.context = "n";
    BOOST_TEST(must(append(block, c)).value == 1u);
    for (const bool from_disk : {false, true}) {
      if (from_disk) {
        const auto before = log->info();
        close();
        open("codec-" + std::to_string(static_cast<int>(c)));
        BOOST_TEST(log->info().id.value == before.id.value);
        BOOST_TEST(log->info().epoch.value == before.epoch.value + 1);
        BOOST_TEST(log->info().changes == 1000u);
      }
      const auto entry = must(log->read({500})); // in the middle
      BOOST_TEST(entry->base().value == 1u);
      BOOST_TEST(entry->count() == 1000u);
      BOOST_TEST(entry->end().value == 1001u);
      BOOST_TEST(entry->payloads() == block.payloads);
      BOOST_TEST(entry->payload(999) == number_text(999));
      BOOST_TEST(entry->source_position(1) == "in/test.ndjson:" + std::to_string(500 + block.starts[1]));
      BOOST_TEST((entry->format() == payload_format::csv && entry->envelope() == envelope::debezium));
      BOOST_TEST(entry->context() == "n");
      BOOST_TEST(entry->epoch().value == 1u);
    }
    close();
  }
}

BOOST_AUTO_TEST_CASE(several_batches_are_one_append_with_dense_offsets) {
  open();
  const std::vector<staged_batch_ptr> group{staged(numbered(0, 3)), staged(numbered(3, 1), codec::none),
                                            staged(numbered(4, 5), codec::lz4)};
  BOOST_TEST(must(log->append(group)).value == 1u);
  reopen();
  const auto all = read_all();
  BOOST_REQUIRE_EQUAL(all.size(), 9u);
  for (std::uint64_t i = 0; i < all.size(); ++i) {
    BOOST_TEST(all[i].first == i + 1);
    BOOST_TEST(all[i].second == number_text(i));
  }
  BOOST_TEST(must(log->read({5}))->changes_before() == 4u);
}

BOOST_AUTO_TEST_CASE(an_open_partition_is_one_object_and_one_epoch) {
  open();
  const auto again = must(store->open_log("orders-1", 0, {}));
  BOOST_TEST(again.get() == log.get());
  BOOST_TEST(again->info().epoch.value == 1u);
}

BOOST_AUTO_TEST_CASE(source_state_changes_with_its_batch_and_takes_no_offset_alone) {
  open();
  auto block = numbered(0, 1);
  block.source_state = {{"file:1", "pos=10"}, {"file:2", "pos=1"}};
  must(append(block));
  change_block only_state;
  only_state.source_state = {{"file:1", "pos=20"}, {"file:2", ""}};
  BOOST_TEST(must(append(only_state)).value == 2u);
  BOOST_TEST(log->info().next.value == 2u);
  for (int i = 0; i < 2; ++i) {
    const auto state = must(log->source_state());
    BOOST_REQUIRE_EQUAL(state.size(), 1u);
    BOOST_TEST((state[0] == state_entry{"file:1", "pos=20"}));
    reopen();
  }
}

BOOST_AUTO_TEST_CASE(the_end_can_be_asked_for_again) {
  open();
  auto cursor = log->scan({0});
  must(cursor->next());
  must_fail(cursor->next(), errc::end_of_log, {"ends at 1"});
  must(append(numbered(0, 2)));
  BOOST_TEST(must(cursor->next())->base().value == 1u);
  must_fail(cursor->next(), errc::end_of_log);
  must_fail(log->read({3}), errc::end_of_log, {"orders-1", "offset 3"});
}

BOOST_AUTO_TEST_CASE(a_cursor_goes_from_disk_to_memory_and_back_without_a_gap) {
  partition_options small_tail;
  small_tail.tail_bytes = 20'000;
  open("orders-1", small_tail);
  std::uint64_t written = 0;
  auto cursor = log->scan({1});
  std::uint64_t expected = 0;
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 1 + round % 7; ++i, written += 200) must(append(numbered(written, 200), codec::lz4));
    for (int i = 0; i < 1 + round % 5; ++i) {
      auto entry = cursor->next();
      if (!entry) break;
      BOOST_REQUIRE_EQUAL(entry.value()->payload(0), number_text(expected));
      expected += 200;
    }
  }
  for (;;) {
    auto entry = cursor->next();
    if (!entry) {
      BOOST_TEST(entry.error().is(errc::end_of_log));
      break;
    }
    BOOST_REQUIRE_EQUAL(entry.value()->payload(0), number_text(expected));
    expected += 200;
  }
  BOOST_TEST(expected == written);
}

BOOST_AUTO_TEST_CASE(seeking_by_time_finds_the_first_entry_that_is_not_older) {
  open();
  std::vector<std::pair<timestamp, std::uint64_t>> marks; // just before an entry, its base
  for (int i = 0; i < 20; ++i) {
    const auto before = now();
    BOOST_REQUIRE(eventually([&] { return now() > before; }));
    const auto mark = now();
    marks.emplace_back(mark, must(append(numbered(i, 1 + i * 3))).value);
  }
  for (int from_disk = 0; from_disk < 2; ++from_disk) {
    for (const auto& [time, base] : marks) BOOST_TEST(must(log->seek_time(time)).value == base);
    BOOST_TEST(must(log->seek_time(timestamp{})).value == 0u);
    BOOST_TEST(must(log->seek_time(now() + std::chrono::hours(1))).value == log->info().next.value);
    reopen();
  }
}

BOOST_AUTO_TEST_CASE(changes_are_counted_without_control_entries) {
  open();
  must(append(numbered(0, 10))); // [1, 11)
  must(log->append_discard("w", {}));
  must(append(numbered(10, 10))); // [12, 22)
  reopen();                       // marker at 22
  BOOST_TEST(log->info().changes == 20u);
  BOOST_TEST(must(log->changes_below({0})) == 0u);
  BOOST_TEST(must(log->changes_below({1})) == 0u);
  BOOST_TEST(must(log->changes_below({6})) == 5u);
  BOOST_TEST(must(log->changes_below({12})) == 10u);
  BOOST_TEST(must(log->changes_below({15})) == 13u);
  BOOST_TEST(must(log->changes_below({23})) == 20u);
  must_fail(log->changes_below({24}), errc::end_of_log);
}

BOOST_AUTO_TEST_CASE(bytes_are_those_of_the_stored_entries) {
  open();
  const auto before = log->info().bytes;
  const auto batch = staged(numbered(0, 5000));
  must(log->append({&batch, 1}));
  const auto added = log->info().bytes - before;
  BOOST_TEST(added > batch->stored_bytes());
  BOOST_TEST(added < batch->stored_bytes() + 300);
  const auto total = log->info().bytes;
  reopen();
  BOOST_TEST(log->info().bytes > total);
  BOOST_TEST(log->info().bytes < total + 300); // the new epoch's marker
}

BOOST_AUTO_TEST_CASE(large_batches_and_records_work) {
  open();
  std::mt19937_64 random(7);
  const auto large = noise(random, 256u << 20);
  must(append(large, codec::none));
  std::vector<std::string> many(70, std::string(1u << 20, 'x'));
  must(append(block_of(many), codec::lz4));
  reopen();
  const auto record = must(log->read({1}));
  BOOST_TEST((record->payload(0) == std::string_view(large.payloads).substr(0, 256u << 20)));
  const auto batch = must(log->read({40}));
  BOOST_TEST(batch->count() == 70u);
  BOOST_TEST((batch->payload(69) == many[69]));
}

BOOST_AUTO_TEST_CASE(partitions_and_pipelines_are_apart) {
  open();
  auto second = must(store->open_log("orders-1", 1, {}));
  auto other = must(store->open_log("orders-10", 0, {}));
  must(append(numbered(0, 5)));
  BOOST_TEST(second->info().next.value == 1u);
  BOOST_TEST(other->info().next.value == 1u);
  BOOST_TEST(second->info().id.value != log->info().id.value);
  must_fail(store->open_log("a/b", 0, {}), errc::invalid);
  must_fail(store->drop_pipeline("orders-1"), errc::conflict, {"still in use"});
  log.reset();
  second.reset();
  must(store->drop_pipeline("orders-1"));
  BOOST_TEST(other->info().next.value == 1u);
  BOOST_TEST(must(store->catalog().list("part/orders-1/")).empty());
  BOOST_TEST(must(store->catalog().list("part/orders-10/")).size() == 1u);
  log = must(store->open_log("orders-1", 0, {}));
  BOOST_TEST(log->info().next.value == 1u);
  BOOST_TEST(log->info().epoch.value == 1u);
  BOOST_TEST(must(log->source_state()).empty());
}

BOOST_AUTO_TEST_CASE(readers_on_other_threads_see_whole_entries_in_order) {
  partition_options small_tail;
  small_tail.tail_bytes = 50'000;
  open("orders-1", small_tail);
  constexpr std::uint64_t total = 40'000;
  std::atomic<int> sound{0};
  std::vector<std::jthread> readers;
  for (int r = 0; r < 3; ++r)
    readers.emplace_back([this, &sound] {
      auto cursor = log->scan({1});
      std::uint64_t expected = 0;
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
      while (expected < total && std::chrono::steady_clock::now() < deadline) {
        auto entry = cursor->next();
        if (!entry && entry.error().is(errc::end_of_log)) {
          std::this_thread::yield();
          continue;
        }
        if (!entry || entry.value()->payload(0) != number_text(expected)) return;
        expected += entry.value()->count();
      }
      if (expected == total) ++sound;
    });
  for (std::uint64_t n = 0; n < total; n += 400) must(append(numbered(n, 400), codec::lz4));
  readers.clear(); // joins
  BOOST_TEST(sound == 3);
}

BOOST_AUTO_TEST_CASE(a_second_process_is_kept_out) {
  open();
  auto second = node_store::open(options);
  must_fail(second, errc::io_failed, {"in use"});
}

BOOST_AUTO_TEST_SUITE_END()
