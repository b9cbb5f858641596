#include "runtime/http/http_server.hpp"

#include "support.hpp"

#include <boost/test/unit_test.hpp>

using namespace millrace;
using namespace millrace::runtime::http;

namespace {

struct fixture {
  test::fake_node node;
  http_server_options options;
  std::unique_ptr<http_server> server;

  fixture() { options.listen = "127.0.0.1:0"; }
  void start() {
    auto made = http_server::start(node, options);
    BOOST_REQUIRE_MESSAGE(made.has_value(), (made.has_value() ? std::string() : made.error().message));
    server = std::move(made).value();
    BOOST_REQUIRE(server->port() != 0);
  }
  std::string exchange(const std::string& request) {
    test::raw_client client(server->port());
    client.send(request);
    return client.receive();
  }
  std::string get(const std::string& path) { return exchange("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"); }
  std::string post(const std::string& body, const std::string& headers = "",
                   const std::string& path = "/v1/pipelines/orders/changes") {
    return exchange("POST " + path + " HTTP/1.1\r\nHost: x\r\n" + headers + "Content-Length: " + std::to_string(body.size()) +
                    "\r\n\r\n" + body);
  }
};

int status_of(const std::string& answer) { return answer.size() < 12 ? 0 : std::stoi(answer.substr(9, 3)); }
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
std::string head_of(std::uint64_t length) {
  return "POST /v1/pipelines/orders/changes HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(length) + "\r\n\r\n";
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(http, fixture)

BOOST_AUTO_TEST_CASE(a_body_is_pushed_whole_and_counted) {
  start();
  actors::push_request seen;
  node.on_push = [&](const actors::push_request& r) {
    seen = r;
    actors::push_reply out;
    out.status = 200;
    out.accepted = 2;
    return out;
  };
  auto answer =
      post("{\"id\":1}\n{\"id\":2}\n", "Authorization: bearer s3cret\r\nProducer-Id: p1\r\nSequence: 18446744073709551615\r\n");
  BOOST_TEST(status_of(answer) == 200);
  BOOST_TEST(contains(answer, "{\"accepted\":2}"));
  BOOST_TEST(seen.pipeline == "orders");
  BOOST_TEST(seen.body == "{\"id\":1}\n{\"id\":2}\n");
  BOOST_TEST(seen.token == "s3cret");
  BOOST_TEST(seen.has_token);
  BOOST_TEST(seen.producer == "p1");
  BOOST_TEST((seen.has_sequence && seen.sequence == 18446744073709551615ull));
}

BOOST_AUTO_TEST_CASE(a_chunked_body_is_put_together) {
  start();
  std::string seen;
  node.on_push = [&](const actors::push_request& r) {
    seen = r.body;
    actors::push_reply out;
    out.status = 200;
    return out;
  };
  auto answer = exchange("POST /v1/pipelines/orders/changes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
                         "chunked\r\n\r\n3\r\n{\"a\r\n6\r\n\":1}\n\n\r\n0\r\n\r\n");
  BOOST_TEST(status_of(answer) == 200);
  BOOST_TEST(seen == "{\"a\":1}\n\n");
}

BOOST_AUTO_TEST_CASE(the_nodes_verdicts_reach_the_client) {
  start();
  for (int status : {400, 401, 403, 404, 409, 413, 429, 503}) {
    node.on_push = [&](const actors::push_request&) {
      actors::push_reply out;
      out.status = status;
      out.message = "because \"of\" it";
      out.retry_after_seconds = status == 429 || status == 503 ? 7 : 0;
      return out;
    };
    auto answer = post("{}\n");
    BOOST_TEST(status_of(answer) == status);
    BOOST_TEST(contains(answer, "{\"error\":{\"code\":"));
    BOOST_TEST(contains(answer, "because \\\"of\\\" it"));
    BOOST_TEST(contains(answer, "Retry-After: 7\r\n") == (status == 429 || status == 503));
    BOOST_TEST(contains(answer, "WWW-Authenticate: Bearer\r\n") == (status == 401));
  }
}

BOOST_AUTO_TEST_CASE(one_of_the_two_headers_is_not_enough) {
  start();
  BOOST_TEST(status_of(post("{}\n", "Producer-Id: p\r\n")) == 400);
  BOOST_TEST(status_of(post("{}\n", "Sequence: 1\r\n")) == 400);
  for (const char* bad : {"-1", "x", "1.5", "18446744073709551616", "1, 2"})
    BOOST_TEST(status_of(post("{}\n", std::string("Producer-Id: p\r\nSequence: ") + bad + "\r\n")) == 400, bad);
  BOOST_TEST(status_of(post("{}\n", "Producer-Id: " + std::string(300, 'p') + "\r\nSequence: 1\r\n")) == 400);
}

BOOST_AUTO_TEST_CASE(other_schemes_are_no_token) {
  start();
  bool had_token = true;
  node.on_may_push = [&](const actors::push_request& r, std::uint64_t) {
    had_token = r.has_token;
    actors::push_reply out;
    out.status = 0;
    return out;
  };
  BOOST_TEST(status_of(post("{}\n", "Authorization: Basic abc\r\n")) == 200);
  BOOST_TEST(!had_token);
}

BOOST_AUTO_TEST_CASE(who_may_not_push_is_told_before_the_body_is_read) {
  start();
  std::uint64_t announced = 0;
  node.on_may_push = [&](const actors::push_request&, std::uint64_t bytes) {
    announced = bytes;
    actors::push_reply out;
    out.status = 403;
    return out;
  };
  test::raw_client client(server->port());
  client.send(head_of(1000)); // and not a byte of the body
  BOOST_TEST(status_of(client.receive()) == 403);
  BOOST_TEST(announced == 1000u);
}

BOOST_AUTO_TEST_CASE(a_body_that_is_too_long_is_413_however_it_comes) {
  options.body_bytes_max = 1000;
  start();
  bool pushed = false;
  node.on_push = [&](const actors::push_request&) {
    pushed = true;
    return actors::push_reply{};
  };
  test::raw_client announced(server->port());
  announced.send(head_of(1001));
  BOOST_TEST(status_of(announced.receive()) == 413);
  BOOST_TEST(
      status_of(exchange("POST /v1/pipelines/orders/changes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3ea\r\n" +
                         std::string(1002, 'x') + "\r\n")) == 413);
  BOOST_TEST(!pushed);
}

BOOST_AUTO_TEST_CASE(a_client_that_asks_first_is_told_to_send_or_why_not) {
  options.body_bytes_max = 1000;
  start();
  std::string pushed;
  node.on_push = [&](const actors::push_request& r) {
    pushed = r.body;
    actors::push_reply out;
    out.status = 200;
    return out;
  };
  const auto asking = [](std::uint64_t length) {
    auto head = head_of(length);
    return head.insert(head.size() - 2, "Expect: 100-Continue\r\n");
  };
  test::raw_client client(server->port());
  for (const auto* body : {"{\"id\":1}\n", "{\"id\":2}\n"}) { // the second one on the same connection
    client.send(asking(9));
    BOOST_TEST(client.receive() == "HTTP/1.1 100 Continue\r\n\r\n");
    client.send(body);
    BOOST_TEST(status_of(client.receive()) == 200);
    BOOST_TEST(pushed == body);
  }
  test::raw_client refused(server->port());
  refused.send(asking(1001));
  BOOST_TEST(status_of(refused.receive()) == 413);
}

BOOST_AUTO_TEST_CASE(all_bodies_together_are_bounded) {
  options.bodies_bytes_max = 1000;
  start();
  test::raw_client slow(server->port());
  slow.send(head_of(900) + std::string(800, 'x'));
  // The 800 bytes count once they are read.
  BOOST_TEST(test::eventually([&] { return status_of(post(std::string(300, 'y'))) == 429; }));
  slow.send(std::string(100, 'x'));
  BOOST_TEST(status_of(slow.receive()) == 200);
  BOOST_TEST(test::eventually([&] { return status_of(post(std::string(300, 'y'))) == 200; })); // the room came back
}

BOOST_AUTO_TEST_CASE(a_client_that_sends_too_slowly_is_ended) {
  options.body_grace = std::chrono::milliseconds{300};
  options.header_timeout = std::chrono::milliseconds{1000};
  start();
  test::raw_client body(server->port());
  body.send(head_of(1000) + "x");
  BOOST_TEST(status_of(body.receive()) == 408);
  test::raw_client head(server->port());
  head.send("POST /v1/pipe");
  head.receive();
  BOOST_TEST(head.closed);
  test::raw_client nothing(server->port());
  nothing.receive();
  BOOST_TEST(nothing.closed);
}

BOOST_AUTO_TEST_CASE(connections_are_bounded_and_places_come_back) {
  options.connections_max = 4;
  start();
  {
    std::vector<std::unique_ptr<test::raw_client>> open;
    for (int i = 0; i < 4; ++i) open.push_back(std::make_unique<test::raw_client>(server->port()));
    test::raw_client refused(server->port());
    refused.receive();
    BOOST_TEST(refused.closed);
  }
  BOOST_TEST(test::eventually([&] { return status_of(get("/healthz")) == 200; }));
}

BOOST_AUTO_TEST_CASE(wrong_methods_and_paths_are_told_apart) {
  start();
  auto wrong = get("/v1/pipelines/orders/changes");
  BOOST_TEST(status_of(wrong) == 405);
  BOOST_TEST(contains(wrong, "Allow: POST\r\n"));
  auto posted = post("", "", "/metrics");
  BOOST_TEST(status_of(posted) == 405);
  BOOST_TEST(contains(posted, "Allow: GET, HEAD\r\n"));
  for (const char* path : {"/", "/nosuch", "/v1/pipelines//changes", "/v1/pipelines/a/b/changes", "/v1/pipelines/../changes",
                           "/v1/pipelines/orders", "/metrics/"})
    BOOST_TEST(status_of(get(path)) == 404, path);
}

BOOST_AUTO_TEST_CASE(an_encoded_body_is_not_staged_as_it_is) {
  start();
  BOOST_TEST(status_of(post("xxxx", "Content-Encoding: gzip\r\n")) == 415);
}

BOOST_AUTO_TEST_CASE(health_needs_an_answer_of_the_node) {
  options.health_timeout = std::chrono::milliseconds{1000};
  start();
  BOOST_TEST(status_of(get("/healthz")) == 200);
  node.failed = true;
  BOOST_TEST(status_of(get("/healthz")) == 503);
  node.failed = false;
  node.silent = true;
  BOOST_TEST(status_of(get("/healthz")) == 503);
  BOOST_TEST(status_of(get("/readyz")) == 503);
  BOOST_TEST(status_of(get("/metrics")) == 503);
}

BOOST_AUTO_TEST_CASE(ready_is_what_the_node_says) {
  start();
  node.on_call = [](const actors::admin_call&) { return test::fake_node::document(R"({"ready":true,"reasons":[]})"); };
  BOOST_TEST(status_of(get("/readyz")) == 200);
  node.on_call = [](const actors::admin_call&) {
    return test::fake_node::document(R"({"ready":false,"reasons":["orders: waiting"]})");
  };
  auto answer = get("/readyz");
  BOOST_TEST(status_of(answer) == 503);
  BOOST_TEST(contains(answer, "orders: waiting"));
}

BOOST_AUTO_TEST_CASE(metrics_are_text_and_count_the_requests) {
  start();
  node.on_call = [](const actors::admin_call&) {
    return test::fake_node::document(R"([{"name":"x_total","type":"counter","help":"","labels":{},"value":1}])");
  };
  BOOST_TEST(status_of(get("/nosuch")) == 404);
  auto answer = get("/metrics?x=1");
  BOOST_TEST(status_of(answer) == 200);
  BOOST_TEST(contains(answer, "Content-Type: text/plain; version=0.0.4"));
  BOOST_TEST(contains(answer, "x_total 1\n"));
  BOOST_TEST(contains(answer, "millrace_http_requests_total{route=\"other\",status=\"404\"} 1"));
  auto head = exchange("HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  BOOST_TEST(status_of(head) == 200);
}

BOOST_AUTO_TEST_CASE(one_connection_serves_request_after_request) {
  start();
  test::raw_client client(server->port());
  for (int i = 0; i < 3; ++i) {
    client.send(head_of(3) + "{}\n");
    BOOST_TEST(status_of(client.receive()) == 200);
  }
}

BOOST_AUTO_TEST_CASE(an_address_in_use_is_named) {
  start();
  auto second = options;
  second.listen = "127.0.0.1:" + std::to_string(server->port());
  auto made = http_server::start(node, second);
  BOOST_REQUIRE(!made);
  BOOST_TEST(contains(made.error().message, second.listen));
  BOOST_TEST(contains(made.error().message, "in use"));
}

BOOST_AUTO_TEST_CASE(stopping_with_open_connections_and_calls_is_quick) {
  start();
  test::raw_client idle(server->port()), half(server->port()), asked(server->port());
  half.send(head_of(1000) + "x");
  node.silent = true;
  asked.send(head_of(3) + "{}\n");
  auto begun = std::chrono::steady_clock::now();
  server.reset();
  BOOST_TEST((std::chrono::steady_clock::now() - begun < std::chrono::seconds{5}));
}

BOOST_AUTO_TEST_SUITE_END()
