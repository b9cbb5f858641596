// The suite for every catalog, against the embedded one; and what is its own.
#include "tests/unit/storage/storage_fixture.hpp"

#include <boost/mpl/list.hpp>

using namespace millrace::storage;
using namespace millrace::storage::test;

namespace {

struct embedded : store_fixture {
  embedded() { must(try_open()); }
  catalog& open() { return store->catalog(); }
};
using catalogs = boost::mpl::list<embedded>;

} // namespace

#include "tests/unit/storage/catalog_suite.hpp"

BOOST_AUTO_TEST_SUITE(embedded_catalog)

BOOST_AUTO_TEST_CASE(values_revisions_and_history_survive_a_restart_and_leases_do_not) {
  embedded e;
  const auto lease = must(e.store->catalog().grant_lease(std::chrono::hours(1)));
  must(e.store->catalog().commit({}, {{"node/a", "1", lease}}));
  const auto revision = must(e.store->catalog().commit({}, {{"p/1", "a", 0}}));
  e.close();
  must(e.try_open());
  auto& c = e.store->catalog();
  BOOST_TEST(!must(c.get("node/a")));
  BOOST_TEST(must(c.get("p/1"))->mod_revision == revision);
  BOOST_TEST(must(c.revision()) == revision + 1); // the end of the lease
  must_fail(c.keep_alive(lease), errc::not_found);
  seen_changes seen;
  auto watch = must(c.watch("", 0, seen.watcher(), {}));
  BOOST_REQUIRE(eventually([&] { return seen.size() == 3; }));
  BOOST_TEST((seen.list == strings{"node/a=1", "p/1=a", "node/a=-"}));
}

BOOST_AUTO_TEST_SUITE_END()
