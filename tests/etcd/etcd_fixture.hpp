#pragma once
// A catalog on an etcd of the tests' own, below a prefix of its own.

#include "storage/etcd/etcd_catalog.hpp"
#include "tests/support/etcd_server.hpp"
#include "tests/unit/storage/storage_fixture.hpp"

#include <mutex>

namespace millrace::storage::test {

/// One for all cases that do no harm to it.
inline testing::etcd_server& shared_etcd() {
  static testing::etcd_server server;
  return server;
}

inline etcd_options options_for(const testing::etcd_server& server) {
  static std::atomic<int> count{0};
  etcd_options o;
  o.endpoints = server.endpoints();
  o.prefix = "/millrace/case" + std::to_string(++count);
  o.log = [](const std::string& line) { BOOST_TEST_MESSAGE(line); };
  return o;
}

struct on_etcd {
  std::shared_ptr<etcd_catalog> made;
  on_etcd() = default;
  explicit on_etcd(const testing::etcd_server& server) { made = must(etcd_catalog::open(options_for(server))); }
  catalog& open() {
    if (!made) made = must(etcd_catalog::open(options_for(shared_etcd())));
    return *made;
  }
};

} // namespace millrace::storage::test
