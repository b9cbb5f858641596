#include "runtime/config/references.hpp"

#include "support.hpp"

#include <boost/test/unit_test.hpp>

#include <fstream>

using namespace millrace::runtime::config;

namespace {
environment with(std::string name, std::string value) {
  return [=](const std::string& asked) { return asked == name ? std::optional<std::string>(value) : std::nullopt; };
}
} // namespace

BOOST_AUTO_TEST_SUITE(references)

BOOST_AUTO_TEST_CASE(variables_are_replaced_anywhere_in_a_text) {
  auto out = replace_references("Bearer ${env:TOKEN}-${env:TOKEN}!", "/", with("TOKEN", "s3cret"));
  BOOST_TEST(out.text == "Bearer s3cret-s3cret!");
  BOOST_TEST(out.missing.empty());
  BOOST_TEST(out.secrets.size() == 2u);
}

BOOST_AUTO_TEST_CASE(an_unset_variable_is_named_and_stays_as_written) {
  auto out = replace_references("x${env:NOPE}y", "/", with("TOKEN", "s3cret"));
  BOOST_TEST(out.text == "x${env:NOPE}y");
  BOOST_REQUIRE(out.missing.size() == 1u);
  BOOST_TEST(out.missing[0].find("NOPE is not set") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(an_empty_variable_is_set) { BOOST_TEST(replace_references("[${env:E}]", "/", with("E", "")).text == "[]"); }

BOOST_AUTO_TEST_CASE(a_value_is_not_looked_at_again) {
  BOOST_TEST(replace_references("${env:A}", "/", with("A", "${env:A}")).text == "${env:A}");
}

BOOST_AUTO_TEST_CASE(two_dollars_stand_for_one) {
  auto out = replace_references("$${env:A} $${x}", "/", with("A", "1"));
  BOOST_TEST(out.text == "${env:A} ${x}");
}

BOOST_AUTO_TEST_CASE(other_braces_are_left_alone) {
  for (const char* text : {"${HOME}", "payload ->> '$.a'", "$", "${", "${env:A", "a$b"})
    BOOST_TEST(replace_references(text, "/", with("A", "1")).text == text);
}

BOOST_AUTO_TEST_CASE(a_file_is_taken_without_its_last_newline) {
  millrace::test::temporary_folder folder;
  std::ofstream(folder.path / "token") << "abc\ndef\n";
  BOOST_TEST(replace_references("${file:token}", folder.path.string(), process_environment()).text == "abc\ndef");
  BOOST_TEST(replace_references("${file:" + (folder.path / "token").string() + "}", "/", process_environment()).text ==
             "abc\ndef");
}

BOOST_AUTO_TEST_CASE(a_file_that_is_absent_or_long_or_a_folder_is_missing) {
  millrace::test::temporary_folder folder;
  std::ofstream(folder.path / "long") << std::string(70'000, 'x');
  for (const char* name : {"absent", "long", "."}) {
    auto out = replace_references("${file:" + std::string(name) + "}", folder.path.string(), process_environment());
    BOOST_REQUIRE(out.missing.size() == 1u);
    BOOST_TEST(out.missing[0].find("cannot be read") != std::string::npos);
  }
}

BOOST_AUTO_TEST_SUITE_END()
