#include "runtime/admin/admin_client.hpp"
#include "runtime/admin/admin_server.hpp"
#include "runtime/admin/unix_socket.hpp"

#include "support.hpp"

#include <sys/stat.h>
#include <sys/un.h>

#include <boost/test/unit_test.hpp>

#include <fstream>

using namespace millrace;
using namespace millrace::runtime::admin;
using method = actors::admin_call::method;

namespace {

struct fixture {
  test::temporary_folder folder;
  test::fake_node node;
  admin_server_options options;
  std::unique_ptr<admin_server> server;

  fixture() { options.socket = (folder.path / "admin.sock").string(); }
  void start() {
    auto made = admin_server::start(node, options);
    BOOST_REQUIRE_MESSAGE(made.has_value(), (made.has_value() ? std::string() : made.error().message));
    server = std::move(made).value();
  }
  std::unique_ptr<admin_client> client(const std::string& token = "") {
    auto made = admin_client::connect(options.socket, token, std::chrono::seconds{120});
    BOOST_REQUIRE_MESSAGE(made.has_value(), (made.has_value() ? std::string() : made.error().message));
    return std::move(made).value();
  }
};

actors::admin_call call_of(method what) {
  actors::admin_call call;
  call.what = what;
  call.pipeline = "orders";
  return call;
}

int raw_connection(const std::string& path) {
  int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) throw std::runtime_error("cannot connect");
  return fd;
}

/// True once the server has closed this connection.
bool is_closed(int fd) {
  pollfd p{fd, POLLIN, 0};
  char byte;
  return ::poll(&p, 1, 0) > 0 && ::recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

constexpr const char* good_spec = "pipeline: orders\nsource: { type: file, path: in.ndjson }\nloads: [{ name: w, mode: append, "
                                  "destination: { type: sqlite, path: x.db, table: t } }]\n";

} // namespace

BOOST_FIXTURE_TEST_SUITE(admin, fixture)

BOOST_AUTO_TEST_CASE(every_call_arrives_with_its_arguments) {
  start();
  actors::admin_call seen;
  node.on_call = [&](const actors::admin_call& c) {
    seen = c;
    return test::fake_node::document(R"({"n": 9007199254740993})");
  };
  auto c = client();
  for (auto what : {method::list, method::show, method::status, method::log_info, method::actors, method::cluster, method::pause,
                    method::resume, method::remove}) {
    auto reply = c->call(call_of(what));
    BOOST_TEST(reply.ok);
    BOOST_TEST(reply.document == R"({"n": 9007199254740993})");
    BOOST_TEST((seen.what == what));
    if (what != method::list && what != method::cluster) BOOST_TEST(seen.pipeline == "orders");
  }
  auto call = call_of(method::log_read);
  call.partition = 3, call.from = "2024-05-01", call.limit = 7, call.wait_ms = 11;
  BOOST_TEST(c->call(call).ok);
  BOOST_TEST((seen.partition == 3 && seen.from == "2024-05-01" && seen.limit == 7 && seen.wait_ms == 11));
  call = call_of(method::rewind);
  call.load = "w", call.from = "start", call.truncate = true;
  BOOST_TEST(c->call(call).ok);
  BOOST_TEST((seen.load == "w" && seen.from == "start" && seen.truncate));
  call = call_of(method::redrive);
  call.filter = R"({"all":true})", call.force = true;
  BOOST_TEST(c->call(call).ok);
  BOOST_TEST((seen.filter == R"({"all":true})" && seen.force));
  for (auto what : {method::discard, method::dead_letters}) {
    call.what = what;
    BOOST_TEST(c->call(call).ok);
    BOOST_TEST((seen.what == what && seen.filter == R"({"all":true})"));
  }
  call = call_of(method::kill_actor);
  call.name = "orders/writer";
  BOOST_TEST(c->call(call).ok);
  BOOST_TEST(seen.name == "orders/writer");
}

BOOST_AUTO_TEST_CASE(a_refusal_comes_back_as_the_node_said_it) {
  start();
  node.on_call = [](const actors::admin_call&) { return test::fake_node::error("not_found", "no pipeline orders"); };
  auto reply = client()->call(call_of(method::show));
  BOOST_TEST(!reply.ok);
  BOOST_TEST(reply.code == "not_found");
  BOOST_TEST(reply.message == "no pipeline orders");
}

BOOST_AUTO_TEST_CASE(apply_sends_parsed_specs_or_every_mistake) {
  start();
  std::vector<actors::pipeline_spec_ptr> seen;
  node.on_call = [&](const actors::admin_call& c) {
    seen = c.specs;
    return test::fake_node::document("[]");
  };
  auto c = client();
  BOOST_TEST(c->apply({{"a.yaml", "/specs", good_spec}}).ok);
  BOOST_REQUIRE(seen.size() == 1u);
  BOOST_TEST(seen[0]->source.path == "/specs/in.ndjson");
  BOOST_TEST(seen[0]->text == good_spec);
  seen.clear();
  auto reply = c->apply({{"a.yaml", "/specs", good_spec}, {"b.yaml", "/specs", "pipeline: b\nsourc: 1\n"}});
  BOOST_TEST(reply.code == "invalid");
  BOOST_TEST(reply.message.find("b.yaml:2:1: unknown key 'sourc'") != std::string::npos);
  BOOST_TEST(reply.detail.find("\"line\":2") != std::string::npos);
  BOOST_TEST(seen.empty()); // all or none
  BOOST_TEST(c->apply({{"a.yaml", "specs", good_spec}}).code == "invalid");
}

