#include "ingest_support.hpp"

#include <fcntl.h>
#include <unistd.h>

using namespace millrace::actors;
using namespace millrace::actors::ingest;
using namespace ingest_test;
using file::file_source;
using std::chrono::milliseconds;

namespace {
struct follower {
  temp_folder dir;
  test_clock clock;
  source_log log;

  file_source open(const std::string& name, bool follow = true) { return open(options_for(dir / name, follow, clock)); }
  file_source open(file::file_options options) {
    file_source s{std::move(options)};
    BOOST_REQUIRE(s.open(log.state()));
    return s;
  }
};

bool contains(const strings& lines, const std::string& text) {
  return std::any_of(lines.begin(), lines.end(), [&](const auto& l) { return l.find(text) != std::string::npos; });
}
} // namespace

BOOST_FIXTURE_TEST_SUITE(file_source_follows, follower)

BOOST_AUTO_TEST_CASE(a_last_line_waits_for_its_end) {
  write(dir / "a", "1\n2");
  auto s = open("a");
  drain(s, log);
  clock.advance(std::chrono::hours{1});
  drain(s, log);
  BOOST_TEST(log.fresh() == strings{"1"});
  BOOST_TEST(s.status().caught_up); // all that can be read was
  BOOST_TEST(s.status().lag_bytes == 1u);
  append(dir / "a", "2\n");
  drain(s, log);
  BOOST_TEST(log.fresh() == strings{"22"});
  BOOST_TEST(s.status().lag_bytes == 0u);
}

BOOST_AUTO_TEST_CASE(growth_is_seen_between_two_looks) {
  write(dir / "a", "1\n");
  auto s = open("a");
  drain(s, log);
  append(dir / "a", "2\n");
  const auto before = clock.now;
  BOOST_TEST(records(*s.poll(milliseconds{500}).value()) == strings{"2"});
  BOOST_TEST((clock.now - before <= milliseconds{10}));
}

BOOST_AUTO_TEST_CASE(small_blocks_are_gathered_for_a_few_milliseconds) {
  write(dir / "a", "1\n");
  auto o = options_for(dir / "a", true, clock);
  o.gather = milliseconds{5};
  auto s = open(o);
  BOOST_REQUIRE(s.poll(milliseconds{0}).value());
  append(dir / "a", "2\n");
  BOOST_TEST(!s.poll(milliseconds{0}).value());
  append(dir / "a", "3\n");
  BOOST_TEST(records(*s.poll(milliseconds{20}).value()) == (strings{"2", "3"}));
}

BOOST_AUTO_TEST_CASE(a_renamed_file_that_still_matches_is_not_read_twice) {
  write(dir / "a.log", "1\n");
  auto s = open("a.log*");
  drain(s, log);
  append(dir / "a.log", "2\n");
  fs::rename(dir / "a.log", dir / "a.log.1");
  append(dir / "a.log.1", "3\n"); // the writer still has it open
  write(dir / "a.log", "4\n");
  look_and_drain(s, log);
  BOOST_TEST(log.all() == (strings{"1", "2", "3", "4"}));
  auto again = open("a.log*");
  drain(again, log);
  BOOST_TEST(log.all().size() == 4u);
}

BOOST_AUTO_TEST_CASE(the_old_file_is_finished_before_the_new_one_also_when_its_name_matches_no_more) {
  write(dir / "a.log", "1\n");
  auto s = open("a.log");
  drain(s, log);
  append(dir / "a.log", "2\n");
  fs::rename(dir / "a.log", dir / "old");
  write(dir / "a.log", "4\n");
  append(dir / "old", "3\n");
  look_and_drain(s, log);
  BOOST_TEST(log.all() == (strings{"1", "2", "3", "4"}));
  append(dir / "old", "late\n"); // until the writer has opened the new one
  append(dir / "a.log", "5\n");
  drain(s, log);
  BOOST_TEST(log.all().size() == 6u);
}

BOOST_AUTO_TEST_CASE(the_rest_of_a_deleted_file_is_read_and_its_state_forgotten) {
  write(dir / "a.log", "1\n");
  auto s = open("a.log");
  drain(s, log);
  append(dir / "a.log", "2\n3");
  fs::remove(dir / "a.log");
  look_and_drain(s, log);
  BOOST_TEST(log.all() == (strings{"1", "2"}));
  BOOST_TEST(log.state().size() == 1u);
  clock.advance(std::chrono::seconds{61}); // nobody is going to write the end of its last line
  look_and_drain(s, log);
  BOOST_TEST(log.all() == (strings{"1", "2", "3"}));
  BOOST_TEST(log.state().empty());
  BOOST_TEST(s.open_files() == 0u);
  BOOST_TEST(s.status().waiting.find("no file matches") == 0u);
}

