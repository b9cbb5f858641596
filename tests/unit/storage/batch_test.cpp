#include "tests/unit/storage/storage_fixture.hpp"

using namespace millrace::storage;
using namespace millrace::storage::test;

BOOST_AUTO_TEST_SUITE(batch)

BOOST_AUTO_TEST_CASE(columns_that_disagree_are_refused) {
  auto block = numbered(0, 3);
  block.lengths.pop_back();
  must_fail(encode(block, codec::none), errc::invalid, {"3 starts", "2 lengths"});
}

BOOST_AUTO_TEST_CASE(a_change_outside_of_the_payload_is_refused) {
  auto block = numbered(0, 3);
  block.lengths[2] += 2;
  must_fail(encode(block, codec::none), errc::invalid, {"change 2"});
  block.lengths[2] = 0xffffffff; // start + length wraps in 32 bits
  must_fail(encode(block, codec::none), errc::invalid);
}

BOOST_AUTO_TEST_CASE(an_empty_key_of_source_state_is_refused) {
  auto block = numbered(0, 1);
  block.source_state = {{"", "x"}};
  must_fail(encode(block, codec::none), errc::invalid);
}

BOOST_AUTO_TEST_CASE(what_does_not_compress_is_stored_as_it_is) {
  std::mt19937_64 random(1);
  const auto batch = must(encode(noise(random, 100'000), codec::zstd));
  BOOST_TEST(batch->stored_bytes() >= 100'000u);
  BOOST_TEST(batch->stored_bytes() < 100'200u);
  BOOST_TEST(must(encode(numbered(0, 10'000), codec::zstd))->stored_bytes() < 60'000u);
}

BOOST_AUTO_TEST_CASE(a_single_change_owns_its_bytes) {
  std::string payload = "{\"a\":1}", origin = "f.csv", context = "a,b";
  const auto change = single_change({42}, timestamp{std::chrono::microseconds{7}}, payload, payload_format::csv,
                                    envelope::debezium, origin, context);
  payload.assign(payload.size(), 'x');
  origin.clear();
  context.clear();
  BOOST_TEST(change->count() == 1u);
  BOOST_TEST(change->base().value == 42u);
  BOOST_TEST(change->payload(0) == "{\"a\":1}");
  BOOST_TEST(change->origin() == "f.csv");
  BOOST_TEST(change->context() == "a,b");
  BOOST_TEST((change->format() == payload_format::csv && change->envelope() == envelope::debezium));
  BOOST_TEST(change->last_time().time_since_epoch().count() == 7);
}

BOOST_AUTO_TEST_SUITE_END()
