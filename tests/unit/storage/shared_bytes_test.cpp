#include "storage/shared_bytes.hpp"

#include <boost/test/unit_test.hpp>

namespace millrace::testing {

using storage::shared_bytes;

BOOST_AUTO_TEST_SUITE(bytes_that_are_shared)

BOOST_AUTO_TEST_CASE(a_piece_keeps_the_whole_alive_and_copies_nothing) {
  auto whole = std::make_shared<const std::string>("0123456789");
  std::weak_ptr<const std::string> watched = whole;
  const auto* data = whole->data();
  auto piece = shared_bytes(std::move(whole)).piece(3, 4).piece(1, 2);
  BOOST_TEST(!watched.expired());
  BOOST_TEST(*piece == "45");
  BOOST_TEST(static_cast<const void*>(piece->data()) == static_cast<const void*>(data + 4));
  piece = {};
  BOOST_TEST(watched.expired());
}

BOOST_AUTO_TEST_CASE(no_bytes_are_not_an_empty_string) {
  BOOST_TEST(!shared_bytes());
  BOOST_TEST(!shared_bytes(std::shared_ptr<const std::string>()));
  const auto empty = shared_bytes::copy_of("");
  BOOST_TEST(static_cast<bool>(empty));
  BOOST_TEST(empty->empty());
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
