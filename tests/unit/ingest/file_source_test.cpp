#include "ingest_support.hpp"

#include <sys/stat.h>
#include <unistd.h>

using namespace millrace::actors;
using namespace millrace::actors::ingest;
using namespace ingest_test;
using file::file_source;
using std::chrono::milliseconds;

namespace {
struct folder_and_clock {
  temp_folder dir;
  test_clock clock;
  source_log log;

  file_source open(const std::string& name, bool follow = false) { return open(options_for(dir / name, follow, clock)); }
  file_source open(file::file_options options) {
    file_source s{std::move(options)};
    BOOST_REQUIRE(s.open(log.state()));
    return s;
  }
};
} // namespace

BOOST_FIXTURE_TEST_SUITE(file_source_reads_once, folder_and_clock)

BOOST_AUTO_TEST_CASE(all_files_of_the_glob_are_read_in_path_order_and_then_it_is_caught_up) {
  write(dir / "b.ndjson", "3\n4\n");
  write(dir / "a.ndjson", "1\n2");
  write(dir / "c.txt", "no\n");
  auto s = open("*.ndjson");
  BOOST_TEST(!s.status().caught_up);
  BOOST_TEST(s.status().lag_bytes == 7u);
  drain(s, log);
  BOOST_TEST(log.all() == (strings{"1", "2", "3", "4"}));
  const auto st = s.status();
  BOOST_TEST(st.caught_up);
  BOOST_TEST(st.waiting == "");
  BOOST_TEST(st.lag_bytes == 0u);
  BOOST_TEST(st.bytes_read == 7u);
  BOOST_TEST(st.bytes_total == 7u);
  BOOST_TEST(st.position.find("b.ndjson:4") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_block_names_its_file_its_place_and_never_mixes_files) {
  write(dir / "a", "\xEF\xBB\xBFx\r\n\n");
  write(dir / "b", "y\n");
  auto s = open("*");
  auto a = s.poll(milliseconds{0}).value(), b = s.poll(milliseconds{0}).value();
  BOOST_REQUIRE(a && b);
  BOOST_TEST(a->payloads == "\xEF\xBB\xBFx\r\n\n"); // raw, separators and all
  BOOST_TEST(records(*a) == strings{"x"});
  BOOST_TEST(a->starts.front() == 3u);
  BOOST_TEST(a->origin == dir / "a");
  BOOST_TEST(a->origin_position == 0u);
  BOOST_TEST(b->origin == dir / "b");
  BOOST_REQUIRE_EQUAL(b->source_state.size(), 1u);
  BOOST_TEST(b->source_state.front().key.starts_with("file/"));
}

BOOST_AUTO_TEST_CASE(origin_position_is_the_offset_in_the_file) {
  write(dir / "a", "aaa\nbbb\nccc\n");
  auto o = options_for(dir / "a", false, clock);
  o.block_bytes = 8;
  auto s = open(o);
  log.take(*s.poll(milliseconds{0}).value());
  const auto second = s.poll(milliseconds{0}).value();
  BOOST_TEST(second->origin_position == 8u);
  BOOST_TEST(records(*second) == strings{"ccc"});
}

BOOST_AUTO_TEST_CASE(a_missing_file_is_waited_for_and_read_when_it_appears_within_a_second) {
  auto s = open("in/*.ndjson");
  BOOST_TEST(!s.poll(milliseconds{0}).value());
  BOOST_TEST(s.status().waiting == "no file matches " + (dir / "in/*.ndjson"));
  BOOST_TEST(!s.status().caught_up);
  fs::create_directory(dir / "in");
  write(dir / "in/a.ndjson", "1\n");
  BOOST_TEST(!s.poll(milliseconds{900}).value()); // virtual time: it is not looked at yet
  const auto block = s.poll(milliseconds{200}).value();
  BOOST_REQUIRE(block);
  BOOST_TEST(records(*block) == strings{"1"});
  BOOST_TEST(s.status().waiting == "");
  BOOST_TEST(s.status().caught_up);
}

BOOST_AUTO_TEST_CASE(a_file_that_appears_later_is_read_too) {
  write(dir / "a", "1\n");
  auto s = open("*");
  drain(s, log);
  BOOST_TEST(s.status().caught_up);
  write(dir / "b", "2\n");
  look_and_drain(s, log);
  BOOST_TEST(log.all() == (strings{"1", "2"}));
}

BOOST_AUTO_TEST_CASE(poll_comes_back_after_the_time_it_was_given) {
  auto s = open("nothing");
  const auto before = clock.now;
  BOOST_TEST(!s.poll(milliseconds{37}).value());
  BOOST_TEST((clock.now - before >= milliseconds{37} && clock.now - before < milliseconds{48}));
}

BOOST_AUTO_TEST_CASE(only_regular_files_are_read_and_the_others_are_named) {
  fs::create_directory(dir / "d");
  BOOST_REQUIRE_EQUAL(::mkfifo((dir / "f").c_str(), 0600), 0);
  auto s = open("*");
  drain(s, log); // must not wait for the pipe's writer
  BOOST_TEST(s.status().waiting.find("no file matches") == 0u);
  BOOST_TEST(s.status().waiting.find("is a directory") != std::string::npos);
  const auto notices = s.take_notices();
  BOOST_REQUIRE_EQUAL(notices.size(), 2u);
  BOOST_TEST(notices[0].find("d is a directory: skipped") != std::string::npos);
  BOOST_TEST(notices[1].find("f is a named pipe: skipped") != std::string::npos);
  look_and_drain(s, log);
  BOOST_TEST(s.take_notices().empty()); // said once
}

BOOST_AUTO_TEST_CASE(a_hard_link_or_symbolic_link_to_a_file_is_not_read_twice) {
  write(dir / "a", "1\n");
  fs::create_hard_link(dir / "a", dir / "b");
  fs::create_symlink(dir / "a", dir / "c");
  auto s = open("*");
  drain(s, log);
  BOOST_TEST(log.all() == strings{"1"});
}

BOOST_AUTO_TEST_CASE(a_copy_is_a_new_file) {
  write(dir / "a", "1\n");
  auto s = open("*");
  drain(s, log);
  fs::copy_file(dir / "a", dir / "b");
  look_and_drain(s, log);
  BOOST_TEST(log.all() == (strings{"1", "1"}));
}

BOOST_AUTO_TEST_CASE(a_file_whose_name_has_pattern_characters_is_found_by_its_name) {
  write(dir / "a[1].ndjson", "1\n");
  auto s = open("a[1].ndjson");
  drain(s, log);
  BOOST_TEST(log.all() == strings{"1"});
}

BOOST_AUTO_TEST_CASE(a_file_without_permission_is_waited_for_by_name_and_later_files_wait_behind_it) {
  if (::geteuid() == 0 && ::seteuid(65534) != 0) return; // root may read everything
  struct back {
    ~back() { (void)!::seteuid(0); }
  } become_root_again;
  temp_folder own;
  write(own / "a", "1\n");
  write(own / "b", "2\n");
  BOOST_REQUIRE_EQUAL(::chmod((own / "a").c_str(), 0), 0);
  auto s = open(options_for(own / "*", false, clock));
  const auto problem = drain(s, log);
  BOOST_TEST(is(problem, errc::unavailable));
  BOOST_TEST(problem.message == "cannot open " + (own / "a") + ": Permission denied (errno 13)");
  BOOST_TEST(s.status().waiting == problem.message);
  BOOST_TEST(!s.status().caught_up);
  BOOST_TEST(log.all().empty());
  BOOST_REQUIRE_EQUAL(::chmod((own / "a").c_str(), 0600), 0);
  BOOST_TEST(look_and_drain(s, log).message == "");
  BOOST_TEST(log.all() == (strings{"1", "2"}));
  BOOST_TEST(s.status().waiting == "");
}

BOOST_AUTO_TEST_CASE(a_directory_without_permission_is_waited_for_by_name) {
  if (::geteuid() == 0 && ::seteuid(65534) != 0) return;
  struct back {
    ~back() { (void)!::seteuid(0); }
  } become_root_again;
  temp_folder own;
  fs::create_directory(own / "in");
  BOOST_REQUIRE_EQUAL(::chmod((own / "in").c_str(), 0), 0);
  auto s = open(options_for(own / "in/*", false, clock));
  const auto problem = drain(s, log);
  BOOST_TEST(is(problem, errc::unavailable));
  BOOST_TEST(problem.message == "cannot list " + (own / "in") + ": Permission denied (errno 13)");
  BOOST_TEST(!s.status().caught_up);
  BOOST_REQUIRE_EQUAL(::chmod((own / "in").c_str(), 0700), 0);
}

BOOST_AUTO_TEST_CASE(a_record_longer_than_a_block_comes_whole) {
  const std::string big(100'000, 'x');
  write(dir / "a", "1\n" + big + "\n2\n");
  auto o = options_for(dir / "a", false, clock);
  o.block_bytes = 4096;
  auto s = open(o);
  drain(s, log);
  BOOST_TEST(log.all() == (strings{"1", big, "2"}));
}

BOOST_AUTO_TEST_CASE(a_record_above_the_hard_limit_is_refused_with_file_byte_and_limit) {
  write(dir / "a", "1\n" + std::string(5000, 'x') + "\n2\n");
  auto o = options_for(dir / "a", false, clock);
  o.block_bytes = 64;
  o.record_bytes_max = 1000;
  auto s = open(o);
  const auto problem = drain(s, log);
  BOOST_TEST(is(problem, errc::refused));
  BOOST_TEST(problem.message.find((dir / "a") + ": the record at byte 2 is longer than 1000 bytes") == 0u);
  BOOST_TEST(log.all() == strings{"1"});
  o.record_bytes_max = 5000; // at the limit it is taken
  auto t = open(o);
  BOOST_TEST(drain(t, log).message == "");
  BOOST_TEST(log.all().size() == 3u);
}

BOOST_AUTO_TEST_CASE(blank_lines_move_the_position_without_changes) {
  write(dir / "a", "\n\n\n\n");
  auto s = open("a");
  const auto block = s.poll(milliseconds{0}).value();
  BOOST_REQUIRE(block);
  BOOST_TEST(block->starts.empty());
  BOOST_TEST(block->source_state.size() == 1u);
  BOOST_TEST(s.status().caught_up);
}

BOOST_AUTO_TEST_CASE(a_last_line_without_lf_waits_until_its_file_has_settled) {
  write(dir / "a", "1\n2");
  auto o = options_for(dir / "a", false, clock);
  o.settle = milliseconds{1000};
  auto s = open(o);
  drain(s, log);
  BOOST_TEST(log.all() == strings{"1"});
  BOOST_TEST(!s.status().caught_up);
  append(dir / "a", "2\n3"); // it was still being written
  drain(s, log);
  BOOST_TEST(log.all() == (strings{"1", "22"}));
  clock.advance(milliseconds{1001});
  drain(s, log);
  BOOST_TEST(log.all() == (strings{"1", "22", "3"}));
  BOOST_TEST(s.status().caught_up);
}

BOOST_AUTO_TEST_CASE(what_is_added_after_a_last_line_without_lf_is_not_lost_and_told) {
  write(dir / "a", "1\n2");
  auto s = open("a");
  drain(s, log);
  append(dir / "a", "2\n3\n");
  look_and_drain(s, log);
  BOOST_TEST(log.all() == (strings{"1", "2", "2", "3"}));
  const auto notices = s.take_notices();
  BOOST_REQUIRE_EQUAL(notices.size(), 1u);
  BOOST_TEST(notices[0].find("goes on at byte 3 in the middle of a line") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(csv_blocks_carry_their_files_header_also_after_a_restart) {
  write(dir / "a.csv", "\xEF\xBB\xBFid,\"na\nme\"\r\n1,a\r\n2,\"b\nc\"\r\n");
  write(dir / "b.csv", "x\n9");
  auto o = options_for(dir / "*.csv", false, clock);
  o.format = payload_format::csv;
  o.block_bytes = 4;
  strings headers;
  for (;;) {
    auto s = open(o); // each block by another process
    auto block = s.poll(milliseconds{0}).value();
    if (!block) break;
    log.take(*block);
    if (!block->starts.empty()) headers.push_back(block->context);
    BOOST_TEST((block->format == payload_format::csv));
  }
  BOOST_TEST(log.all() == (strings{"1,a", "2,\"b\nc\"", "9"}));
  BOOST_TEST(headers == (strings{"id,\"na\nme\"", "id,\"na\nme\"", "x"}));
}

BOOST_AUTO_TEST_CASE(a_csv_file_with_only_a_header_or_nothing_is_read) {
  write(dir / "a.csv", "id,name\n");
  write(dir / "b.csv", "id,name");
  write(dir / "c.csv", "");
  auto o = options_for(dir / "*.csv", false, clock);
  o.format = payload_format::csv;
  auto s = open(o);
  drain(s, log);
  BOOST_TEST(log.all().empty());
  BOOST_TEST(s.status().caught_up);
  BOOST_TEST(s.status().lag_bytes == 0u);
}

BOOST_AUTO_TEST_CASE(state_that_cannot_be_read_is_a_log_mismatch_that_names_it) {
  file_source s{options_for(dir / "*", false, clock)};
  for (const auto& bad :
       {state_entry{"file/1/2", "9 0 0 0 0 /a"}, state_entry{"file/x/2", "1 0 0 0 0 /a"}, state_entry{"file/1/2", "1 5"}}) {
    const auto r = s.open(std::vector{bad});
    BOOST_REQUIRE(!r);
    BOOST_TEST(is(r.error(), errc::log_mismatch));
    BOOST_TEST(r.error().message.find(bad.key) != std::string::npos);
  }
  BOOST_TEST(bool{s.open(std::vector{state_entry{"push/0/p", "?"}})}); // not ours
}

BOOST_AUTO_TEST_CASE(a_file_state_survives_its_text_form) {
  file::file_state state{{64768, 12345}, 1ull << 40, {1024, 0xFEDCBA9876543210ull}, -5, "/in/with space\n.log"};
  const auto back = file::from_entry(file::to_entry(state));
  BOOST_REQUIRE(back);
  BOOST_TEST((back.value() == state));
}

BOOST_AUTO_TEST_CASE(a_restart_at_every_block_boundary_gives_exactly_the_same_records) {
  std::mt19937_64 random{seed()};
  for (int round = 0; round < 150; ++round) {
    temp_folder in;
    const bool csv = random() % 2;
    const std::string_view alphabet = csv ? "ab,\"\"\n\r" : "abc{} \t\n\r\n";
    strings expected;
    const auto files = 1 + random() % 4;
    for (std::size_t i = 0; i < files; ++i) {
      std::string data(random() % 5 == 0 ? 0 : random() % 3000, ' ');
      for (char& c : data) c = alphabet[random() % alphabet.size()];
      if (random() % 3 == 0) data.insert(0, "\xEF\xBB\xBF");
      write(in / std::to_string(i), data);
      auto all = csv ? naive_csv(data, true) : naive_lines(data, true);
      if (csv && !all.empty()) all.erase(all.begin());
      expected.insert(expected.end(), all.begin(), all.end());
    }
    auto o = options_for(in / "*", false, clock);
    o.format = csv ? payload_format::csv : payload_format::json;
    o.block_bytes = 1 + random() % 400;
    source_log progress;
    for (bool more = true; more;) {
      file_source s{o};
      BOOST_REQUIRE(s.open(progress.state()));
      const auto blocks = round % 2 ? 1 : 1 + random() % 10;
      for (std::size_t i = 0; more && i < blocks; ++i) {
        auto block = s.poll(milliseconds{0});
        BOOST_REQUIRE(block);
        more = block.value().has_value();
        if (more)
          progress.take(*block.value());
        else
          BOOST_TEST(s.status().caught_up);
      }
    }
    BOOST_TEST_CONTEXT("round " << round << ", csv " << csv << ", block_bytes " << o.block_bytes)
    BOOST_TEST_REQUIRE(progress.all() == expected, boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_SUITE_END()
