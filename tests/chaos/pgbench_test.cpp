// TPC-B on the source while it is read whole and streamed, and the node, the source and the destination are killed at random: all
// tables end equal, and no reader of the destination ever sees half of a transaction.
//
//   pgbench, 4 clients --> source (stop -m immediate) --> node (kill -9) --> destination (kill -9) <-- a reader who adds up
//
// MILLRACE_CHAOS_KILLS, MILLRACE_CHAOS_SCALE (of pgbench: 100,000 accounts each) and MILLRACE_SEED choose how many, how much,
// which.

#include "tests/chaos/workload.hpp"
#include "tests/support/postgres_server.hpp"

#include <atomic>
#include <csignal>
#include <iostream>
#include <thread>

namespace millrace::testing {
namespace {

std::string pgbench_program() {
  for (const auto& e : std::filesystem::directory_iterator("/usr/lib/postgresql"))
    if (auto p = e.path() / "bin/pgbench"; std::filesystem::exists(p)) return p.string();
  throw std::runtime_error("no pgbench; expected /usr/lib/postgresql/*/bin/pgbench");
}

postgres_server::options settings_of(const char* more) {
  postgres_server::options o;
  o.settings = {"wal_level = logical", "max_wal_senders = 10", "shared_buffers = 256MB", "max_wal_size = 2GB", more};
  return o;
}

/// TPC-B's invariant, in one snapshot of the destination. Nothing while the server is away.
std::optional<std::string> imbalance(const std::string& conninfo) {
  try {
    postgres_client c(conninfo);
    const auto sums =
        c.query("SELECT (SELECT coalesce(sum(abalance), 0) FROM pgbench_accounts), (SELECT coalesce(sum(tbalance), 0) FROM "
                "pgbench_tellers), (SELECT coalesce(sum(bbalance), 0) FROM pgbench_branches), (SELECT coalesce(sum(delta), "
                "0) FROM pgbench_history)");
    const auto first = sums.substr(0, sums.find('|'));
    return sums == first + '|' + first + '|' + first + '|' + first ? "" : sums;
  } catch (const std::runtime_error&) {
    return std::nullopt;
  }
}

std::string digest(const postgres_server& server, const std::string& table) {
  return server.query("SELECT count(*), sum(hashtextextended(t::text, 0)::numeric) FROM " + table + " t", "bank");
}

} // namespace

BOOST_AUTO_TEST_SUITE(pgbench)

BOOST_AUTO_TEST_CASE(all_tables_end_equal_and_no_transaction_is_ever_half_visible) {
  const auto kills = setting("MILLRACE_CHAOS_KILLS", 12), scale = setting("MILLRACE_CHAOS_SCALE", 2);
  std::mt19937_64 random(test_seed());
  temp_dir dir;
  postgres_server source(settings_of("wal_sender_timeout = 10s")), target(settings_of("max_connections = 50"));
  source.start();
  target.start();
  source.create_database("bank");
  target.create_database("bank");
  const auto bench = pgbench_program();
  const std::vector<std::string> where{"-h", source.socket_dir(), "-p", std::to_string(source.port()), "-U", "postgres", "bank"};
  auto command = [&](std::vector<std::string> words) {
    words.insert(words.begin(), bench);
    words.insert(words.end(), where.begin(), where.end());
    return words;
  };
  const auto made = run({.argv = command({"-i", "-q", "-s", std::to_string(scale)})}, seconds{120});
  BOOST_REQUIRE_MESSAGE(made.status == 0, made.err);
  source.query("ALTER TABLE pgbench_history ADD COLUMN id bigserial PRIMARY KEY", "bank");

  test_node node(dir / "n");
  node.start();
  std::optional<child> clients;
  auto feed = [&] { // they end with the source's connections
    if (!clients || !clients->running())
      clients.emplace(child::start({.argv = command({"-n", "-c", "4", "-j", "1", "-T", "3600"}), .output = dir / "pgbench.log"}));
  };
  feed();
  node.apply("bank", "pipeline: bank\nsource:\n  type: postgres\n  connection: \"" + source.conninfo("bank") +
                         "\"\n  tables: [pgbench_accounts, pgbench_tellers, pgbench_branches, pgbench_history]\n"
                         "  snapshot_options: { chunk_rows: 5000 }\n"
                         "loads:\n  - name: copy\n    destination: { type: postgres, connection: \"" +
                         target.conninfo("bank") + "\" }\n");

  std::atomic<bool> whole = false;
  std::atomic<std::uint64_t> looks = 0;
  std::string broken;
  std::jthread reader([&, conninfo = target.conninfo("bank")](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const bool counts = whole; // before the look: the first tables are copied one row after the other
      const auto found = imbalance(conninfo);
      if (counts && found) {
        ++looks;
        if (!found->empty() && broken.empty()) broken = *found;
      }
      ::poll(nullptr, 0, 20);
    }
  });
  std::map<std::string, int> killed;
  std::uint64_t during_snapshot = 0;
  auto settle = [&] {
    if (whole) return;
    const auto s = node.status("bank");
    if (s.at("state") != "running" || s.at("loads").empty()) return;
    // Everything of the snapshot has to be at the destination, not only in the log.
    if (s.at("loads")[0].at("committed_offset")[0] == s.at("log")[0].at("next_offset")) whole = true;
  };
  auto until_whole = [&] {
    eventually(
        "the snapshot is at the destination",
        [&] {
          feed();
          settle();
          return whole.load();
        },
        seconds{180}, [&] { return node.status("bank").dump(2) + node.log(); });
  };
  for (std::uint64_t round = 0; round < kills; ++round) {
    if (round == kills / 2) until_whole();                      // the other half comes while only changes flow
    ::poll(nullptr, 0, static_cast<int>(50 + random() % 1200)); // the fault's moment
    feed();
    during_snapshot += !whole;
    switch (random() % 4) {
    case 0:
    case 1:
      ++killed["node"];
      node.kill9();
      node.start();
      break;
    case 2:
      ++killed["source"];
      source.stop(postgres_server::stop_mode::immediate);
      source.start();
      break;
    default:
      ++killed["destination"];
      if (random() % 2)
        target.kill9();
      else
        target.stop(postgres_server::stop_mode::immediate);
      target.start();
    }
    try {
      settle();
    } catch (const std::runtime_error&) { // the node has just been started
    }
  }
  until_whole();
  const auto seen = looks.load();
  eventually(
      "the reader looks at a flow that nothing disturbs", [&] { return looks > seen + 20; }, seconds{60},
      [&] { return node.log(); });
  clients->signal(SIGINT);
  clients->wait_for(seconds{20});
  clients.reset();
  const auto end = source.query("SELECT pg_current_wal_lsn()", "bank");
  const std::vector<std::string> tables{"pgbench_accounts", "pgbench_tellers", "pgbench_branches", "pgbench_history"};
  eventually(
      "all tables are equal",
      [&] {
        return std::all_of(tables.begin(), tables.end(), [&](const auto& t) { return digest(source, t) == digest(target, t); });
      },
      seconds{120},
      [&] {
        std::string all = "source at " + end + "\n";
        for (const auto& t : tables) all += t + ": source " + digest(source, t) + ", destination " + digest(target, t) + "\n";
        return all + node.status("bank").dump(2) + node.log();
      });
  reader.request_stop();
  reader.join();
  BOOST_TEST(broken == "", "a reader saw accounts|tellers|branches|history add up to " << broken);
  BOOST_TEST(looks > 20u);
  const auto transactions = source.query("SELECT count(*) FROM pgbench_history", "bank");
  std::string names;
  for (const auto& [name, count] : killed) names += " " + name + " " + std::to_string(count);
  std::cerr << "killed:" << names << " (" << during_snapshot << " during the snapshot); " << transactions << " transactions; "
            << looks << " looks at whole tables; max RSS " << (node.process().peak_memory() >> 20) << " MiB\n";
  BOOST_TEST(std::stoull(transactions) > 100u);
  BOOST_TEST(node.dead_letters("bank").empty());
  const auto verified = node.ask({"verify", "bank/copy"}, seconds{120});
  BOOST_TEST(verified.at("equal") == true, verified.dump(2));
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
