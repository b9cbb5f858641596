// Operators' questions between nodes: what is sent arrives as it was, and bytes that are no call are refused, never half read.
#include "actors/cluster/routed_calls.hpp"

#include <boost/test/unit_test.hpp>

#include <iostream>
#include <random>

using namespace millrace::actors;
using namespace millrace::actors::cluster;
using json = nlohmann::ordered_json;

namespace {

frame text_frame(std::string head, std::vector<std::string> parts) {
  frame f{channel::admin, std::move(head), {}};
  for (auto& p : parts) f.parts.push_back(std::make_shared<const std::string>(std::move(p)));
  return f;
}
std::string refusal(const frame& f) {
  const auto r = decode_routed("b", f);
  return r ? "taken" : r.error().message;
}
json call_document() { return json::parse(*encode_call(7, {}).parts[0]); }

} // namespace

BOOST_AUTO_TEST_SUITE(routed_calls)

BOOST_AUTO_TEST_CASE(a_call_arrives_as_it_was_asked) {
  admin_call c;
  c.what = admin_call::method::log_read;
  c.pipeline = "orders";
  c.load = "dw";
  c.name = "public.orders";
  c.from = "2026-01-31T12:00:00Z";
  c.filter = std::string(2 << 20, 'x'); // filters are as long as a user makes them
  c.partition = 3;
  c.limit = 0xffffffff;
  c.wait_ms = 30'000;
  c.truncate = c.force = true;
  const auto back = decode_routed("b", encode_call(~0ull, c));
  BOOST_TEST_REQUIRE(back.has_value());
  const auto& got = back.value();
  BOOST_TEST(got.from == "b");
  BOOST_TEST(got.id == ~0ull);
  BOOST_TEST(!got.reply.has_value());
  BOOST_TEST((got.call.what == c.what));
  BOOST_TEST(got.call.pipeline == c.pipeline);
  BOOST_TEST(got.call.load == c.load);
  BOOST_TEST(got.call.name == c.name);
  BOOST_TEST(got.call.from == c.from);
  BOOST_TEST((got.call.filter == c.filter));
  BOOST_TEST(got.call.partition == c.partition);
  BOOST_TEST(got.call.limit == c.limit);
  BOOST_TEST(got.call.wait_ms == c.wait_ms);
  BOOST_TEST(got.call.truncate);
  BOOST_TEST(got.call.force);
}

BOOST_AUTO_TEST_CASE(an_answer_arrives_as_it_was_given) {
  admin_reply r;
  r.ok = true;
  r.document = std::string("{\"bytes\": \"\xff\"}"); // not ours to judge
  auto back = decode_routed("b", encode_reply(9, r));
  BOOST_TEST_REQUIRE(back.has_value());
  BOOST_TEST(back.value().reply->ok);
  BOOST_TEST(back.value().reply->document == r.document);

  admin_reply no;
  no.code = "refused";
  no.message = "broken \xff text";
  no.detail = "d";
  back = decode_routed("b", encode_reply(10, no));
  BOOST_TEST_REQUIRE(back.has_value());
  BOOST_TEST(!back.value().reply->ok);
  BOOST_TEST(back.value().reply->code == "refused");
  BOOST_TEST(back.value().reply->detail == "d");
}

BOOST_AUTO_TEST_CASE(what_is_no_call_is_refused_and_names_the_node) {
  BOOST_TEST(refusal(text_frame("", {})).find("node b") != std::string::npos);
  for (const auto& f :
       {text_frame("call", {}), text_frame("call", {"{}", "{}"}), text_frame("reply", {"{}"}), text_frame("calls", {"{}"}),
        text_frame("call", {""}), text_frame("call", {"[]"}), text_frame("call", {"{"}), text_frame("call", {"{}"}),
        text_frame("reply", {"{}", "{}"}), text_frame("call", {std::string(100, '[')})})
    BOOST_TEST(refusal(f) != "taken", f.head);
}

BOOST_AUTO_TEST_CASE(a_call_of_another_version_or_with_wrong_types_is_refused) {
  const auto with = [](const char* key, json value) {
    auto doc = call_document();
    doc[key] = std::move(value);
    return refusal(text_frame("call", {doc.dump()}));
  };
  BOOST_TEST(with("limit", 5) == "taken");
  BOOST_TEST(with("more", 5) == "taken", "a newer version may add keys");
  const int last = static_cast<int>(admin_call::method::maintain);
  BOOST_TEST(with("call", last) == "taken");
  BOOST_TEST(with("call", last + 1).find("does not know") != std::string::npos);
  BOOST_TEST(with("call", -1).find("does not know") != std::string::npos);
  BOOST_TEST(with("call", static_cast<int>(admin_call::method::apply)).find("applied at the node") != std::string::npos);
  BOOST_TEST(with("id", "seven") != "taken");
  BOOST_TEST(with("pipeline", 7) != "taken");
  BOOST_TEST(with("truncate", "yes") != "taken");
  const auto whole = call_document(); // named: items() keeps no temporary alive
  for (const auto& [key, value] : whole.items()) {
    auto doc = whole;
    doc.erase(key);
    BOOST_TEST(refusal(text_frame("call", {doc.dump()})) != "taken", key);
  }
}

BOOST_AUTO_TEST_CASE(random_damage_never_gets_through_as_something_else_than_a_refusal_or_a_call) {
  const char* given = std::getenv("MILLRACE_SEED");
  const std::uint64_t seed = given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::cout << "MILLRACE_SEED=" << seed << std::endl;
  std::mt19937_64 random(seed);
  admin_call c;
  c.pipeline = "orders";
  const std::string text(*encode_call(1, c).parts[0]);
  std::size_t refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    auto damaged = text;
    for (auto n = 1 + random() % 4; n > 0; --n) damaged[random() % damaged.size()] = static_cast<char>(random());
    if (random() % 4 == 0) damaged.resize(random() % damaged.size());
    const auto r = decode_routed("b", text_frame("call", {damaged}));
    if (!r)
      ++refused;
    else
      BOOST_TEST((r.value().call.what <= admin_call::method::maintain && r.value().call.what != admin_call::method::apply));
  }
  BOOST_TEST(refused > 10'000u);
}

BOOST_AUTO_TEST_SUITE_END()
