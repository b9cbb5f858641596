#include "actors/dead_letter/webhook.hpp"

#include <arpa/inet.h>
#include <atomic>
#include <boost/test/unit_test.hpp>
#include <netinet/in.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

using namespace millrace;
using namespace millrace::actors::dead_letter;
using namespace std::chrono_literals;

namespace {

/// Answers every request on 127.0.0.1 with one text; an empty one: never answers.
class receiver {
public:
  explicit receiver(std::string answer) : answer_(std::move(answer)), listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    BOOST_REQUIRE(bind(listener_, reinterpret_cast<sockaddr*>(&at), size) == 0);
    BOOST_REQUIRE(listen(listener_, 8) == 0);
    BOOST_REQUIRE(getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size) == 0);
    port_ = ntohs(at.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~receiver() {
    stop_ = true;
    thread_.join();
    close(listener_);
  }
  std::string url(const std::string& path = "/hook?token=secret") const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }
  std::string request() {
    stop_ = true;
    thread_.join();
    thread_ = std::thread([] {});
    return request_;
  }

private:
  bool wait(int fd) const {
    while (!stop_) {
      pollfd p{fd, POLLIN, 0};
      if (poll(&p, 1, 20) > 0) return true;
    }
    return false;
  }
  void serve() {
    while (wait(listener_)) {
      const int peer = accept(listener_, nullptr, nullptr);
      std::string got;
      while (wait(peer)) {
        char buffer[4096];
        const auto n = recv(peer, buffer, sizeof buffer, 0);
        if (n <= 0) break;
        got.append(buffer, static_cast<std::size_t>(n));
        const auto head = got.find("\r\n\r\n");
        const auto length = got.find("Content-Length: ");
        if (head == std::string::npos || length == std::string::npos ||
            got.size() < head + 4 + std::stoul(got.substr(length + 16)))
          continue;
        request_ = got;
        got.clear();
        if (!answer_.empty()) send(peer, answer_.data(), answer_.size(), MSG_NOSIGNAL);
      }
      close(peer);
    }
  }
  std::string answer_, request_;
  int listener_;
  int port_ = 0;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

std::string answer(const std::string& status, const std::string& body = "", const std::string& headers = "") {
  return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + headers + "\r\n" + body;
}

alert sample() {
  return {"orders",
          "warehouse",
          "parse",
          1000,
          storage::timestamp(std::chrono::microseconds(1700000000000000)),
          storage::timestamp(std::chrono::microseconds(1700000001500000)),
          R"({"id":"orders/warehouse/0/7","payload":"x"})"};
}

} // namespace

BOOST_AUTO_TEST_SUITE(webhook_)

BOOST_AUTO_TEST_CASE(the_body_has_the_keys_of_the_contract) {
  const auto body = nlohmann::json::parse(webhook_body(sample(), "a"));
  BOOST_TEST(body["pipeline"] == "orders");
  BOOST_TEST(body["load"] == "warehouse");
  BOOST_TEST(body["reason"] == "parse");
  BOOST_TEST(body["count"] == 1000);
  BOOST_TEST(body["first_time"].get<std::string>().starts_with("2023-11-14T22:13:20"));
  BOOST_TEST(body["last_time"].get<std::string>().starts_with("2023-11-14T22:13:21.5"));
  BOOST_TEST(body["sample"]["id"] == "orders/warehouse/0/7");
  BOOST_TEST(body["node"] == "a");
  BOOST_TEST(body.size() == 8u);
  auto odd = sample();
  odd.sample = "not json \xff";
  BOOST_TEST(nlohmann::json::parse(webhook_body(odd, "a"))["sample"].is_string());
  odd.sample.clear();
  BOOST_TEST(nlohmann::json::parse(webhook_body(odd, "a"))["sample"].is_null());
}

BOOST_AUTO_TEST_CASE(alertmanager_gets_an_array_with_a_stable_identity) {
  const auto ends = storage::timestamp(std::chrono::microseconds(1700003600000000));
  auto more = sample();
  more.count = 2;
  const auto one = nlohmann::json::parse(alertmanager_body(sample(), "a", ends)),
             two = nlohmann::json::parse(alertmanager_body(more, "a", ends));
  BOOST_REQUIRE(one.is_array() && one.size() == 1);
  BOOST_TEST(one[0]["labels"] == two[0]["labels"]);
  BOOST_TEST(one[0]["labels"]["pipeline"] == "orders");
  BOOST_TEST(one[0]["annotations"]["count"] == "1000");
  for (const auto& [name, value] : one[0]["annotations"].items()) BOOST_TEST(value.is_string(), name);
  BOOST_TEST(one[0]["endsAt"].get<std::string>().starts_with("2023-11-14T23:13:20"));
  BOOST_TEST(alertmanager_url("http://h:9093/") == "http://h:9093/api/v2/alerts");
  BOOST_TEST(alertmanager_url("http://h:9093/prefix") == "http://h:9093/prefix/api/v2/alerts");
}

