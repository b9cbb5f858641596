#include "ingest_support.hpp"

using namespace millrace::actors;
using namespace millrace::actors::ingest;
using namespace ingest_test;

BOOST_AUTO_TEST_SUITE(make_source_reader_test)

BOOST_AUTO_TEST_CASE(a_file_spec_gives_a_reader_with_its_format_and_envelope) {
  temp_folder dir;
  write(dir / "a.csv", "id\n1\n");
  source_spec spec;
  spec.type = "file";
  spec.path = dir / "*.csv";
  spec.format = payload_format::csv;
  spec.envelope = millrace::storage::envelope::debezium;
  auto reader = make_source_reader(spec);
  BOOST_REQUIRE(reader);
  BOOST_REQUIRE(reader.value()->open({}));
  const auto block = reader.value()->poll(std::chrono::milliseconds{0}).value();
  BOOST_REQUIRE(block);
  BOOST_TEST(records(*block) == strings{"1"});
  BOOST_TEST(block->context == "id");
  BOOST_TEST((block->envelope == millrace::storage::envelope::debezium));
}

BOOST_AUTO_TEST_CASE(what_is_no_reader_is_invalid_and_says_what_was_expected) {
  for (const auto& [type, path, text] :
       {std::tuple{"http", "/a", "pushed to"}, std::tuple{"ftp", "/a", "expected file, http or postgres"},
        std::tuple{"file", "a", "expected an absolute path"}}) {
    source_spec spec;
    spec.type = type;
    spec.path = path;
    const auto r = make_source_reader(spec);
    BOOST_REQUIRE(!r);
    BOOST_TEST(is(r.error(), errc::invalid));
    BOOST_TEST(r.error().message.find(text) != std::string::npos);
  }
}

BOOST_AUTO_TEST_SUITE_END()
