#include "runtime/cli/terminal.hpp"

#include <boost/test/unit_test.hpp>

using namespace millrace::runtime::cli;

BOOST_AUTO_TEST_SUITE(terminals)

BOOST_AUTO_TEST_CASE(off_a_terminal_a_table_is_plain_and_whole) {
  table t({{"NAME"}, {"COUNT", true}, {"NOTE"}});
  t.row({"a", {"7", colour::red}, std::string(200, 'x')});
  t.row({"longer", "12345", ""});
  auto text = t.text(terminal{false, false, 40});
  BOOST_TEST(text == "NAME    COUNT  NOTE\na           7  " + std::string(200, 'x') + "\nlonger  12345\n");
}

BOOST_AUTO_TEST_CASE(on_a_terminal_lines_fit) {
  table t({{"A"}, {"B"}});
  t.row({std::string(30, 'x'), std::string(300, 'y')});
  auto text = t.text(terminal{true, false, 60});
  auto line = text.substr(text.find('\n') + 1);
  BOOST_TEST(width_of(line.substr(0, line.size() - 1)) <= 60u);
  BOOST_TEST(text.find("…") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(colours_only_where_they_are_wanted) {
  BOOST_TEST((terminal{true, false, 80}.paint("x", colour::red)) == "x");
  BOOST_TEST((terminal{true, true, 80}.paint("x", colour::red)) == "\x1b[31mx\x1b[0m");
}

BOOST_AUTO_TEST_CASE(data_cannot_steer_the_terminal) {
  BOOST_TEST(printable("a\x1b[2Jb\nc\x07") == "a\\x1b[2Jb\\nc\\x07");
  BOOST_TEST(printable("\xc2\x9b") == "\\xc2\\x9b"); // a control character above ASCII
  BOOST_TEST(printable("\xff\xfe") == "\\xff\\xfe");
  BOOST_TEST(printable("žluť 你好") == "žluť 你好");
}

BOOST_AUTO_TEST_CASE(cuts_fall_between_characters) {
  BOOST_TEST(width_of("žluť") == 4u);
  BOOST_TEST(shortened("žluťoučký", 5) == "žluť…");
  BOOST_TEST(shortened("abc", 3) == "abc");
}

BOOST_AUTO_TEST_CASE(numbers_are_grouped) {
  BOOST_TEST(grouped(0) == "0");
  BOOST_TEST(grouped(999) == "999");
  BOOST_TEST(grouped(1000) == "1,000");
  BOOST_TEST(grouped(1234567) == "1,234,567");
}

BOOST_AUTO_TEST_SUITE_END()
