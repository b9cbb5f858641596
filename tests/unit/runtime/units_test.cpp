#include "runtime/config/units.hpp"

#include <boost/test/unit_test.hpp>

using namespace millrace::runtime::config;
using std::chrono::milliseconds;

BOOST_AUTO_TEST_SUITE(units)

BOOST_AUTO_TEST_CASE(sizes_have_binary_units_or_none) {
  BOOST_TEST(parse_bytes("0").value() == 0u);
  BOOST_TEST(parse_bytes("512").value() == 512u);
  BOOST_TEST(parse_bytes("64KiB").value() == 65536u);
  BOOST_TEST(parse_bytes("16 MiB").value() == 16u << 20);
  BOOST_TEST(parse_bytes("1GiB").value() == 1u << 30);
  BOOST_TEST(parse_bytes("2TiB").value() == 2ull << 40);
}

BOOST_AUTO_TEST_CASE(other_sizes_are_refused) {
  for (const char* text : {"", "MiB", "16MB", "16mib", "1.5GiB", "-1", "+1", "1 GiB ", "9223372036854775808", "9000000TiB",
                           "18446744073709551616", "0x10"})
    BOOST_TEST(!parse_bytes(text), text);
}

BOOST_AUTO_TEST_CASE(durations_have_a_unit) {
  BOOST_TEST((parse_duration("500ms") == milliseconds{500}));
  BOOST_TEST((parse_duration("5s") == milliseconds{5000}));
  BOOST_TEST((parse_duration("10m") == milliseconds{600'000}));
  BOOST_TEST((parse_duration("1h") == milliseconds{3'600'000}));
  BOOST_TEST((parse_duration("7d") == milliseconds{604'800'000}));
  BOOST_TEST((parse_duration("0") == milliseconds{0}));
}

BOOST_AUTO_TEST_CASE(other_durations_are_refused) {
  for (const char* text : {"", "5", "s", "5 sec", "1h30m", "1.5h", "-5s", "5S", "99999999d", "18446744073709551615ms"})
    BOOST_TEST(!parse_duration(text), text);
}

BOOST_AUTO_TEST_CASE(people_read_the_largest_fitting_unit) {
  BOOST_TEST(bytes_text(512) == "512 B");
  BOOST_TEST(bytes_text(1536) == "1.5 KiB");
  BOOST_TEST(bytes_text(165'000'000) == "157.4 MiB");
  BOOST_TEST(duration_text(1.25) == "1.2s");
  BOOST_TEST(duration_text(75) == "1m 15s");
  BOOST_TEST(duration_text(3 * 86400 + 7200) == "3d 2h");
}

BOOST_AUTO_TEST_SUITE_END()
