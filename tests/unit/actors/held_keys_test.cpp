#include "actors/load/held_keys.hpp"

#include <boost/test/unit_test.hpp>

using millrace::actors::load::held_keys;

BOOST_AUTO_TEST_SUITE(held)

BOOST_AUTO_TEST_CASE(a_key_is_held_as_long_as_one_of_its_letters_is_open) {
  held_keys h;
  h.add(7, 0);
  h.add(7, 0);
  h.remove(7, 0);
  BOOST_TEST(h.holds(7));
  h.remove(7, 0);
  BOOST_TEST(!h.holds(7));
  BOOST_TEST(h.empty());
}

BOOST_AUTO_TEST_CASE(a_change_without_key_holds_nothing) {
  held_keys h;
  h.add(0, 0);
  BOOST_TEST(h.empty());
  BOOST_TEST(!h.holds_either(0, 0));
}

BOOST_AUTO_TEST_CASE(a_key_changing_update_holds_both_keys) {
  held_keys h;
  h.add(1, 2);
  BOOST_TEST(h.holds(1));
  BOOST_TEST(h.holds_either(9, 2));
  h.remove(1, 2);
  BOOST_TEST(h.empty());
}

BOOST_AUTO_TEST_CASE(undo_gives_back_what_was_there_at_the_mark) {
  held_keys h;
  h.add(1, 0);
  h.mark();
  h.add(2, 3);
  h.remove(1, 0);
  h.undo();
  BOOST_TEST(h.holds(1));
  BOOST_TEST(!h.holds(2));
  BOOST_TEST(!h.holds(3));
}

BOOST_AUTO_TEST_SUITE_END()