BOOST_AUTO_TEST_CASE(a_2xx_is_delivered_and_the_connection_serves_the_next_one) {
  receiver r(answer("204 No Content"));
  webhook w;
  for (int n = 0; n < 3; ++n) {
    const auto out = w.post(r.url(), "{\"n\":" + std::to_string(n) + "}", 5s);
    BOOST_TEST(out.delivered, out.message);
    BOOST_TEST(out.status == 204);
  }
  const auto request = r.request();
  BOOST_TEST(request.starts_with("POST /hook?token=secret HTTP/1.1\r\n"));
  BOOST_TEST(request.find("Content-Type: application/json") != std::string::npos);
  BOOST_TEST(request.ends_with("{\"n\":2}"));
}

BOOST_AUTO_TEST_CASE(answers_say_whether_a_retry_can_help) {
  struct trial {
    const char* status;
    bool retry;
  };
  for (const auto& [status, retry] : {trial{"500 Oops", true},
                                      {"503 Busy", true},
                                      {"429 Slow", true},
                                      {"408 Late", true},
                                      {"400 Bad", false},
                                      {"404 None", false},
                                      {"302 Found", false}}) {
    receiver r(answer(status, "the receiver's own words"));
    const auto out = webhook().post(r.url(), "{}", 5s);
    BOOST_TEST(!out.delivered);
    BOOST_TEST(out.retry == retry, status);
    BOOST_TEST(out.status == std::atoi(status));
    BOOST_TEST(out.message.find("the receiver's own words") != std::string::npos, out.message);
    BOOST_TEST(out.message.find("secret") == std::string::npos, out.message);
  }
}

BOOST_AUTO_TEST_CASE(retry_after_is_heard_and_bounded) {
  receiver soon(answer("429 Slow", "", "Retry-After: 7\r\n")), late(answer("503 Busy", "", "Retry-After: 999999\r\n"));
  BOOST_TEST((webhook().post(soon.url(), "{}", 5s).retry_after == 7s));
  BOOST_TEST((webhook().post(late.url(), "{}", 5s).retry_after == 3600s));
}

BOOST_AUTO_TEST_CASE(silence_ends_with_the_timeout_and_a_closed_port_at_once) {
  std::string gone;
  {
    receiver mute("");
    gone = mute.url();
    const auto before = std::chrono::steady_clock::now();
    const auto out = webhook().post(mute.url(), "{}", 200ms);
    BOOST_TEST((std::chrono::steady_clock::now() - before < 5s));
    BOOST_TEST((!out.delivered && out.retry && out.status == 0), out.message);
  }
  const auto out = webhook().post(gone, "{}", 2s);
  BOOST_TEST((!out.delivered && out.retry), out.message);
  BOOST_TEST(out.message.find("127.0.0.1") != std::string::npos, out.message);
  BOOST_TEST(out.message.find("secret") == std::string::npos, out.message);
}

BOOST_AUTO_TEST_CASE(urls_that_are_no_http_are_never_tried_again) {
  for (const auto* url : {"file:///etc/passwd", "ftp://host/x", "", "http://", "gopher://x"}) {
    const auto out = webhook().post(url, "{}", 2s);
    BOOST_TEST((!out.delivered && !out.retry), url << ": " << out.message);
  }
}

BOOST_AUTO_TEST_CASE(objects_on_several_threads_do_not_disturb_each_other) {
  receiver r(answer("200 OK", "{}"));
  std::atomic<int> delivered{0};
  std::vector<std::thread> all;
  for (int n = 0; n < 3; ++n)
    all.emplace_back([&] {
      if (webhook().post(r.url(), "{}", 10s).delivered) ++delivered;
    });
  for (auto& t : all) t.join();
  BOOST_TEST(delivered == 3);
}

BOOST_AUTO_TEST_SUITE_END()
