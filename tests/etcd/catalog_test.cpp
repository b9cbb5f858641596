// The suite for every catalog, against etcd.
#include "tests/etcd/etcd_fixture.hpp"

#include <boost/mpl/list.hpp>

using namespace millrace::storage;
using namespace millrace::storage::test;

namespace {
using catalogs = boost::mpl::list<on_etcd>;
}

#include "tests/unit/storage/catalog_suite.hpp"
