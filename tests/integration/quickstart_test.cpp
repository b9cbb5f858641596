// The films of the quickstart: what its spec must end with.

#include "tests/integration/support/fixture.hpp"

namespace millrace::testing {

BOOST_FIXTURE_TEST_SUITE(quickstart, running_node)

BOOST_AUTO_TEST_CASE(the_films_end_in_sqlite_and_every_change_is_accounted_for) {
  const std::string root = MILLRACE_SOURCE_DIR;
  auto spec = read_file(root + "/cluster-configs/movies.yaml");
  const auto put = [&](const std::string& from, const std::string& to) {
    BOOST_TEST_REQUIRE(spec.find(from) != std::string::npos);
    spec.replace(spec.find(from), from.size(), to);
  };
  put("../tests/data/movies.ndjson", root + "/tests/data/movies.ndjson");
  put("../build/quickstart/films.db", path("films.db"));
  sqlite_file films(path("films.db"));
  films.execute(read_file(root + "/cluster-configs/movies.sql"));

  node.apply("movies", spec);
  node.caught_up("movies");
  const auto status = node.status("movies");
  const auto load = node.load("movies", "films");
  BOOST_TEST(status.at("ingested") == 3201);
  BOOST_TEST(load.at("filtered") == 94);
  BOOST_TEST(unaccounted(node, "movies") == "");

  std::map<std::string, int> reasons;
  for (const auto& letter : node.dead_letters("movies")) {
    ++reasons[letter.at("reason").get<std::string>()];
    for (const auto* key : {"id",          "pipeline", "load", "partition", "offset",   "source_position",
                            "transaction", "table",    "key",  "op",        "payload",  "reason",
                            "error",       "step",     "node", "revision",  "attempts", "first_time",
                            "last_time",   "state"})
      BOOST_TEST(letter.contains(key), "a dead letter has no `" << key << "`: " << letter.dump());
    for (const auto* key : {"message", "sqlstate", "constraint", "column"})
      BOOST_TEST(letter.at("error").contains(key), "a dead letter's error has no `" << key << "`: " << letter.dump());
    BOOST_TEST(letter.at("error").at("message") != "");
    if (letter.at("reason") == "constraint") BOOST_TEST(letter.at("error").at("constraint") == "earned_something", letter.dump());
  }
  BOOST_TEST(reasons["schema"] == 5); // no title or no gross; "required" is asked after the last step, so not of filtered films
  BOOST_TEST(reasons["transform"] == 24); // from the future
  BOOST_TEST(reasons["constraint"] == 42, "expected 42 films that earned nothing, found " << reasons["constraint"]);
  BOOST_TEST(reasons.size() == 3u);
  BOOST_TEST(films.number("select count(*) from films") == load.at("delivered").get<long long>());
  BOOST_TEST(films.value("select released, us_gross, profit, imdb_rating from films where title = 'The Land Girls'") ==
             "1998-06-12|146083|-7853917|6.1");
  BOOST_TEST(films.number("select count(*) from films where title in ('300', '1941')") == 2); // were JSON numbers
  BOOST_TEST(becomes([&] { return node.log().find("alert") != std::string::npos; }, seconds{15}), "no alert in the log:\n"
                                                                                                      << node.log());
}

BOOST_AUTO_TEST_CASE(every_example_pipeline_is_valid) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(std::string(MILLRACE_SOURCE_DIR) + "/cluster-configs")) {
    if (entry.path().extension() != ".yaml" || read_file(entry.path()).find("\npipeline:") == std::string::npos) continue;
    const auto result = node.cli({"pipeline", "validate", entry.path().string()});
    BOOST_TEST(result.status == 0, entry.path() << ": " << result.out << result.err);
  }
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