BOOST_AUTO_TEST_CASE(a_file_rotated_while_the_node_was_down_is_finished_under_its_new_name) {
  write(dir / "a.log", "1\n2\n");
  auto o = options_for(dir / "a.log", true, clock);
  o.block_bytes = 2;
  {
    auto s = open(o);
    log.take(*s.poll(milliseconds{0}).value());
  }
  fs::rename(dir / "a.log", dir / "a.log.1");
  write(dir / "a.log", "3\n");
  auto s = open(o);
  drain(s, log);
  BOOST_TEST(log.all() == (strings{"1", "2", "3"}));
  BOOST_TEST(contains(s.take_notices(), "is now " + (dir / "a.log.1")));
}

BOOST_AUTO_TEST_CASE(rotated_files_are_read_from_the_oldest_on) {
  write(dir / "a.log.2", "1\n");
  write(dir / "a.log.1", "2\n");
  write(dir / "a.log", "3\n");
  const auto t = fs::file_time_type::clock::now();
  fs::last_write_time(dir / "a.log.2", t - std::chrono::hours{2});
  fs::last_write_time(dir / "a.log.1", t - std::chrono::hours{1});
  auto s = open("a.log*");
  drain(s, log);
  BOOST_TEST(log.all() == (strings{"1", "2", "3"}));
}

BOOST_AUTO_TEST_CASE(a_truncated_file_begins_anew_and_the_log_hears_of_it_at_once) {
  write(dir / "a.log", "11\n22\n");
  auto s = open("a.log");
  drain(s, log);
  write(dir / "a.log", ""); // copytruncate
  drain(s, log);
  BOOST_TEST(contains(s.take_notices(), "shrank from 6 to 0 bytes: reading it from its start"));
  // Back in the log is position 0: a file that grows beyond the old position before a restart is read whole.
  write(dir / "a.log", "11\n22\n33\n");
  auto t = open("a.log");
  drain(t, log);
  BOOST_TEST(log.all() == (strings{"11", "22", "11", "22", "33"}));
}

BOOST_AUTO_TEST_CASE(a_file_smaller_than_its_position_after_a_restart_begins_anew) {
  write(dir / "a.log", "11\n22\n");
  for (const bool follow : {true, false}) {
    auto s = open("a.log", follow);
    drain(s, log);
    write(dir / "a.log", follow ? "33\n" : "4\n");
  }
  auto s = open("a.log");
  drain(s, log);
  BOOST_TEST(log.all() == (strings{"11", "22", "33", "4"}));
}

BOOST_AUTO_TEST_CASE(a_file_rewritten_in_place_with_another_start_is_another_file) {
  write(dir / "a", "aaaa\nbbbb\n");
  for (const bool follow : {true, false}) {
    auto s = open("a", follow);
    drain(s, log);
    const std::string content = follow ? "cccc\ndddd\n" : "eeee\nffff\ngggg\n"; // same size; larger
    write(dir / "a", content);
    look_and_drain(s, log);
    BOOST_TEST(log.fresh() == (follow ? strings{"aaaa", "bbbb", "cccc", "dddd"} : strings{"eeee", "ffff", "gggg"}));
    write(dir / "a", follow ? "cccc\ndddd\n" : "hhhh\niiii\njjjj\n");
    if (follow) continue;
    auto t = open("a"); // rewritten while nobody looked
    drain(t, log);
    BOOST_TEST(log.fresh() == (strings{"hhhh", "iiii", "jjjj"}));
    BOOST_TEST(contains(t.take_notices(), "begins with other bytes"));
  }
}

BOOST_AUTO_TEST_CASE(a_new_file_on_the_inode_of_a_deleted_one_is_new_even_with_the_same_start) {
  write(dir / "a", "header\n1\n");
  {
    auto s = open("a", false);
    drain(s, log);
  }
  // Whether the file system gives the inode again is its own affair; the records must come in either case.
  fs::remove(dir / "a");
  write(dir / "b", "header\n1\n2\n");
  auto s = open("b", false);
  drain(s, log);
  BOOST_TEST(log.all() == (strings{"header", "1", "header", "1", "2"}));
}

BOOST_AUTO_TEST_CASE(a_file_system_that_got_another_device_number_is_not_read_again) {
  write(dir / "a", "1\n2\n");
  {
    auto s = open("a");
    drain(s, log);
  }
  auto before = file::from_entry(log.state().front()).value();
  if (before.born_ns == 0) return; // this file system keeps no birth times
  before.key.device += 7;
  append(dir / "a", "3\n");
  file_source s{options_for(dir / "a", true, clock)};
  BOOST_REQUIRE(s.open(std::vector{file::to_entry(before)}));
  source_log renumbered;
  drain(s, renumbered);
  BOOST_TEST(renumbered.all() == strings{"3"});
  BOOST_TEST(contains(s.take_notices(), "device changed its number"));
  BOOST_REQUIRE_EQUAL(renumbered.state().size(), 1u); // the old key is forgotten
  BOOST_TEST(renumbered.state().front().key == log.state().front().key);
}

