// Commits whose answers get lost: done once, or not, and known to be so.
#include "tests/etcd/etcd_fixture.hpp"
#include "tests/etcd/http_proxy.hpp"

#include <random>

using namespace millrace::storage;
using namespace millrace::storage::test;
using millrace::testing::http_proxy;
using fate = http_proxy::fate;

namespace {

int port_of(const std::string& endpoint) { return std::atoi(endpoint.c_str() + endpoint.rfind(':') + 1); }

struct through_a_proxy {
  http_proxy proxy{port_of(shared_etcd().endpoint())};
  etcd_options options = options_for(shared_etcd());
  std::shared_ptr<etcd_catalog> direct = must(etcd_catalog::open(options));
  std::shared_ptr<etcd_catalog> c;
  through_a_proxy() {
    auto o = options;
    o.endpoints = {proxy.endpoint()};
    o.request_timeout = std::chrono::milliseconds(500);
    c = must(etcd_catalog::open(o));
    must(c->commit({}, {{"warm", "", 0}}));
  }
  /// The next transactions' fates, then all pass.
  void fates(std::vector<fate> list) {
    auto left = std::make_shared<std::vector<fate>>(std::move(list));
    proxy.set([left](const std::string& line, const std::string&) {
      if (line.find("/v3/kv/txn") == line.npos || left->empty()) return fate::pass;
      const auto f = left->front();
      left->erase(left->begin());
      return f;
    });
  }
};

} // namespace

BOOST_AUTO_TEST_SUITE(transaction)

BOOST_AUTO_TEST_CASE(a_commit_whose_answer_is_lost_is_known_to_be_done) {
  for (const auto f : {fate::lose_answer, fate::swallow}) {
    through_a_proxy t;
    t.fates({f});
    const auto revision = must(t.c->commit({{"a", 0}}, {{"a", "1", 0}}));
    const auto a = must(t.direct->get("a"));
    BOOST_REQUIRE(a);
    BOOST_TEST(a->mod_revision == revision); // its own revision, not that of the repeat
    BOOST_TEST(a->create_revision == revision);
    t.fates({f});
    const auto second = must(t.c->commit({{"a", revision}}, {{"a", "2", 0}}));
    BOOST_TEST(second == must(t.direct->get("a"))->mod_revision);
  }
}

BOOST_AUTO_TEST_CASE(a_commit_that_never_arrived_is_repeated) {
  through_a_proxy t;
  t.fates({fate::lose_request, fate::lose_request});
  const auto revision = must(t.c->commit({{"a", 0}}, {{"a", "1", 0}}));
  BOOST_TEST(must(t.direct->get("a"))->mod_revision == revision);
}

BOOST_AUTO_TEST_CASE(ours_is_told_from_an_equal_one_of_somebody_else) {
  through_a_proxy t;
  // Ours never arrives; somebody else writes the very same value. Then ours has lost.
  t.proxy.set([&, first = true](const std::string& line, const std::string&) mutable {
    if (line.find("/v3/kv/txn") == line.npos || !std::exchange(first, false)) return fate::pass;
    (void)t.direct->commit({{"lock", 0}}, {{"lock", "same", 0}});
    return fate::lose_request;
  });
  must_fail(t.c->commit({{"lock", 0}}, {{"lock", "same", 0}}), errc::conflict, {"lock"});
}

BOOST_AUTO_TEST_CASE(ours_is_known_to_be_done_though_somebody_changed_it_since) {
  through_a_proxy t;
  std::atomic<int> txns{0};
  t.proxy.set([&](const std::string& line, const std::string&) {
    if (line.find("/v3/kv/txn") == line.npos) return fate::pass;
    if (++txns == 1) return fate::lose_answer;
    (void)t.direct->commit({}, {{"a", "theirs", 0}}); // between ours and its repeat
    return fate::pass;
  });
  const auto revision = must(t.c->commit({{"a", 0}}, {{"a", "ours", 0}}));
  const auto a = must(t.direct->get("a"));
  BOOST_TEST(a->value == "theirs");
  BOOST_TEST(a->create_revision == revision);
}

