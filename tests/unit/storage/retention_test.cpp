#include "tests/unit/storage/storage_fixture.hpp"

using namespace millrace::storage;
using namespace millrace::storage::test;

namespace {
struct retention_fixture : store_fixture {
  std::mt19937_64 random{3};
  retention_fixture() {
    options.memory_bytes = 8u << 20; // files of 2 MiB
    open();
  }
  void fill(int mebibytes) {
    for (int i = 0; i < mebibytes * 8; ++i) must(append(noise(random, 128u << 10), codec::none));
  }
  std::uintmax_t bytes_on_disk() const {
    std::uintmax_t sum = 0;
    for (const auto& f : std::filesystem::directory_iterator(folder.path / "rocks")) {
      std::error_code gone; // RocksDB deletes files on a thread of its own
      const auto bytes = f.path().extension() == ".sst" ? f.file_size(gone) : 0;
      if (!gone) sum += bytes;
    }
    return sum;
  }
};
} // namespace

BOOST_FIXTURE_TEST_SUITE(retention, retention_fixture)

BOOST_AUTO_TEST_CASE(by_size_drops_whole_files_and_no_more_than_loads_have_committed) {
  fill(24);
  const auto full = log->info();
  retention_policy policy{.bytes = 8u << 20};
  BOOST_TEST(must(log->trim(policy, {0}, now(), false)).value == 0u); // no load has committed anything
  const auto floor = offset{full.next.value / 3};
  BOOST_REQUIRE(eventually([&] { return must(log->trim(policy, floor, now(), false)).value > 0; }));
  BOOST_TEST(log->info().first.value <= floor.value);
  BOOST_REQUIRE(eventually([&] { return must(log->trim(policy, full.next, now(), false)) > floor; }));
  BOOST_REQUIRE(eventually([&] {
    must(log->trim(policy, full.next, now(), false));
    return log->info().bytes <= 10u << 20;
  }));
  BOOST_TEST(log->info().bytes > 4u << 20);
  BOOST_TEST(eventually([&] { return bytes_on_disk() < 14u << 20; }));

  const auto first = log->info().first;
  for (int again = 0; again < 2; ++again) {
    must_fail(log->read({first.value - 1}), errc::trimmed, {"begins at " + std::to_string(first.value)});
    must_fail(log->changes_below({first.value - 1}), errc::trimmed);
    BOOST_TEST(must(log->read(first))->base().value == first.value); // exactly an entry's edge
    {
      auto cursor = log->scan({first.value - 1});
      must_fail(cursor->next(), errc::trimmed);
      cursor->seek(first);
      must(cursor->next());
    }
    BOOST_TEST(must(log->changes_below(first)) == first.value - 1); // all but the first epoch's marker
    read_all();
    BOOST_TEST(must(log->seek_time(timestamp{})).value == first.value);
    reopen();
    BOOST_TEST(log->info().first.value == first.value);
  }
  BOOST_TEST(log->info().changes == full.changes); // counted since the log began
}

BOOST_AUTO_TEST_CASE(by_time_keeps_what_is_young) {
  fill(8);
  const auto middle = now();
  const auto middle_offset = log->info().next;
  BOOST_REQUIRE(eventually([&] { return now() > middle + std::chrono::milliseconds(1100); }));
  fill(8);
  const retention_policy policy{.time = std::chrono::seconds(3600)};
  BOOST_TEST(must(log->trim(policy, log->info().next, middle + std::chrono::hours(1) - std::chrono::minutes(5), false)).value ==
             0u);
  const auto when = middle + std::chrono::hours(1) + std::chrono::seconds(1);
  BOOST_REQUIRE(eventually([&] { return must(log->trim(policy, log->info().next, when, false)).value > 0; }));
  BOOST_TEST(log->info().first.value <= middle_offset.value);
  BOOST_TEST(log->info().first.value + 20 > middle_offset.value); // the rest of one file of 16 entries may stay
}

