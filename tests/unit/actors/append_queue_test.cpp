#include "actors/stage/append_queue.hpp"

#include <boost/test/unit_test.hpp>

namespace millrace::testing {

using actors::append_unordered;
using actors::stage::append_queue;

namespace {

storage::staged_batch_ptr batch() {
  storage::change_block block;
  block.payloads = "{}";
  block.starts = {0};
  block.lengths = {2};
  auto encoded = storage::encode(block, storage::codec::none);
  BOOST_REQUIRE(encoded);
  return encoded.value();
}

struct queue_fixture {
  append_queue queue;
  std::uint64_t session = queue.new_session();
  void push(std::uint64_t of, std::uint64_t sequence) { queue.push({{of, sequence, {batch()}}, {}}); }
  std::vector<std::uint64_t> taken() {
    last = queue.take();
    std::vector<std::uint64_t> sequences;
    for (const auto& r : last.requests) sequences.push_back(r.what.sequence);
    BOOST_TEST(last.batches.size() == sequences.size());
    return sequences;
  }
  append_queue::group last;
};
using numbers = std::vector<std::uint64_t>;

} // namespace

BOOST_FIXTURE_TEST_SUITE(append_order, queue_fixture)

BOOST_AUTO_TEST_CASE(behind_a_refused_request_none_of_its_session_is_taken) {
  push(session, 0), push(session, 1), push(session, 3), push(session, 4);
  BOOST_TEST(taken() == (numbers{0, 1}));
  push(session, 3), push(session, 2), push(session, 3);
  BOOST_TEST(taken() == (numbers{2, 3})); // the first 3 came too early
  BOOST_TEST(queue.empty());
}

BOOST_AUTO_TEST_CASE(what_was_not_written_is_sent_again_with_its_number) {
  push(session, 0), push(session, append_unordered), push(session, 1);
  BOOST_TEST(taken() == (numbers{0, append_unordered, 1}));
  queue.not_written(last);
  push(session, 2), push(session, 0), push(session, 1);
  BOOST_TEST(taken() == (numbers{0, 1}));
}

BOOST_AUTO_TEST_CASE(a_new_session_shuts_the_old_one_out) {
  push(session, 0);
  BOOST_TEST(taken() == (numbers{0}));
  push(session, 1);
  const auto later = queue.new_session();
  BOOST_TEST(later > session);
  push(session, 2), push(later, 0), push(session, append_unordered);
  BOOST_TEST(taken() == (numbers{0}));
  BOOST_TEST(last.requests.front().what.session == later);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
