#include "actors/transform/json_scanner.hpp"

#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <random>
#include <simdjson.h>

using namespace millrace::actors::transform;

namespace {
bool ours(const std::string& text) {
  // Exactly as large as the text, so that a sanitizer sees a read behind it.
  const std::vector<char> exact(text.begin(), text.end());
  const std::string_view view(exact.data(), exact.size());
  json_scanner s(view);
  json_value v;
  return simdjson::validate_utf8(view.data(), view.size()) && s.value(v) && s.at_end();
}
bool simdjsons(const std::string& text) {
  simdjson::dom::parser parser;
  simdjson::dom::element e;
  return parser.parse(simdjson::padded_string(text)).get(e) == simdjson::SUCCESS;
}
std::uint64_t seed() {
  const char* given = std::getenv("MILLRACE_SEED");
  const std::uint64_t s = given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  BOOST_TEST_MESSAGE("MILLRACE_SEED=" << s);
  return s;
}
} // namespace

BOOST_AUTO_TEST_SUITE(json_scanner_suite)

BOOST_AUTO_TEST_CASE(it_takes_what_json_allows) {
  for (const char* text : {"{}", "[]", " { \"a\" : [ 1 , -0 , 2.5e-3, true , false, null ] } ", "\"\\u00e9\\ud83d\\ude00\\n\"",
                           "0", "-1.0E+2", "\"\"", "{\"\":{\"a\":[[[]]]}}"})
    BOOST_TEST(ours(text), text);
}

BOOST_AUTO_TEST_CASE(it_refuses_what_json_does_not_allow) {
  for (const char* text : {"",           "{",   "}",        "{\"a\":1,}", "[1,]",        "{\"a\" 1}",   "{a:1}",
                           "01",         "1.",  ".5",       "+1",         "-",           "1e",          "nul",
                           "True",       "NaN", "Infinity", "\"\\x41\"",  "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"",
                           "\"a\nb\"",   "\"a", "{} {}",    "1 2",        "'a'",         "[1 2]",       "{\"a\":}",
                           "\"\\u12g4\""})
    BOOST_TEST(!ours(text), text);
}

BOOST_AUTO_TEST_CASE(a_nesting_bomb_is_refused_before_it_takes_the_stack) {
  BOOST_TEST(!ours(std::string(1'000'000, '[')));
  BOOST_TEST(ours(std::string(500, '[') + std::string(500, ']')));
}

BOOST_AUTO_TEST_CASE(an_error_says_where_and_what_was_expected) {
  json_scanner s(R"({"a":1 "b":2})");
  json_value v;
  BOOST_TEST(!s.value(v));
  BOOST_TEST(s.error() == "at byte 7: found '\"', expected ',' or '}'");
}

BOOST_AUTO_TEST_CASE(it_agrees_with_simdjson_on_damaged_texts) {
  std::mt19937_64 random(seed());
  const std::string samples[] = {R"({"id":1,"name":"a\u00e9\\b","list":[1,-2.5e3,{"x":null}],"ok":true,"no":false})",
                                 R"([{"k":"väl\ud83d\ude00ue"},0.5,"\"","",[],{}])",
                                 R"({"a":{"b":{"c":"a long text that needs more than one wide load \t to get through"}}})"};
  const std::string bytes = "{}[]\",:\\0123456789.eE+-ntfu \n\x01\xc3\xa9\xff";
  int refused = 0;
  for (int i = 0; i < 60'000; ++i) {
    std::string text = samples[random() % 3];
    for (std::size_t n = random() % 4; n > 0; --n) {
      const std::size_t at = random() % text.size();
      switch (random() % 3) {
      case 0:
        text[at] = bytes[random() % bytes.size()];
        break;
      case 1:
        text.erase(at, 1);
        break;
      default:
        text.insert(at, 1, bytes[random() % bytes.size()]);
      }
    }
    const bool expected = simdjsons(text);
    // simdjson's DOM refuses numbers that no double holds; they are JSON all the same.
    if (ours(text) != expected && !(ours(text) && text.find_first_of("eE0123456789") != std::string::npos && [&] {
          simdjson::dom::parser parser;
          simdjson::dom::element e;
          const auto error = parser.parse(simdjson::padded_string(text)).get(e);
          return error == simdjson::NUMBER_ERROR;
        }()))
      BOOST_ERROR("simdjson says " << expected << ": " << text);
    refused += !expected;
  }
  BOOST_TEST(refused > 10'000); // the damage was real
}

BOOST_AUTO_TEST_CASE(pointers_follow_rfc_6901) {
  arena memory;
  json_scanner s(R"({"a/b":{"~":[10,{"x":1,"x":2}]}})");
  json_value root, found;
  BOOST_TEST(s.value(root));
  BOOST_TEST(find_pointer(root, split_pointer("/a~1b/~0/0"), memory, found));
  BOOST_TEST(found.raw == "10");
  BOOST_TEST(find_pointer(root, split_pointer("/a~1b/~0/1/x"), memory, found));
  BOOST_TEST(found.raw == "2"); // of duplicates the last
  BOOST_TEST(!find_pointer(root, split_pointer("/a~1b/~0/2"), memory, found));
  BOOST_TEST(!find_pointer(root, split_pointer("/a~1b/~0/01"), memory, found));
}

BOOST_AUTO_TEST_SUITE_END()