BOOST_AUTO_TEST_CASE(the_start_of_a_file_that_was_small_when_first_seen_is_learned_as_it_grows) {
  write(dir / "a", "a\n");
  auto s = open("a");
  drain(s, log);
  append(dir / "a", "b\n");
  drain(s, log);
  write(dir / "a", "a\nX\nc\n"); // same first line, another second one, longer
  look_and_drain(s, log);
  BOOST_TEST(log.all() == (strings{"a", "b", "a", "X", "c"}));
}

BOOST_AUTO_TEST_CASE(a_file_that_always_grows_does_not_starve_the_others) {
  write(dir / "a", "1\n");
  write(dir / "b", "other\n");
  auto s = open("*");
  for (int i = 0; i < 5; ++i) {
    log.take(*s.poll(milliseconds{0}).value());
    append(dir / "a", "more\n");
  }
  BOOST_TEST((std::count(log.all().begin(), log.all().end(), "other") == 1));
}

BOOST_AUTO_TEST_CASE(open_files_are_bounded_and_all_files_are_followed) {
  for (int i = 0; i < 40; ++i) write(dir / ("f" + std::to_string(i)), "1\n");
  auto o = options_for(dir / "f*", true, clock);
  o.open_files_max = 4;
  auto s = open(o);
  drain(s, log);
  BOOST_TEST(log.all().size() == 40u);
  for (int i = 0; i < 40; ++i) append(dir / ("f" + std::to_string(i)), "2\n");
  look_and_drain(s, log);
  BOOST_TEST(log.all().size() == 80u);
  BOOST_TEST(s.open_files() <= 4u);
}

BOOST_AUTO_TEST_CASE(a_long_line_that_comes_slowly_is_read_whole) {
  auto o = options_for(dir / "a", true, clock);
  o.block_bytes = 100;
  write(dir / "a", "1\n");
  auto s = open(o);
  std::string line;
  for (int i = 0; i < 50; ++i) {
    line += std::string(37, static_cast<char>('a' + i % 26));
    write(dir / "a", "1\n" + line); // never smaller than before, same start
    drain(s, log);
  }
  append(dir / "a", "\n2\n");
  clock.advance(milliseconds{1000});
  drain(s, log);
  BOOST_TEST(log.all() == (strings{"1", line, "2"}));
}

BOOST_AUTO_TEST_CASE(growth_rotation_and_restarts_in_any_order_lose_and_double_nothing) {
  std::mt19937_64 random{seed()};
  for (int round = 0; round < 60; ++round) {
    temp_folder in;
    auto o = options_for(in / "a.log*", true, clock);
    o.block_bytes = 1 + random() % 64;
    source_log progress;
    auto s = std::make_unique<file_source>(o);
    BOOST_REQUIRE(s->open({}));
    strings expected;
    std::string pending;
    int rotations = 0, line = 0;
    const auto put = [&](std::string_view bytes) { append(in / "a.log", bytes); };
    const auto end_line = [&] {
      if (!pending.empty()) expected.push_back(std::exchange(pending, {}));
      put("\n");
    };
    for (int step = 0; step < 200; ++step) {
      switch (random() % 8) {
      case 0:
        end_line();
        break;
      case 1: // rotate, as logrotate does: names shift by one
        end_line();
        for (int i = rotations++; i > 0; --i)
          fs::rename(in / ("a.log." + std::to_string(i)), in / ("a.log." + std::to_string(i + 1)));
        fs::rename(in / "a.log", in / "a.log.1");
        put("");
        break;
      case 2: // the node is killed
        s = std::make_unique<file_source>(o);
        BOOST_REQUIRE(s->open(progress.state()));
        break;
      case 3:
        s->look_again();
        [[fallthrough]];
      case 4: {
        auto block = s->poll(milliseconds{0});
        BOOST_REQUIRE(block);
        if (block.value()) progress.take(*block.value());
        break;
      }
      case 5:
        clock.advance(milliseconds{random() % 2000});
        break;
      default: {
        const std::string text = std::to_string(round) + '.' + std::to_string(line++) + std::string(random() % 40, 'x');
        pending += text;
        put(text);
      }
      }
    }
    end_line();
    clock.advance(milliseconds{1000}); // a long line is not asked for again at once
    look_and_drain(*s, progress);
    // Every line exactly once. Between files the order is by age, which a file system tells only so exactly.
    auto got = progress.all();
    std::sort(got.begin(), got.end());
    std::sort(expected.begin(), expected.end());
    BOOST_TEST_CONTEXT("round " << round << ", block_bytes " << o.block_bytes << ", rotations " << rotations)
    BOOST_TEST_REQUIRE(got == expected, boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_SUITE_END()
