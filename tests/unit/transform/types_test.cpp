// What each type takes, refuses and how it comes out: interfaces.md, "What values, modes and edges mean".
#include "tests/unit/transform/support.hpp"

#include <boost/test/unit_test.hpp>

using namespace millrace::test;

namespace {
/// The cell that a JSON value becomes, or the reason it does not.
std::string as(data_type type, const std::string& json, const std::string& format = {}) {
  field_spec f = field("v", type);
  f.format = format;
  const auto set = run(load_builder{}.mode(load_mode::append).key({}).column(f), batch_of({"{\"v\":" + json + "}"}));
  if (!set->failures.empty()) return set->failures[0].reason;
  return show(set->cells_of(set->rows[0])[0]);
}
std::string text(const std::string& v) { return "\"" + v + "\""; }
using T = data_type;
} // namespace

BOOST_AUTO_TEST_SUITE(types)

BOOST_AUTO_TEST_CASE(int64_is_exact_or_refused) {
  for (const auto& [json, expected] :
       std::initializer_list<std::pair<const char*, const char*>>{{"9007199254740993", "9007199254740993"},
                                                                  {"9223372036854775807", "9223372036854775807"},
                                                                  {"-9223372036854775808", "-9223372036854775808"},
                                                                  {"9223372036854775808", "type"},
                                                                  {"-9223372036854775809", "type"},
                                                                  {"1.0", "1"},
                                                                  {"1e3", "1000"},
                                                                  {"1500e-2", "15"},
                                                                  {"1.5", "type"},
                                                                  {"1e400", "type"},
                                                                  {"1e-400", "type"},
                                                                  {"-0", "0"},
                                                                  {"0e999999999999", "0"},
                                                                  {"true", "type"},
                                                                  {"\"42\"", "42"},
                                                                  {"\" +7 \"", "7"},
                                                                  {"\"1.50\"", "type"},
                                                                  {"\"x\"", "type"},
                                                                  {"\"\"", "type"},
                                                                  {"[1]", "type"},
                                                                  {"{}", "type"},
                                                                  {"null", "NULL"},
                                                                  {"92233720368547758070e-1", "9223372036854775807"}})
    BOOST_TEST(as(T::int64, json) == expected, json << " gives " << as(T::int64, json));
}

BOOST_AUTO_TEST_CASE(float64_takes_the_nearest_but_rounds_no_integer) {
  for (const auto& [json, expected] :
       std::initializer_list<std::pair<const char*, const char*>>{{"1.5", "1.5"},
                                                                  {"2", "2.0"},
                                                                  {"9007199254740993", "type"},
                                                                  {"9007199254740992", "9007199254740992.0"},
                                                                  {"1e400", "type"},
                                                                  {"-1e400", "type"},
                                                                  {"1e-400", "type"},
                                                                  {"\"2.5\"", "2.5"},
                                                                  {"\"NaN\"", "type"},
                                                                  {"\"inf\"", "type"},
                                                                  {"true", "type"},
                                                                  {"18446744073709551616", "1.8446744073709552e+19"}})
    BOOST_TEST(as(T::float64, json) == expected, json << " gives " << as(T::float64, json));
  BOOST_TEST(as(T::float64, "NaN") == "parse");
}

BOOST_AUTO_TEST_CASE(decimals_keep_their_digits) {
  for (const auto& [json, expected] : std::initializer_list<std::pair<const char*, const char*>>{
           {"9.90", "'9.90'"},
           {"0.1000000000000000055511151231257827", "'0.1000000000000000055511151231257827'"},
           {"123456789012345678901234567890", "'123456789012345678901234567890'"},
           {"1e3", "'1000'"},
           {"1.25e1", "'12.5'"},
           {"125e-4", "'0.0125'"},
           {"-0", "'0'"},
           {"-0.00", "'0.00'"},
           {"\"007.50\"", "'7.50'"},
           {"\"+1\"", "'1'"},
           {"\".5\"", "'0.5'"},
           {"\"5.\"", "'5'"},
           {"\"-12.30\"", "'-12.30'"},
           {"1e5000", "type"},
           {"1e-5000", "type"},
           {"1e99999999999999999999", "type"},
           {"\"1,5\"", "type"},
           {"false", "type"}})
    BOOST_TEST(as(T::decimal, json) == expected, json << " gives " << as(T::decimal, json));
}

BOOST_AUTO_TEST_CASE(a_bool_is_no_number_and_a_number_no_bool) {
  BOOST_TEST(as(T::boolean, "true") == "true");
  BOOST_TEST(as(T::boolean, "\"No\"") == "false");
  BOOST_TEST(as(T::boolean, "1") == "type");
  BOOST_TEST(as(T::boolean, "\"maybe\"") == "type");
}

BOOST_AUTO_TEST_CASE(text_takes_a_numbers_digits_but_no_object) {
  BOOST_TEST(as(T::text, "1.50") == "'1.50'");
  BOOST_TEST(as(T::text, "\"a\\u00e9\\n\\ud83d\\ude00\"") == "'aé\n😀'");
  BOOST_TEST(as(T::text, "{}") == "type");
  BOOST_TEST(as(T::json, "{ \"a\": [1] }") == "'{ \"a\": [1] }'");
  BOOST_TEST(as(T::json, "\"x\"") == "'\"x\"'");
}

BOOST_AUTO_TEST_CASE(bytes_are_base64) {
  BOOST_TEST(as(T::bytes, text("QUI=")) == "x'4142'");
  BOOST_TEST(as(T::bytes, text("QUI")) == "x'4142'");
  BOOST_TEST(as(T::bytes, text("")) == "x''");
  for (const char* bad : {"Q", "QUI*", "QUJ=", "QQ=Q", "===="}) BOOST_TEST(as(T::bytes, text(bad)) == "type", bad);
}

