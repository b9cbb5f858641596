// A cluster as its operators use it: any node answers, nodes are drained, emptied and replaced, monitors see who does what.

#include "tests/integration/support/loopback_cluster.hpp"
#include "tests/support/postgres_server.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <csignal>
#include <future>
#include <map>
#include <mutex>
#include <set>
#include <thread>

namespace millrace::testing {
namespace {

/// Three nodes and a pipeline between two databases; one row of ten breaks a constraint of the destination.
struct busy_cluster {
  explicit busy_cluster(bool advertised = true) : cluster(3, advertised) {
    postgres.start();
    postgres.create_database("shop");
    postgres.create_database("dw");
    postgres.query("create table orders(id bigint primary key, qty int not null)", "shop");
    postgres.query("create table orders(id bigint primary key, qty int not null check (qty > 0))", "dw");
    insert(1, 100);
    cluster.start();
  }
  void insert(int from, int to) {
    postgres.query("insert into orders select g, g % 10 from generate_series(" + std::to_string(from) + ", " +
                       std::to_string(to) + ") g",
                   "shop");
  }
  std::string spec(const std::string& name = "orders") {
    return "pipeline: " + name + "\nsource: { type: postgres, connection: \"" + postgres.conninfo("shop") +
           "\", tables: [public.orders] }\nloads:\n  - { name: dw, destination: { type: postgres, connection: \"" +
           postgres.conninfo("dw") + "\" } }\n";
  }
  /// Applies it at node a; gives who leads it.
  std::string begin() {
    cluster.node("a").apply("orders", spec());
    return cluster.led("orders", 3);
  }
  std::string rows() { return postgres.query("select count(*) from orders", "dw"); }
  static postgres_server::options logical() {
    postgres_server::options o;
    o.settings = {"wal_level = logical"};
    return o;
  }
  postgres_server postgres{logical()};
  loopback_cluster cluster;
};

std::string said(const run_result& r) { return "status " + std::to_string(r.status) + ": " + r.out + r.err; }
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

} // namespace

BOOST_AUTO_TEST_SUITE(operations)

BOOST_AUTO_TEST_CASE(every_command_works_at_a_node_that_does_not_lead) {
  busy_cluster world;
  const auto leader = world.begin();
  auto& other = world.cluster.other_than(leader);
  other.must({"pipeline", "status", "orders", "--wait", "caught-up", "--timeout", "60s"});
  BOOST_TEST(world.rows() == "90");

  const auto list = other.ask({"pipeline", "list"});
  BOOST_TEST_REQUIRE(list.size() == 1u);
  BOOST_TEST(list.at(0).at("state") == "running", list.dump());
  BOOST_TEST(list.at(0).at("ingested") == 100, list.dump());
  BOOST_TEST(contains(other.must({"pipeline", "show", "orders"}), "public.orders"));
  BOOST_TEST(other.ask({"log", "info", "orders"}).at(0).at("changes") == 100);
  const auto read =
      run({.argv = {binary(), "log", "read", "orders", "--limit", "3", "-o", "json", "--server", other.socket().string()}});
  BOOST_TEST(read.status == 0, said(read));
  BOOST_TEST(contains(read.out, "\"offset\""));

  auto letters = other.dead_letters("orders");
  BOOST_TEST_REQUIRE(letters.size() == 10u);
  const auto id = letters.at(0).at("id").get<std::string>();
  BOOST_TEST(contains(other.must({"dead-letters", "show", "orders", "--id", id}), "qty"));
  BOOST_TEST(other.ask({"dead-letters", "discard", "orders", "--id", id}).dump().find("\"discarded\":1") != std::string::npos);
  world.postgres.query("alter table orders drop constraint orders_qty_check", "dw");
  BOOST_TEST(other.ask({"dead-letters", "redrive", "orders", "--all"}).dump().find("\"redriven\":9") != std::string::npos);
  BOOST_TEST(world.rows() == "99");

  const auto verify = other.cli({"verify", "orders/dw", "--repair"});
  BOOST_TEST(contains(verify.out + verify.err, "equal now"), said(verify));
  other.must({"pipeline", "snapshot", "orders", "public.orders"});
  other.must({"load", "rewind", "orders/dw", "--to", "start"});
  other.must({"top", "--count", "1"});

  other.must({"pipeline", "pause", "orders"});
  // The numbers of a paused pipeline are the leader's too.
  const auto paused = other.ask({"pipeline", "list"});
  BOOST_TEST(paused.at(0).at("state") == "paused");
  BOOST_TEST(paused.at(0).at("ingested").get<int>() >= 100);
  world.insert(101, 110);
  other.must({"pipeline", "resume", "orders"});
  eventually("rows arrive after the resume", [&] { return world.rows() == "110" || world.rows() == "109"; });

  const auto changed = world.spec() + "alerts:\n  - { type: log }\n";
  other.apply("orders", changed);
  other.must({"pipeline", "status", "orders", "--wait", "caught-up", "--timeout", "60s"});
  BOOST_TEST(in(other.status("orders"), "/revision") == 2);

  other.must({"pipeline", "delete", "orders"});
  for (int i = 0; i < 3; ++i)
    eventually("node " + loopback_cluster::name(i) + " knows of the delete", [&] {
      return world.cluster.node(i).ask({"pipeline", "list"}).empty();
    });
  BOOST_TEST(world.postgres.query("select count(*) from pg_replication_slots", "shop") == "0");
  // The same name later is a new pipeline that delivers everything.
  other.apply("orders", world.spec());
  world.cluster.led("orders", 3);
  other.must({"pipeline", "status", "orders", "--wait", "caught-up", "--timeout", "60s"});
  BOOST_TEST(in(other.status("orders"), "/ingested") == 110);
}

BOOST_AUTO_TEST_CASE(actors_of_all_nodes_are_listed_with_the_node_that_runs_them_and_end_where_they_run) {
  busy_cluster world;
  const auto leader = world.begin();
  auto& other = world.cluster.other_than(leader);
  other.must({"pipeline", "status", "orders", "--wait", "caught-up", "--timeout", "60s"});
  std::map<std::string, std::set<std::string>> roles;
  for (const auto& a : other.ask({"actors"})) roles[a.at("node")].insert(a.at("role").get<std::string>());
  BOOST_TEST(roles.size() == 3u);
  for (const auto& [node, has] : roles) {
    BOOST_TEST(has.contains("stage"), node);
    BOOST_TEST(has.contains("ingest") == (node == leader), node);
    BOOST_TEST(has.contains("writer") == (node == leader), node);
  }
  std::set<std::string> of_one;
  for (const auto& a : other.ask({"actors", "orders"})) of_one.insert(a.at("node").get<std::string>());
  BOOST_TEST(of_one.size() == 3u);

  const auto restarts = [&](const std::string& node, const std::string& id) {
    for (const auto& a : other.ask({"actors", "orders"}))
      if (a.at("node") == node && a.at("id") == id) return a.at("restarts").get<int>();
    return -1;
  };
  other.must({"actors", "kill", "orders/ingest"});
  eventually("the leader's ingest starts again", [&] { return restarts(leader, "orders/ingest") == 1; });
  const auto follower = leader == "c" ? "b" : "c";
  other.must({"actors", "kill", std::string(follower) + ":orders/stage"});
  eventually("the follower's stage starts again", [&] { return restarts(follower, "orders/stage") == 1; });
  BOOST_TEST(restarts(leader, "orders/stage") == 0);
  const auto unknown = other.cli({"actors", "kill", "z:orders/stage"});
  BOOST_TEST(contains(unknown.err, "no node 'z' is alive"), said(unknown));
}

BOOST_AUTO_TEST_CASE(a_drained_node_hands_over_and_takes_back_after_undrain) {
  busy_cluster world;
  const auto leader = world.begin();
  auto& other = world.cluster.other_than(leader);
  const auto said_so = other.must({"cluster", "drain", leader});
  BOOST_TEST(contains(said_so, "hands over 1 pipeline that it leads (orders)"), said_so);
  BOOST_TEST(contains(said_so, "millrace cluster status"), said_so);
  std::string next;
  eventually(
      "another node leads",
      [&] {
        next = text_in(world.cluster.partition("orders"), "/leader");
        return !next.empty() && next != leader;
      },
      seconds{20}, [&] { return world.cluster.logs(); });
  BOOST_TEST(world.cluster.node_row(leader).at("draining") == true);
  BOOST_TEST(contains(other.must({"cluster", "status"}), "draining"));
  world.insert(101, 200);
  eventually("rows arrive through the new leader", [&] { return world.rows() == "180"; });

  // Nobody is left for whoever drains last.
  const auto third = std::string("abc").find_first_not_of(leader + next);
  other.must({"cluster", "drain", std::string(1, "abc"[third])});
  const auto refused = other.cli({"cluster", "drain", next});
  BOOST_TEST(refused.status == 1);
  BOOST_TEST(contains(refused.err, "nobody could take over"), said(refused));
  BOOST_TEST(world.cluster.node_row(next).at("draining") == false);

  BOOST_TEST(contains(other.must({"cluster", "undrain", leader}), "takes copies again"));
  BOOST_TEST(contains(other.must({"cluster", "undrain", next}), "was not draining"));
}

BOOST_AUTO_TEST_CASE(a_question_during_a_hand_over_waits_for_the_next_leader) {
  busy_cluster world;
  auto leader = world.begin();
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> answered{0};
  std::mutex mutex;
  std::string unanswered;
  {
    std::vector<std::jthread> operators;
    const std::shared_ptr<void> over(nullptr, [&](void*) { stop = true; }); // also when a wait fails
    for (int i = 0; i < 3; ++i)
      operators.emplace_back([&, i] {
        while (!stop) {
          const auto r = world.cluster.node(i).cli({"dead-letters", "list", "orders", "--limit", "1"});
          if (r.status == 0) ++answered;
          std::lock_guard lock(mutex);
          if (r.status != 0) unanswered += "at node " + loopback_cluster::name(i) + ": " + said(r);
        }
      });
    for (int i = 0; i < 4; ++i) {
      world.cluster.node(i % 3).must({"cluster", "drain", leader});
      eventually(
          "another node leads",
          [&] {
            const auto now = text_in(world.cluster.partition("orders"), "/leader");
            return !now.empty() && now != leader;
          },
          seconds{20}, [&] { return world.cluster.logs(); });
      const auto drained = std::exchange(leader, world.cluster.led("orders", 3));
      world.cluster.node(i % 3).must({"cluster", "undrain", drained});
    }
  }
  BOOST_TEST(answered > 3u);
  BOOST_TEST(unanswered == "");
}

BOOST_AUTO_TEST_CASE(maintenance_of_nodes_that_are_not_there_or_alive_is_refused_with_the_reason) {
  loopback_cluster cluster(2);
  cluster.start();
  auto& a = cluster.node("a");
  for (const auto* action : {"drain", "undrain", "decommission", "keep"}) {
    const auto r = a.cli({"cluster", action, "nobody"});
    BOOST_TEST(r.status == 1);
    BOOST_TEST(contains(r.err, "no node 'nobody' is known; the cluster has: a, b"), said(r));
  }
  BOOST_TEST(contains(a.cli({"cluster", "replace", "b", "a"}).err, "node b is running"));
  BOOST_TEST(contains(a.cli({"cluster", "replace", "b", "b"}).err, "cannot replace itself"));
  BOOST_TEST(a.cli({"cluster", "replace", "b"}).status == 2);
  cluster.node("b").kill9();
  eventually("b is dead to the cluster", [&] { return cluster.node_row("b").at("alive") == false; });
  BOOST_TEST(contains(a.cli({"cluster", "replace", "b", "nobody"}).err, "is not running"));
  const auto replaced = a.must({"cluster", "replace", "b", "a"});
  BOOST_TEST(contains(replaced, "it held no copies"), replaced);
  eventually("b is forgotten", [&] { return cluster.node_row("b").empty(); });
}

BOOST_AUTO_TEST_CASE(a_single_node_says_that_there_is_nothing_to_hand_over) {
  temp_dir dir;
  test_node node(dir / "n");
  node.start();
  const auto r = node.cli({"cluster", "drain", "t"});
  BOOST_TEST(r.status == 1);
  BOOST_TEST(contains(r.err, "not part of a cluster"), said(r));
  const auto status = node.ask({"cluster", "status"});
  BOOST_TEST(status.at("controller") == "t");
}

BOOST_AUTO_TEST_CASE(a_decommissioned_node_empties_and_is_forgotten_once_stopped) {
  busy_cluster world;
  world.begin();
  auto& a = world.cluster.node("a");
  // Without a fourth node it stays, and status says why.
  const auto said_so = a.must({"cluster", "decommission", "c"});
  BOOST_TEST(contains(said_so, "no other node can take orders now"), said_so);
  eventually("the shortage is shown", [&] { return contains(a.must({"cluster", "status"}), "shortage: "); });
  BOOST_TEST(contains(a.must({"cluster", "keep", "c"}), "keeps the copies"));
  eventually("it stays", [&] { return world.cluster.node_row("c").at("leaving") == false; });
  // With two copies wanted there is a place for each.
  a.apply("orders", world.spec() + "log: { replicas: 2 }\n");
  eventually(
      "two copies are left", [&] { return in(world.cluster.partition("orders"), "/replicas").size() == 2; }, seconds{60},
      [&] { return world.cluster.logs(); });
  const auto holder = in(world.cluster.partition("orders"), "/replicas/1").get<std::string>();
  a.must({"cluster", "decommission", holder});
  eventually(
      "its copy has moved",
      [&] {
        const auto p = world.cluster.partition("orders");
        return in(p, "/replicas").size() == 2 && in(p, "/in_sync").size() == 2 &&
               in(p, "/replicas").dump().find(holder) == std::string::npos && !text_in(p, "/leader").empty();
      },
      seconds{60}, [&] { return world.cluster.status().dump(1) + world.cluster.logs(); });
  world.insert(101, 200);
  eventually(
      "rows still arrive", [&] { return world.rows() == "180"; }, seconds{60}, [&] { return world.cluster.logs(); });
  world.cluster.node(holder).terminate();
  const int someone = holder == "a" ? 1 : 0;
  eventually("it is forgotten", [&] { return world.cluster.node_row(holder, someone).empty(); });
}

BOOST_AUTO_TEST_CASE(a_sqlite_destination_pins_its_pipeline_to_the_node_that_it_was_applied_at) {
  loopback_cluster cluster(3);
  cluster.start();
  auto& b = cluster.node("b");
  write_file(b.directory() / "in.ndjson", "{\"id\": 1}\n{\"id\": 2}\n");
  const std::string spec =
      "pipeline: p\nsource: { type: file, path: in.ndjson }\nloads:\n  - { name: l, destination: { type: sqlite, "
      "path: out.db, table: t }, key: [id], schema: { id: { type: int64 } } }\n";
  write_file(b.directory() / "three.yaml", spec + "log: { replicas: 3 }\n");
  const auto refused = b.cli({"pipeline", "apply", "three.yaml"});
  BOOST_TEST(refused.status == 1);
  BOOST_TEST(contains(refused.err,
                      "log.replicas is 3, but load l writes a SQLite file on one node's disk, so no other node could go on"),
             said(refused));
  write_file(b.directory() / "two.yaml", spec + "log: { min_in_sync: 2 }\n");
  const auto never = b.cli({"pipeline", "apply", "two.yaml"});
  BOOST_TEST(contains(never.err, "log.min_in_sync is 2, but there is one copy"), said(never));

  b.apply("p", spec);
  BOOST_TEST(cluster.led("p", 1) == "b");
  const auto p = cluster.partition("p");
  BOOST_TEST(p.at("pinned_to") == "b");
  BOOST_TEST(p.at("replicas") == json::array({"b"}));
  BOOST_TEST(p.at("min_in_sync") == 1);
  cluster.node("a").caught_up("p");
  BOOST_TEST(sqlite_file((b.directory() / "out.db").string()).value("select count(*) from t") == "2");
  const auto stays = cluster.node("a").cli({"cluster", "decommission", "b"});
  BOOST_TEST(contains(stays.err, "cannot move"), said(stays));
  const auto drain = cluster.node("a").cli({"cluster", "drain", "b"});
  BOOST_TEST(contains(drain.err, "nobody could take over"), said(drain));
}

BOOST_AUTO_TEST_CASE(a_log_with_several_copies_is_never_acknowledged_by_one) {
  loopback_cluster cluster(1);
  cluster.start();
  auto& a = cluster.node("a");
  write_file(a.directory() / "p.yaml",
             "pipeline: p\nsource: { type: http }\nlog: { min_in_sync: 1 }\nloads:\n  - { name: l, destination: { "
             "type: postgres, connection: \"host=127.0.0.1\", table: t }, mode: append }\n");
  const auto r = a.cli({"pipeline", "apply", "p.yaml"});
  BOOST_TEST(r.status == 1);
  BOOST_TEST(contains(r.err, "expected at least 2"), said(r));
}

BOOST_AUTO_TEST_CASE(a_push_that_comes_to_the_wrong_node_is_sent_to_the_leader) {
  for (const bool advertised : {true, false}) {
    busy_cluster world(advertised);
    world.cluster.node("a").apply(
        "p", "pipeline: p\nsource: { type: http, token: t0k }\nloads:\n  - { name: l, destination: { type: postgres, "
             "connection: \"" +
                 world.postgres.conninfo("dw") + "\", table: pushed }, mode: append, schema: { id: { type: int64 } } }\n");
    const auto leader = world.cluster.led("p", 3);
    auto& other = world.cluster.other_than(leader);
    const http_headers token{"Authorization: Bearer t0k"};
    const auto path = "/v1/pipelines/p/changes";
    BOOST_TEST(http_post(other.http(path), "{\"id\":1}\n").status == 401, "who may not push need not learn who leads");
    const auto sent = http_post(other.http(path), "{\"id\":1}\n", token);
    if (!advertised) {
      BOOST_TEST(sent.status == 503, sent.body);
      BOOST_TEST(contains(sent.body, "node " + leader + " leads pipeline p"), sent.body);
      continue;
    }
    BOOST_TEST(sent.status == 307, sent.body);
    BOOST_TEST(sent.headers.at("location") == world.cluster.node(leader).http(path));
    eventually("the leader takes it",
               [&] { return http_post(sent.headers.at("location"), "{\"id\":1}\n", token).status == 200; });
    eventually("it arrives", [&] { return world.postgres.query("select count(*) from pushed", "dw") != "0"; });
    BOOST_TEST(http_post(other.http("/v1/pipelines/none/changes"), "{}", token).status == 404);
  }
}

BOOST_AUTO_TEST_CASE(a_push_whose_source_dies_while_followers_hang_is_answered) {
  loopback_cluster cluster(3);
  cluster.start();
  // The destination is not there: only the log works.
  cluster.node("a").apply(
      "p", "pipeline: p\nsource: { type: http }\nloads:\n  - { name: l, destination: { type: postgres, connection: "
           "\"host=127.0.0.1 port=1\", table: t }, mode: append, schema: { id: { type: int64 } } }\n");
  const auto name = cluster.led("p", 3);
  auto& leader = cluster.node(name);
  const auto push = [&leader](int id) {
    return http_post(leader.http("/v1/pipelines/p/changes"), "{\"id\":" + std::to_string(id) + "}\n", {}, seconds{20});
  };
  eventually("the source takes changes", [&] { return push(1).status == 200; });
  const auto end = [&] { return leader.metric("millrace_replica_end_offset", "pipeline=\"p\""); };
  const auto before = end();
  for (int i = 0; i < 3; ++i)
    if (loopback_cluster::name(i) != name) cluster.node(i).process().signal(SIGSTOP);
  auto answer = std::async(std::launch::async, push, 2);
  eventually(
      "it is in the leader's log, and nowhere else", [&] { return end() > before; }, seconds{5});
  leader.must({"actors", "kill", name + ":p/ingest"});
  const auto said = answer.get();
  BOOST_TEST(said.status == 503, said.status << " " << said.body);
  BOOST_TEST(contains(said.body, "send it again"), said.body);
}

BOOST_AUTO_TEST_CASE(metrics_tell_of_copies_links_and_membership_and_count_the_flow_once) {
  busy_cluster world;
  const auto leader = world.begin();
  world.cluster.node("a").must({"pipeline", "status", "orders", "--wait", "caught-up", "--timeout", "60s"});
  int ingested = 0, delivered = 0, leaders = 0, controllers = 0;
  for (int i = 0; i < 3; ++i) {
    auto& n = world.cluster.node(i);
    const bool leads = loopback_cluster::name(i) == leader;
    ingested += n.metric("millrace_ingested_changes_total").has_value();
    delivered += n.metric("millrace_delivered_changes_total").has_value();
    leaders += n.metric("millrace_replica_role", "role=\"leader\"").value_or(0) == 1;
    controllers += n.metric("millrace_controller_active").value_or(0) == 1;
    BOOST_TEST(n.metric("millrace_metrics_invalid_samples").value_or(-1) == 0);
    BOOST_TEST(n.metric("millrace_membership_state", "state=\"member\"").value_or(0) == 1);
    BOOST_TEST(n.metric("millrace_catalog_reachable").value_or(0) == 1);
    BOOST_TEST(n.metric("millrace_replica_end_offset").value_or(0) > 0);
    BOOST_TEST(n.metric("millrace_link_connected").value_or(0) == 1);
    BOOST_TEST(n.metric("millrace_link_bytes_total", "direction=\"sent\"").value_or(0) > 0);
    BOOST_TEST(n.metric("millrace_link_refused_total", "reason=\"unknown_key\"").value_or(-1) == 0);
    BOOST_TEST(n.metric("millrace_replica_lag_changes").has_value() == leads);
    if (leads) BOOST_TEST(n.metric("millrace_in_sync_replicas").value_or(0) == 3);
    BOOST_TEST(http_get(n.http("/readyz")).status == 200, http_get(n.http("/readyz")).body);
    BOOST_TEST(http_get(n.http("/healthz")).status == 200);
  }
  BOOST_TEST(ingested == 1);
  BOOST_TEST(delivered == 1);
  BOOST_TEST(leaders == 1);
  BOOST_TEST(controllers == 1);
}

BOOST_AUTO_TEST_CASE(without_etcd_changes_move_nodes_stay_ready_and_status_says_so) {
  busy_cluster world;
  const auto leader = world.begin();
  auto& n = world.cluster.node(leader);
  n.must({"pipeline", "status", "orders", "--wait", "caught-up", "--timeout", "60s"});
  world.cluster.etcd().freeze(0);
  eventually(
      "status tells that the catalog is away",
      [&] {
        return contains(n.must({"cluster", "status"}), "the catalog is unreachable");
      },
      seconds{30}, [&] { return world.cluster.logs(); });
  world.insert(101, 200);
  eventually("rows arrive", [&] { return world.rows() == "180"; });
  BOOST_TEST(http_get(n.http("/readyz")).status == 200, http_get(n.http("/readyz")).body);
  BOOST_TEST(becomes([&] { return n.metric("millrace_catalog_reachable") == 0.0; }, seconds{20}));
  const auto refused = n.cli({"cluster", "drain", leader});
  BOOST_TEST(refused.status == 1, said(refused));
  world.cluster.etcd().thaw(0);
  eventually(
      "all are members again",
      [&] {
        return !contains(n.must({"cluster", "status"}), "the catalog is");
      },
      seconds{30}, [&] { return world.cluster.logs(); });
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
