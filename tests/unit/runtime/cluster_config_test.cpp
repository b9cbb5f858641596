// The `cluster` section of a node's configuration, and what a node tells others of itself because of it.
#include "runtime/cluster/cluster_runtime.hpp"
#include "runtime/config/node_config.hpp"

#include <boost/test/unit_test.hpp>

using namespace millrace::runtime;
using namespace millrace::runtime::config;

namespace {

parsed_node_config parse(const std::string& cluster, const std::string& more = "") {
  return parse_node_config("node: a\n" + more + "cluster: " + cluster + "\n", "node.yaml");
}
const std::string etcd = "etcd: { endpoints: [\"http://10.0.0.1:2379\"] }";
const std::string link_text = "link: { listen: \"10.0.0.11:7072\", key: a.key, peers: peers }";
std::string all(const std::string& more = "") {
  return "{ id: prod, " + etcd + ", " + link_text + (more.empty() ? "" : ", " + more) + " }";
}

/// Fails unless there is exactly one mistake and it says so.
void only(const parsed_node_config& p, const std::string& expected) {
  const auto text = to_text(p.mistakes);
  BOOST_TEST(p.mistakes.size() == 1u, text);
  BOOST_TEST(text.find(expected) != std::string::npos, "expected '" << expected << "', found: " << text);
}

} // namespace

BOOST_AUTO_TEST_SUITE(cluster_config)

BOOST_AUTO_TEST_CASE(what_a_cluster_needs_is_enough) {
  const auto p = parse(all());
  BOOST_TEST_REQUIRE(to_text(p.mistakes) == "");
  const auto& c = p.config.cluster.value();
  BOOST_TEST(c.id == "prod");
  BOOST_TEST(c.etcd_endpoints == std::vector<std::string>{"http://10.0.0.1:2379"});
  BOOST_TEST(c.listen == "10.0.0.11:7072");
  BOOST_TEST(c.advertise == "10.0.0.11:7072");
  BOOST_TEST(c.key_file.filename() == "a.key");
  BOOST_TEST(c.lease.count() == 5000);
  BOOST_TEST(c.labels.empty());
  BOOST_TEST(!parse_node_config("node: a\n", "node.yaml").config.cluster.has_value());
}

BOOST_AUTO_TEST_CASE(everything_that_can_be_said_of_a_cluster_is_read) {
  const auto p = parse(
      "{ id: prod, etcd: { endpoints: [\"https://e1:2379\", \"https://[fd00::2]:2379\"], tls: { ca: /e/ca, cert: /e/cert, key: "
      "/e/key }, user: m, password: p }, link: { listen: \"0.0.0.0:7072\", advertise: \"10.0.0.11:17072\", key: /e/a.key, "
      "peers: /e/peers }, lease: 3s, labels: { zone: rack-1 } }");
  BOOST_TEST_REQUIRE(to_text(p.mistakes) == "");
  const auto& c = p.config.cluster.value();
  BOOST_TEST(c.etcd_endpoints.size() == 2u);
  BOOST_TEST(c.etcd_ca == "/e/ca");
  BOOST_TEST(c.etcd_cert == "/e/cert");
  BOOST_TEST(c.etcd_key == "/e/key");
  BOOST_TEST(c.etcd_user == "m");
  BOOST_TEST(c.etcd_password == "p");
  BOOST_TEST(c.advertise == "10.0.0.11:17072");
  BOOST_TEST(c.lease.count() == 3000);
  BOOST_TEST(c.labels.at("zone") == "rack-1");
}

BOOST_AUTO_TEST_CASE(what_is_missing_is_named) {
  const auto text = to_text(parse("{ }").mistakes);
  for (const auto* key : {"'id'", "'etcd'", "'link'"}) BOOST_TEST(text.find(key) != std::string::npos, key << " in " << text);
  const auto inner = to_text(parse("{ id: prod, etcd: { }, link: { } }").mistakes);
  for (const auto* key : {"'endpoints'", "'listen'", "'key'", "'peers'"})
    BOOST_TEST(inner.find(key) != std::string::npos, key << " in " << inner);
}

BOOST_AUTO_TEST_CASE(each_mistake_is_found_alone) {
  only(parse("{ id: \"two words\", " + etcd + ", " + link_text + " }"), "cluster.id is 'two words'");
  only(parse("{ id: prod, etcd: { endpoints: [\"10.0.0.1:2379\"] }, " + link_text + " }"),
       "expected URLs such as http://10.0.0.1:2379");
  only(parse("{ id: prod, etcd: { endpoints: [\"http://10.0.0.1\"] }, " + link_text + " }"), "expected URLs such as");
  only(parse("{ id: prod, etcd: { endpoints: [\"http://e:2379\"], tls: { cert: /c } }, " + link_text + " }"),
       "one of cert and key");
  only(parse("{ id: prod, etcd: { endpoints: [\"http://e:2379\"], tsl: { } }, " + link_text + " }"), "unknown key 'tsl'");
  only(parse("{ id: prod, " + etcd + ", link: { listen: \"7072\", key: k, peers: p } }"), "cluster.link.listen is '7072'");
  only(parse("{ id: prod, " + etcd + ", link: { listen: \"10.0.0.1:0\", key: k, peers: p } }"), "expected HOST:PORT");
  only(parse(all("lease: 10ms")), "cluster.lease");
  only(parse(all("labels: rack-1")), "expected a mapping such as { zone: rack-1 }");
  only(parse(all("replicas: 3")), "unknown key 'replicas'");
}

BOOST_AUTO_TEST_CASE(an_address_that_no_other_host_can_reach_is_not_told_to_others) {
  only(parse("{ id: prod, " + etcd + ", link: { listen: \"0.0.0.0:7072\", key: k, peers: p } }"),
       "no place that another host can reach");
  only(parse("{ id: prod, " + etcd + ", link: { listen: \"10.0.0.1:7072\", advertise: \"[::]:7072\", key: k, peers: p } }"),
       "no place that another host can reach");
  only(parse(all(), "http: { advertise: \"0.0.0.0:7071\" }\n"), "http.advertise");

  const auto told = [](const std::string& http) {
    const auto p = parse(all(), http);
    BOOST_TEST_REQUIRE(to_text(p.mistakes) == "");
    return millrace::runtime::cluster::http_address(p.config);
  };
  BOOST_TEST(told("") == "", "the default listens on loopback");
  BOOST_TEST(told("http: { listen: none }\n") == "");
  BOOST_TEST(told("http: { listen: \"10.0.0.11:0\" }\n") == "");
  BOOST_TEST(told("http: { listen: \"localhost:7071\" }\n") == "");
  BOOST_TEST(told("http: { listen: \"10.0.0.99:7071\" }\n") == "10.0.0.99:7071");
  BOOST_TEST(told("http: { listen: \"0.0.0.0:7071\" }\n") == "10.0.0.11:7071");
  BOOST_TEST(told("http: { listen: \"127.0.0.1:7071\", advertise: \"push.example:80\" }\n") == "push.example:80");
}

BOOST_AUTO_TEST_SUITE_END()