BOOST_AUTO_TEST_CASE(uuids_come_out_in_lower_case) {
  BOOST_TEST(as(T::uuid, text("123E4567-E89B-12D3-A456-426614174000")) == "'123e4567-e89b-12d3-a456-426614174000'");
  BOOST_TEST(as(T::uuid, text("123e4567e89b12d3a456426614174000")) == "'123e4567-e89b-12d3-a456-426614174000'");
  for (const char* bad : {"", "123e4567-e89b-12d3-a456-42661417400", "g23e4567-e89b-12d3-a456-426614174000",
                          "123e4567e-89b-12d3-a456-426614174000"})
    BOOST_TEST(as(T::uuid, text(bad)) == "type", bad);
}

BOOST_AUTO_TEST_CASE(dates_are_days_that_exist) {
  for (const auto& [json, expected] :
       std::initializer_list<std::pair<const char*, const char*>>{{"\"2024-02-29\"", "'2024-02-29'"},
                                                                  {"\"2023-02-29\"", "type"},
                                                                  {"\"2024-02-30\"", "type"},
                                                                  {"\"0001-01-01\"", "'0001-01-01'"},
                                                                  {"\"9999-12-31\"", "'9999-12-31'"},
                                                                  {"\"0000-01-01\"", "type"},
                                                                  {"0", "'1970-01-01'"},
                                                                  {"86400000", "'1970-01-02'"},
                                                                  {"1", "type"},
                                                                  {"\"2024-01-02T00:00:00Z\"", "'2024-01-02'"},
                                                                  {"\"2024-01-02T00:00:01Z\"", "type"},
                                                                  {"\"20240102\"", "type"},
                                                                  {"\"2024-1-2\"", "type"},
                                                                  {"true", "type"}})
    BOOST_TEST(as(T::date, json) == expected, json << " gives " << as(T::date, json));
}

BOOST_AUTO_TEST_CASE(formats_are_english_and_take_the_whole_text) {
  BOOST_TEST(as(T::date, text("Jun 12 1998"), "%b %d %Y") == "'1998-06-12'");
  BOOST_TEST(as(T::date, text("june 2 1998"), "%B %d %Y") == "'1998-06-02'");
  BOOST_TEST(as(T::date, text("31/12/1999"), "%d/%m/%Y") == "'1999-12-31'");
  BOOST_TEST(as(T::date, text("31/02/1999"), "%d/%m/%Y") == "type");
  BOOST_TEST(as(T::date, text("31/12/1999x"), "%d/%m/%Y") == "type");
  BOOST_TEST(as(T::date, text("1999"), "%d/%m/%Y") == "type");
  BOOST_TEST(as(T::date, "20240229", "%Y%m%d") == "'2024-02-29'");
  BOOST_TEST(as(T::timestamp, text("12:05 PM, 3/4/21"), "%I:%M %p, %m/%d/%y") == "'2021-03-04T12:05:00Z'");
  BOOST_TEST(as(T::timestamp, "1700000000", "%s") == "'2023-11-14T22:13:20Z'");
}

BOOST_AUTO_TEST_CASE(timestamps_keep_microseconds_and_are_utc) {
  for (const auto& [json, expected] : std::initializer_list<std::pair<const char*, const char*>>{
           {"\"2024-02-29T12:30:00.123456Z\"", "'2024-02-29T12:30:00.123456Z'"},
           {"\"2024-02-29 12:30\"", "'2024-02-29T12:30:00Z'"},
           {"\"2024-03-01T00:30:00+02:00\"", "'2024-02-29T22:30:00Z'"},
           {"\"2024-03-01T00:30:00-0030\"", "'2024-03-01T01:00:00Z'"},
           {"\"2024-02-29T12:30:00.1\"", "'2024-02-29T12:30:00.100000Z'"},
           {"\"2024-02-29T12:30:00.1234567Z\"", "type"},
           {"\"2024-02-29T12:30:00.123456000Z\"", "'2024-02-29T12:30:00.123456Z'"},
           {"\"2024-02-29T24:00:00Z\"", "type"},
           {"\"2024-02-29T12:60:00Z\"", "type"},
           {"1700000000123", "'2023-11-14T22:13:20.123000Z'"},
           {"1700000000123.5", "'2023-11-14T22:13:20.123500Z'"},
           {"0.0001", "type"},
           {"-1", "'1969-12-31T23:59:59.999000Z'"},
           {"\"1700000000123\"", "'2023-11-14T22:13:20.123000Z'"},
           {"99999999999999999", "type"},
           {"\"0001-01-01T00:00:00+01:00\"", "type"},
           {"\"2024-02-29\"", "'2024-02-29T00:00:00Z'"}})
    BOOST_TEST(as(T::timestamp, json) == expected, json << " gives " << as(T::timestamp, json));
}

BOOST_AUTO_TEST_CASE(a_refusal_says_what_was_found_and_expected) {
  const load_builder load = load_builder{}.column("id", T::int64).column("qty", T::int64);
  BOOST_TEST(message_of(load, batch_of({R"({"id":1,"qty":"many"})"})) == "found text \"many\", expected int64: a number");
  BOOST_TEST(message_of(load, batch_of({R"({"id":1,"qty":1.5})"})) == "found number 1.5, expected int64: a whole number");
}

BOOST_AUTO_TEST_SUITE_END()