BOOST_AUTO_TEST_CASE(a_late_original_does_no_harm) {
  through_a_proxy t;
  t.fates({fate::hold_request});
  must(t.c->commit({}, {{"a", "1", 0}})); // without guards: nothing of its own stops a copy
  must(t.direct->commit({}, {{"a", "2", 0}}));
  BOOST_TEST(t.proxy.release() == 1);
  BOOST_TEST(must(t.direct->get("a"))->value == "2");
  // One that lost by a guard of absence, which would hold again later.
  must(t.direct->commit({}, {{"b", "theirs", 0}}));
  t.fates({fate::hold_request});
  must_fail(t.c->commit({{"b", 0}}, {{"b", "ours", 0}}), errc::conflict);
  must(t.direct->commit({}, {{"b", std::nullopt, 0}}));
  BOOST_TEST(t.proxy.release() == 1);
  BOOST_TEST(!must(t.direct->get("b")));
}

BOOST_AUTO_TEST_CASE(one_given_up_is_unknown_and_the_next_one_shuts_it_out) {
  through_a_proxy t;
  t.proxy.set([first = true](const std::string& line, const std::string&) mutable {
    if (line.find("/v3/kv/txn") == line.npos) return fate::pass;
    return std::exchange(first, false) ? fate::hold_request : fate::lose_request;
  });
  must_fail(t.c->commit({{"a", 0}}, {{"a", "late", 0}}), errc::unknown_outcome, {t.proxy.endpoint()});
  t.fates({});
  must(t.c->commit({}, {{"other", "1", 0}}));
  t.proxy.release();
  BOOST_TEST(!must(t.direct->get("a")));
  must(t.c->commit({}, {{"other", "2", 0}}));
  // Given up after it was done: the next commit of the same catalog is not confused by it.
  t.proxy.set([](const std::string& line, const std::string&) {
    return line.find("/v3/kv/txn") == line.npos ? fate::pass : fate::swallow;
  });
  must_fail(t.c->commit({{"a", 0}}, {{"a", "done", 0}}), errc::unknown_outcome);
  t.fates({});
  const auto a = must(t.c->get("a"));
  BOOST_REQUIRE(a);
  must_fail(t.c->commit({{"a", 0}}, {{"a", "again", 0}}), errc::conflict);
  must(t.c->commit({{"a", a->mod_revision}}, {{"a", "again", 0}}));
}

BOOST_AUTO_TEST_CASE(a_lost_answer_before_the_lease_ends_is_still_known) {
  through_a_proxy t;
  const auto lease = must(t.c->grant_lease(std::chrono::seconds(30)));
  t.proxy.set([&, first = true](const std::string& line, const std::string&) mutable {
    if (line.find("/v3/kv/txn") == line.npos) return fate::pass;
    if (std::exchange(first, false)) return fate::lose_answer;
    (void)t.direct->revoke(lease); // the repeat meets a lease that is gone
    return fate::pass;
  });
  BOOST_TEST(must(t.c->commit({{"a", 0}}, {{"a", "1", lease}})) > 0u);
  must_fail(t.c->commit({{"a", 0}}, {{"a", "1", lease}}), errc::not_found);
}

BOOST_AUTO_TEST_CASE(counters_are_exact_whatever_is_lost) {
  std::mt19937_64 random(seed());
  through_a_proxy t;
  must(t.direct->commit({}, {{"n", "0", 0}}));
  t.proxy.set([&](const std::string& line, const std::string&) {
    if (line.find("/v3/kv/txn") == line.npos) return fate::pass;
    switch (random() % 4) {
    case 0:
      return fate::lose_answer;
    case 1:
      return fate::lose_request;
    default:
      return fate::pass;
    }
  });
  int done = 0;
  for (int i = 0; i < 200; ++i) {
    const auto n = must(t.direct->get("n"));
    must(t.c->commit({{"n", n->mod_revision}}, {{"n", std::to_string(std::stoi(n->value) + 1), 0}}));
    ++done;
    BOOST_REQUIRE_EQUAL(must(t.direct->get("n"))->value, std::to_string(done));
  }
}

BOOST_AUTO_TEST_SUITE_END()