BOOST_AUTO_TEST_CASE(an_answer_of_megabytes_arrives_whole) {
  start();
  node.on_call = [](const actors::admin_call&) { return test::fake_node::document("\"" + std::string(24u << 20, 'x') + "\""); };
  auto reply = client()->call(call_of(method::dead_letters));
  BOOST_TEST(reply.ok, reply.code << ": " << reply.message);
  BOOST_TEST(reply.document.size() == (24u << 20) + 2);
}

BOOST_AUTO_TEST_CASE(a_request_above_the_limit_ends_its_connection_only) {
  options.message_bytes_max = 1u << 20;
  start();
  int other = raw_connection(options.socket);
  auto reply = client()->apply({{"a.yaml", "/specs", std::string(4u << 20, '#')}});
  BOOST_TEST(!reply.ok);
  BOOST_TEST(!is_closed(other));
  ::close(other);
  BOOST_TEST(client()->call(call_of(method::list)).ok);
}

BOOST_AUTO_TEST_CASE(a_token_without_tokens_is_refused) {
  start();
  auto made = admin_client::connect(options.socket, "secret");
  BOOST_REQUIRE(!made);
  BOOST_TEST(actors::is(made.error(), actors::errc::refused));
}

BOOST_AUTO_TEST_CASE(the_socket_is_for_its_owner_and_goes_at_the_end) {
  start();
  struct stat found {};
  BOOST_REQUIRE(::stat(options.socket.c_str(), &found) == 0);
  BOOST_TEST((found.st_mode & 0777) == 0600u);
  server.reset();
  BOOST_TEST(!std::filesystem::exists(options.socket));
}

BOOST_AUTO_TEST_CASE(a_stale_socket_is_replaced_a_live_one_and_a_file_are_not) {
  int dead = listen_unix(options.socket).value();
  ::close(dead);
  start();
  BOOST_TEST(client()->call(call_of(method::list)).ok);
  auto second = admin_server::start(node, options);
  BOOST_REQUIRE(!second);
  BOOST_TEST(second.error().message.find("another process answers") != std::string::npos);
  BOOST_TEST(client()->call(call_of(method::list)).ok); // the first is unharmed
  auto other = options;
  other.socket = (folder.path / "file").string();
  std::ofstream(other.socket) << "precious";
  BOOST_TEST(!admin_server::start(node, other));
  BOOST_TEST(std::filesystem::file_size(other.socket) == 8u);
  other.socket = "/tmp/" + std::string(120, 'x');
  auto longer = admin_server::start(node, other);
  BOOST_REQUIRE(!longer);
  BOOST_TEST(longer.error().message.find("107") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(nobody_there_is_said_with_the_path) {
  auto made = admin_client::connect(options.socket, "");
  BOOST_REQUIRE(!made);
  BOOST_TEST(actors::is(made.error(), actors::errc::unavailable));
  BOOST_TEST(made.error().message.find(options.socket) != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_node_that_hangs_times_the_client_out) {
  start();
  auto made = admin_client::connect(options.socket, "", std::chrono::milliseconds{150});
  BOOST_REQUIRE(made);
  node.silent = true;
  BOOST_TEST(made.value()->call(call_of(method::list)).code == "unreachable");
}

BOOST_AUTO_TEST_CASE(a_server_that_stops_under_a_call_is_noticed) {
  start();
  auto c = client();
  node.silent = true;
  std::thread stopper([&] { server.reset(); });
  BOOST_TEST(c->call(call_of(method::list)).code == "unreachable");
  stopper.join();
}

BOOST_AUTO_TEST_CASE(connections_are_bounded_and_places_come_back) {
  options.connections_max = 3;
  start();
  std::vector<int> open;
  for (int i = 0; i < 3; ++i) open.push_back(raw_connection(options.socket));
  int refused = raw_connection(options.socket);
  BOOST_TEST(test::eventually([&] { return is_closed(refused); }));
  for (int fd : open) {
    BOOST_TEST(!is_closed(fd));
    ::close(fd);
  }
  ::close(refused);
  BOOST_TEST(test::eventually([&] {
    auto again = admin_client::connect(options.socket, "", std::chrono::seconds{1});
    return again && again.value()->call(call_of(method::list)).ok;
  }));
}

BOOST_AUTO_TEST_CASE(an_idle_connection_ends_one_with_a_call_under_way_does_not) {
  options.idle = std::chrono::milliseconds{1000}; // a client that is scheduled late must not look idle
  start();
  int idle = raw_connection(options.socket);
  std::atomic<bool> release{false};
  node.on_call = [&](const actors::admin_call&) {
    test::eventually([&] { return release.load(); });
    return test::fake_node::document("[]");
  };
  std::thread waiting([&] { BOOST_TEST(client()->call(call_of(method::list)).ok); });
  BOOST_TEST(test::eventually([&] { return is_closed(idle); }));
  ::close(idle);
  release = true;
  waiting.join();
}

BOOST_AUTO_TEST_CASE(garbage_ends_its_connection_only) {
  start();
  int fd = raw_connection(options.socket);
  std::string garbage(4096, '\xff');
  BOOST_TEST(::send(fd, garbage.data(), garbage.size(), MSG_NOSIGNAL) > 0);
  BOOST_TEST(test::eventually([&] { return is_closed(fd); }));
  ::close(fd);
  BOOST_TEST(client()->call(call_of(method::list)).ok);
}

BOOST_AUTO_TEST_SUITE_END()
