// The HTTP source as its clients see it.

#include "tests/integration/support/fixture.hpp"

#include <future>

namespace millrace::testing {
namespace {

struct push_node : idle_node {
  push_node() : idle_node({.limits = "disk_reserve: 1MiB, body: 1MiB", .data = {}, .env = {{"PUSH_TOKEN", "s3cret"}}}) {
    node.start();
    node.apply("p", "pipeline: p\nsource: { type: http, token: \"${env:PUSH_TOKEN}\" }\nloads:\n"
                    "  - { name: l, destination: { type: sqlite, path: out.db, table: t }, mode: append, schema: { id: { type: "
                    "int64, required: true } } }\n");
    eventually("the source takes changes", [&] { return push("\n").status == 200; });
  }
  http_answer push(const std::string& body, http_headers more = {}, const std::string& pipeline = "p") {
    more.push_back("Authorization: Bearer s3cret");
    return http_post(node.http("/v1/pipelines/" + pipeline + "/changes"), body, more);
  }
  http_answer numbered(const std::string& body, const std::string& producer, std::uint64_t sequence) {
    return push(body, {"Producer-Id: " + producer, "Sequence: " + std::to_string(sequence)});
  }
  std::string rows() {
    node.caught_up("p");
    return sqlite_file(path("out.db")).value("select count(*), count(distinct id) from t");
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(push, push_node)

BOOST_AUTO_TEST_CASE(what_got_200_is_durable) {
  const auto answer = push("{\"id\":1}\n{\"id\":2}\n\n{\"id\":3}");
  BOOST_TEST(answer.status == 200, answer.body);
  BOOST_TEST(json::parse(answer.body).at("accepted") == 3);
  node.kill9();
  node.start();
  node.until("p", "3 delivered", [](const json& s) { return in(s, "/loads/0/delivered") == 3; });
  BOOST_TEST(rows() == "3|3");
}

BOOST_AUTO_TEST_CASE(a_repeated_sequence_stages_nothing_also_after_a_restart) {
  for (int round = 0; round < 3; ++round)
    for (std::uint64_t sequence = 1; sequence <= 3; ++sequence)
      BOOST_TEST(numbered("{\"id\":" + std::to_string(sequence) + "}\n", "shop", sequence).status == 200);
  node.kill9();
  node.start();
  eventually("it takes changes again", [&] { return push("\n").status == 200; });
  BOOST_TEST(numbered("{\"id\":3}\n", "shop", 3).status == 200);
  BOOST_TEST(numbered("{\"id\":4}\n", "other", 3).status == 200); // another producer's numbers are its own
  BOOST_TEST(numbered("{\"id\":9000}\n", "shop", 9000).status == 200);
  BOOST_TEST(numbered("{\"id\":10}\n", "shop", 10).status == 200); // any order within 10,000 of the highest
  BOOST_TEST(numbered("{\"id\":20003}\n", "shop", 20003).status == 200);
  BOOST_TEST(numbered("{\"id\":11}\n", "shop", 11).status == 409); // older, and unknown
  node.until("p", "7 delivered", [](const json& s) { return in(s, "/loads/0/delivered") == 7; });
  BOOST_TEST(rows() == "7|7");
}

BOOST_AUTO_TEST_CASE(the_same_sequence_at_the_same_moment_is_staged_once) {
  std::vector<std::future<long>> answers;
  for (int i = 0; i < 16; ++i)
    answers.push_back(std::async(std::launch::async, [this] { return numbered("{\"id\":1}\n", "racer", 1).status; }));
  for (auto& answer : answers) BOOST_TEST(answer.get() == 200);
  node.until("p", "one delivered", [](const json& s) { return in(s, "/loads/0/delivered") == 1; });
  BOOST_TEST(rows() == "1|1");
}

BOOST_AUTO_TEST_CASE(each_refusal_has_its_status) {
  const auto url = node.http("/v1/pipelines/p/changes");
  BOOST_TEST(http_post(url, "{}\n").status == 401);
  BOOST_TEST(http_post(url, "{}\n", {"Authorization: Bearer wrong"}).status == 403);
  BOOST_TEST(push("{}\n", {}, "none").status == 404);
  BOOST_TEST(push("{}\n", {"Producer-Id: only"}).status == 400);
  BOOST_TEST(push("{}\n", {"Sequence: 1"}).status == 400);
  BOOST_TEST(push("{}\n", {"Producer-Id: p", "Sequence: minus one"}).status == 400);
  BOOST_TEST(push(std::string((1 << 20) + 1, '\n')).status == 413);
  BOOST_TEST(http_get(url).status == 405);
  BOOST_TEST(http_get(node.http("/nothing")).status == 404);
  BOOST_TEST(node.status("p").at("ingested") == 0);
  // The secret never prints.
  BOOST_TEST(node.must({"pipeline", "show", "p"}).find("s3cret") == std::string::npos);
  BOOST_TEST(node.log().find("s3cret") == std::string::npos);
}

BOOST_AUTO_TEST_CASE(bad_lines_are_staged_and_quarantined_by_the_load) {
  BOOST_TEST(push("{\"id\":1}\n{oops\n{}\n").status == 200);
  node.until("p", "two dead letters", [](const json& s) { return in(s, "/loads/0/dead_letters/open") == 2; });
  BOOST_TEST(rows() == "1|1");
  BOOST_TEST(unaccounted(node, "p") == "");
}

BOOST_AUTO_TEST_CASE(a_paused_pipeline_answers_503_with_retry_after) {
  node.must({"pipeline", "pause", "p"});
  http_answer answer;
  eventually("it answers 503", [&] { return (answer = push("{\"id\":1}\n")).status == 503; });
  BOOST_TEST(answer.headers.contains("retry-after"));
  node.must({"pipeline", "resume", "p"});
  eventually("it answers 200", [&] { return push("{\"id\":1}\n").status == 200; });
  BOOST_TEST(rows() == "1|1");
}

BOOST_AUTO_TEST_CASE(a_pipeline_that_starts_is_never_unknown) {
  for (int round = 0; round < 3; ++round) {
    const auto name = "q" + std::to_string(round);
    node.apply(name, "pipeline: " + name +
                         "\nsource: { type: http, token: s3cret }\nloads:\n"
                         "  - { name: l, destination: { type: sqlite, path: out.db, table: " +
                         name + " }, mode: append }\n");
    eventually("it takes changes", [&] {
      const auto status = push("\n", {}, name).status;
      BOOST_TEST((status == 200 || status == 503), "right after apply: " << status);
      return status == 200;
    });
  }
  node.kill9();
  node.start();
  eventually("it takes changes after a restart", [&] {
    const auto status = push("\n", {}, "q0").status;
    BOOST_TEST((status == 200 || status == 503), "right after a restart: " << status);
    return status == 200;
  });
}

BOOST_AUTO_TEST_CASE(many_clients_at_once_get_200_or_429_and_every_200_is_there_once) {
  std::vector<std::future<int>> clients;
  for (int client = 0; client < 16; ++client)
    clients.push_back(std::async(std::launch::async, [this, client] {
      int accepted = 0;
      for (int i = 0; i < 25; ++i) {
        std::string body;
        for (int k = 0; k < 40; ++k)
          body += "{\"id\":" + std::to_string((client * 25 + i) * 40 + k) + ",\"pad\":\"" + std::string(2000, 'x') + "\"}\n";
        for (;;) {
          const auto answer = numbered(body, "client-" + std::to_string(client), static_cast<std::uint64_t>(i + 1));
          if (answer.status == 200) break;
          if (answer.status != 429 || !answer.headers.contains("retry-after")) return -static_cast<int>(answer.status) - 1;
          ::poll(nullptr, 0, 20); // far less than Retry-After: clients that do not listen must not do harm
        }
        accepted += 40;
      }
      return accepted;
    }));
  for (auto& client : clients) BOOST_TEST(client.get() == 1000);
  node.until("p", "16000 ingested", [](const json& s) { return s.at("ingested") == 16000; });
  BOOST_TEST(rows() == "16000|16000");
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
