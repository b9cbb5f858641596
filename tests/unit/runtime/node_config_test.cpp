#include "runtime/config/node_config.hpp"

#include <boost/test/unit_test.hpp>

using namespace millrace::runtime::config;

namespace {
parsed_node_config parse(const std::string& text) { return parse_node_config(text, "node.yaml"); }
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
} // namespace

BOOST_AUTO_TEST_SUITE(node_config)

BOOST_AUTO_TEST_CASE(every_key_but_the_name_has_a_default) {
  auto p = parse("node: a\n");
  BOOST_TEST(to_text(p.mistakes) == "");
  BOOST_TEST(p.config.name == "a");
  BOOST_TEST(p.config.data_dir == "./millrace-data");
  BOOST_TEST(p.config.admin_socket == "./millrace-data/admin.sock");
  BOOST_TEST(p.config.http_listen == "127.0.0.1:7071");
  BOOST_TEST(p.config.limits.memory_bytes == 1u << 30);
  BOOST_TEST(p.config.limits.record_bytes == 16u << 20);
  BOOST_TEST(p.config.limits.body_bytes == 64u << 20);
  BOOST_TEST(p.config.limits.workers >= 1u);
  BOOST_TEST(p.config.disk_reserve_bytes == 0u);
  BOOST_TEST(p.config.log_level == "info");
  BOOST_TEST(!p.config.log_json);
}

BOOST_AUTO_TEST_CASE(everything_that_can_be_said_is_read) {
  auto p = parse("node: b\ndata_dir: /var/lib/millrace\nadmin: { socket: /run/millrace/a.sock }\nhttp: { listen: \"[::1]:0\" }\n"
                 "limits: { memory: 512MiB, workers: 3, record: 1MiB, body: 2MiB, disk_reserve: 10GiB }\nlog: { level: debug, "
                 "format: json }\n");
  BOOST_TEST(to_text(p.mistakes) == "");
  BOOST_TEST(p.config.admin_socket == "/run/millrace/a.sock");
  BOOST_TEST(p.config.http_listen == "[::1]:0");
  BOOST_TEST(p.config.limits.workers == 3u);
  BOOST_TEST(p.config.disk_reserve_bytes == 10ull << 30);
  BOOST_TEST(p.config.log_json);
  BOOST_TEST(parse("node: b\ndata_dir: /d\n").config.admin_socket == "/d/admin.sock");
}

BOOST_AUTO_TEST_CASE(all_mistakes_come_at_once_with_their_places) {
  auto p = parse("nod: a\nhttp: { listen: 7071 }\nlimits: { memory: 1GB, body: 1 }\nlog: { level: loud }\nadmin: { listen: "
                 "\"0.0.0.0:7070\" }\n");
  auto text = to_text(p.mistakes);
  BOOST_TEST(contains(text, "node.yaml:1:1: unknown key 'nod'"));
  BOOST_TEST(contains(text, "key 'node' is missing"));
  BOOST_TEST(contains(text, "node.yaml:2:17: http.listen is '7071'; expected HOST:PORT"));
  BOOST_TEST(contains(text, "node.yaml:3:19: limits.memory is '1GB'; expected a size"));
  BOOST_TEST(contains(text, "limits.body is '1'; expected 1.0 KiB to 512.0 MiB"));
  BOOST_TEST(contains(text, "log.level is 'loud'; expected trace, debug, info, warn or error"));
  BOOST_TEST(contains(text, "admin.listen is not available in this version"));
  BOOST_TEST(p.mistakes.size() == 7u, text);
}

BOOST_AUTO_TEST_CASE(a_socket_path_that_the_system_cannot_hold_is_refused) {
  auto p = parse("node: a\nadmin: { socket: /" + std::string(120, 's') + " }\n");
  BOOST_TEST(contains(to_text(p.mistakes), "expected at most 107"));
}

BOOST_AUTO_TEST_SUITE_END()