BOOST_AUTO_TEST_CASE(a_quiet_log_drops_what_expired_although_it_was_never_in_a_file) {
  must(append(numbered(0, 10)));
  const auto last = must(append(numbered(10, 10)));
  const retention_policy policy{.time = std::chrono::seconds(60)};
  const auto next_day = now() + std::chrono::hours(24);
  must(log->trim(policy, log->info().next, next_day, false));
  reopen(); // and its marker: the newest entry always stays
  BOOST_REQUIRE(eventually([&] { return must(log->trim(policy, log->info().next, next_day, false)) > last; }));
  BOOST_TEST(log->info().next.value == 22u);
}

BOOST_AUTO_TEST_CASE(the_newest_entry_stays_even_when_forced) {
  fill(6);
  const auto next = log->info().next;
  for (int i = 0; i < 20; ++i) {
    must(log->trim({.time = std::chrono::seconds(1), .bytes = 1}, {0}, now() + std::chrono::hours(1), true));
    BOOST_TEST(log->info().first.value < next.value);
  }
  must(append(numbered(0, 3)));
  reopen();
  BOOST_TEST(log->info().next.value == next.value + 4);
  read_all();
}

BOOST_AUTO_TEST_CASE(a_reader_that_idles_does_not_keep_dropped_files) {
  fill(4);
  reopen(); // nothing in the tail: the cursor reads files
  auto cursor = log->scan({0});
  must(cursor->next());
  must(cursor->next());
  fill(16);
  const auto before = bytes_on_disk();
  BOOST_REQUIRE(eventually([&] {
    must(log->trim({.bytes = 1}, log->info().next, now(), false));
    return bytes_on_disk() < before / 2;
  }));
  must_fail(cursor->next(), errc::trimmed);
}

BOOST_AUTO_TEST_CASE(old_notes_of_filtered_changes_go_with_the_log_and_the_sum_stays) {
  fill(12);
  auto letters = must(store->dead_letters("orders-1", 0));
  const std::uint8_t one[] = {1};
  for (std::uint64_t i = 0; i < 90; ++i) must(letters->note_filtered("w", {i}, {i + 1}, i, one));
  BOOST_REQUIRE(eventually([&] { return must(log->trim({.bytes = 1u << 20}, log->info().next, now(), false)).value > 30; }));
  BOOST_TEST(must(letters->filtered_below("w", {90})) == 90u);
  // What is dropped depends on where the files end: the log may begin behind the last note.
  const auto inside = std::min<std::uint64_t>(90, log->info().first.value + 1);
  BOOST_TEST(must(letters->filtered_below("w", {inside})) == inside);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(disk_reserve, store_fixture)

BOOST_AUTO_TEST_CASE(data_is_refused_below_the_reserve_while_loads_can_drain) {
  open();
  must(append(numbered(0, 3)));
  const auto free = store->space().free_bytes;
  close();
  options.disk_reserve_bytes = free + (free / 4); // more than there is, and half of it is less
  open();
  const auto next = log->info().next;
  must_fail(append(numbered(3, 3)), errc::no_space, {"MiB free", "reserve", "orders-1"});
  BOOST_TEST(log->info().next.value == next.value);
  dead_letter letter;
  letter.offset = {1};
  letter.reason = "parse";
  must(log->append_quarantine("w", {&letter, 1}));
  BOOST_TEST(store->space().reserve_bytes == options.disk_reserve_bytes);
  must(store->catalog().commit({}, {{"pipeline/x", "y", 0}}));
  close();
  options.disk_reserve_bytes = 0;
  open();
  must(append(numbered(3, 3)));
  BOOST_TEST(read_all().size() == 6u);
}

BOOST_AUTO_TEST_CASE(a_partition_does_not_open_without_room_for_its_marker) {
  options.disk_reserve_bytes = std::uint64_t{1} << 60;
  must(try_open());
  must_fail(store->open_log("orders-1", 0, {}), errc::no_space);
  close();
  options.disk_reserve_bytes = 0;
  open();
  BOOST_TEST(log->info().next.value == 1u);
}

BOOST_AUTO_TEST_SUITE_END()
