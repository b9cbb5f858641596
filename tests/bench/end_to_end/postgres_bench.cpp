// PostgreSQL in and out through a node with its durable log, each against what PostgreSQL does itself with the same rows on the
// same server: pg_recvlogical, native logical replication, COPY | COPY. Ours and the baseline come from one run, in turns.
// MILLRACE_BENCH_CHANGES (1,000,000), MILLRACE_BENCH_UPDATES (400,000), MILLRACE_BENCH_ROWS (10,000,000 of the snapshot),
// MILLRACE_BENCH_SECONDS (20, of the latency), MILLRACE_BENCH_ONLY (log, flow, snapshot, latency: one part),
// MILLRACE_BENCH_VIA (socket or tcp: how all of them reach the servers).

#include "tests/integration/support/test_node.hpp"
#include "tests/support/postgres_server.hpp"

#include <algorithm>
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>

namespace {

using namespace millrace::testing;

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* given = std::getenv(name);
  return given && *given ? std::strtoull(given, nullptr, 10) : otherwise;
}

bool wanted(const std::string& part) {
  const char* only = std::getenv("MILLRACE_BENCH_ONLY");
  return !only || !*only || part == only;
}

std::string program(const std::string& name) {
  for (const auto& e : std::filesystem::directory_iterator("/usr/lib/postgresql"))
    if (auto p = e.path() / "bin" / name; std::filesystem::exists(p)) return p.string();
  throw std::runtime_error("no " + name + "; expected /usr/lib/postgresql/*/bin/" + name);
}

double seconds_since(test_clock::time_point start) { return std::chrono::duration<double>(test_clock::now() - start).count(); }

void report(const std::string& what, double ours, double baseline, const std::string& name, double goal) {
  std::cout << std::fixed << std::setprecision(0) << what << ": ours " << ours << "/s, " << name << ' ' << baseline
            << "/s, ratio " << std::setprecision(2) << ours / baseline << " (goal " << goal << ")" << std::endl;
}

constexpr const char* orders_table = "CREATE TABLE orders (id bigint PRIMARY KEY, customer int NOT NULL, qty int NOT NULL, price "
                                     "numeric(10,2) NOT NULL, note text, "
                                     "created timestamptz NOT NULL)";
/// One order from the number $i.
std::string order_values(const std::string& i) {
  return i + ", " + i + " % 100000, " + i + " % 9 + 1, (" + i + " % 100000) / 100.0, 'order number ' || " + i +
         " || repeat(' and so on', 4), '2024-01-01 00:00:00+00'::timestamptz + (" + i + " % 86400) * interval '1 second'";
}

/// The load waits, so that the way to the log is alone.
constexpr const char* nowhere = "host=127.0.0.1 port=1 dbname=none";

class bench {
public:
  bench() : server_(options()), target_(options()), node_(dir_ / "n") {
    server_.start();
    target_.start();
    node_.start();
  }

  void source_to_log() {
    const auto count = setting("MILLRACE_BENCH_CHANGES", 1000000);
    for (const bool big : {true, false}) {
      const std::string name = big ? "log_big" : "log_small";
      server_.create_database(name);
      sql(name, orders_table);
      apply(name, name, nowhere, "never");
      node_.until(name, "its slot is there", [&](const json&) { return slot_exists(name); });
      sql(name, "SELECT pg_create_logical_replication_slot('base_" + name + "', 'pgoutput')");
      node_.must({"pipeline", "pause", name});
      if (big)
        sql(name, "INSERT INTO orders SELECT " + order_values("i") + " FROM generate_series(1, " + std::to_string(count) + ") i");
      else
        make(name, "DO $$ BEGIN FOR i IN 1.." + std::to_string(count) + " LOOP INSERT INTO orders VALUES (" + order_values("i") +
                       "); COMMIT; END LOOP; END $$");
      const auto end = sql(name, "SELECT pg_current_wal_insert_lsn()");
      sql(name, "CHECKPOINT");
      sql(name, "SELECT pg_logical_emit_message(false, 'x', 'y'), pg_switch_wal()");
      auto start = test_clock::now();
      const auto received =
          run({.argv = {program("pg_recvlogical"), "-d", path(server_, name), "-S", "base_" + name, "--start", "--no-loop",
                        "--endpos", end, "-f", "/dev/null", "-o", "proto_version=1", "-o", "publication_names=millrace_" + name}},
              seconds{600});
      if (received.status != 0) throw std::runtime_error(received.err);
      const auto baseline = static_cast<double>(count) / seconds_since(start);
      start = test_clock::now();
      node_.must({"pipeline", "resume", name});
      wait(
          "all is in the log", [&] { return logged(name) >= static_cast<double>(count); }, [&] { return said(name); });
      report(std::string("source to log, ") + (big ? "one transaction" : "a transaction a row"),
             static_cast<double>(count) / seconds_since(start), baseline, "pg_recvlogical", 0.9);
      drop(name);
    }
  }

  void whole_way() {
    const auto count = setting("MILLRACE_BENCH_CHANGES", 1000000), updates = setting("MILLRACE_BENCH_UPDATES", 400000);
    for (const auto* db : {"shop", "ours", "native"}) at(db).create_database(db);
    sql("shop", orders_table);
    sql("native", orders_table);
    apply("shop", "shop", path(target_, "ours"), "never");
    apply("decoded", "shop", nowhere, "never");
    for (const std::string name : {"shop", "decoded"}) {
      node_.until(name, "its slot is there", [&](const json&) { return slot_exists(name, "shop"); });
      node_.must({"pipeline", "pause", name});
    }
    sql("shop", "SELECT pg_create_logical_replication_slot('native', 'pgoutput')");
    sql("native",
        "CREATE SUBSCRIPTION native CONNECTION '" + path(server_, "shop") +
            "' PUBLICATION millrace_shop WITH (create_slot = false, slot_name = 'native', copy_data = false, enabled = false)");
    const auto turn = [&](const std::string& what, std::uint64_t rows, const std::function<bool(const std::string&)>& arrived) {
      auto start = test_clock::now();
      sql("native", "ALTER SUBSCRIPTION native ENABLE");
      wait("native replication is through", [&] { return arrived("native"); });
      const auto baseline = static_cast<double>(rows) / seconds_since(start);
      sql("native", "ALTER SUBSCRIPTION native DISABLE");
      start = test_clock::now();
      node_.must({"pipeline", "resume", "shop"});
      wait(
          "ours is through", [&] { return arrived("ours"); }, [&] { return said("shop"); });
      const auto rate = static_cast<double>(rows) / seconds_since(start);
      report("PostgreSQL to PostgreSQL, " + what, rate, baseline, "native replication", 1.3);
      return std::pair(rate, baseline);
    };
    make("shop", "DO $$ BEGIN FOR i IN 1.." + std::to_string(count / 100) + " LOOP INSERT INTO orders SELECT " +
                     order_values("n") + " FROM generate_series((i - 1) * 100 + 1, i * 100) n; COMMIT; END LOOP; END $$");
    const auto [ours, native] = turn("inserts, 100 a transaction", count, [&](const std::string& db) {
      return exists(db, "SELECT 1 FROM orders WHERE id = " + std::to_string(count / 100 * 100));
    });
    // What the source's walsender gives to one who does nothing but to stage it: the whole way cannot be faster.
    const auto resumed = test_clock::now();
    node_.must({"pipeline", "resume", "decoded"});
    wait(
        "all is in the log", [&] { return logged("decoded") >= static_cast<double>(count / 100 * 100); },
        [&] { return said("decoded"); });
    report("the same", ours, static_cast<double>(count / 100 * 100) / seconds_since(resumed), "into the log alone", 1);
    node_.must({"pipeline", "delete", "decoded"});
    const auto end = std::to_string(node_.status("shop").at("log").at(0).at("next_offset").get<std::uint64_t>());
    const auto start = test_clock::now();
    node_.must({"load", "rewind", "shop/l", "--to", "start", "--truncate"});
    wait(
        "the log is replayed", [&] { return exists("ours", "SELECT 1 FROM _millrace_offsets WHERE next_offset >= " + end); },
        [&] { return said("shop"); });
    const auto replayed = static_cast<double>(count / 100 * 100) / seconds_since(start);
    report("replay of the log into PostgreSQL, inserts", replayed, native, "native replication", 3);
    sql("native", "CREATE TABLE copied (LIKE orders INCLUDING ALL)"); // what one session of this server takes at all
    report("the same", replayed, copy_piped("shop", "orders", "native", "copied", static_cast<double>(count / 100 * 100)),
           "COPY | COPY", 1);
    sql("native", "TRUNCATE copied"); // and with nothing to do but to insert: no session can load faster
    report("the same", replayed, copied_binary("native", "orders", "copied", static_cast<double>(count / 100 * 100)),
           "binary COPY of a file", 1);
    if (digest("ours") != digest("shop")) throw std::runtime_error("the replayed rows differ from the source's");
    node_.must({"pipeline", "pause", "shop"});
    make("shop", "DO $$ BEGIN FOR i IN 1.." + std::to_string(updates) +
                     " LOOP UPDATE orders SET qty = -i WHERE id = (i::bigint * 7919) % " + std::to_string(count / 100 * 100) +
                     " + 1; COMMIT; END LOOP; END $$");
    turn("updates, one a transaction", updates, [&](const std::string& db) {
      return exists(db, "SELECT 1 FROM orders WHERE id = (" + std::to_string(updates) + "::bigint * 7919) % " +
                            std::to_string(count / 100 * 100) + " + 1 AND qty = -" + std::to_string(updates));
    });
    for (const auto* db : {"ours", "native"})
      if (digest(db) != digest("shop")) throw std::runtime_error(std::string("the rows of ") + db + " differ from the source's");
    std::cout << "max RSS of the node: " << (node_.process().peak_memory() >> 20) << " MiB" << std::endl;
    sql("native", "ALTER SUBSCRIPTION native SET (slot_name = NONE)");
    sql("native", "DROP SUBSCRIPTION native");
    sql("shop", "SELECT pg_drop_replication_slot('native')");
    drop("shop");
  }

  /// As a user copies a table between two servers; rows a second.
  double copy_piped(const std::string& from, const std::string& table, const std::string& to, const std::string& copy,
                    double rows) {
    const auto start = test_clock::now();
    const auto piped =
        run({.argv = {"/bin/sh", "-c",
                      program("psql") + " -q -d '" + path(at(from), from) + "' -c 'COPY " + table + " TO STDOUT' | " +
                          program("psql") + " -q -d '" + path(at(to), to) + "' -c 'COPY " + copy + " FROM STDIN'"}},
            seconds{3600});
    if (piped.status != 0) throw std::runtime_error(piped.err);
    return rows / seconds_since(start);
  }

  /// A file of the rows as binary COPY takes them, into a table; rows a second.
  double copied_binary(const std::string& db, const std::string& table, const std::string& copy, double rows) {
    const auto psql = [&](const std::string& command) {
      const auto done = run({.argv = {program("psql"), "-q", "-d", path(at(db), db), "-c", command}}, seconds{3600});
      if (done.status != 0) throw std::runtime_error(done.err);
    };
    const auto file = "'" + (dir_ / "rows.bin").string() + "' (FORMAT binary)";
    psql("\\copy " + table + " TO " + file);
    const auto start = test_clock::now();
    psql("\\copy " + copy + " FROM " + file);
    return rows / seconds_since(start);
  }

  void snapshot() {
    const auto count = setting("MILLRACE_BENCH_ROWS", 10000000);
    for (const auto* db : {"big", "big_ours", "big_copy"}) at(db).create_database(db);
    sql("big", orders_table);
    sql("big_copy", orders_table);
    sql("big", "INSERT INTO orders SELECT " + order_values("i") + " FROM generate_series(1, " + std::to_string(count) + ") i");
    sql("big", "VACUUM ANALYZE orders");
    sql("big", "CHECKPOINT");
    const auto baseline = copy_piped("big", "orders", "big_copy", "orders", static_cast<double>(count));
    sql("big_copy", "DROP TABLE orders");
    sql("big_copy", "CHECKPOINT");
    const auto start = test_clock::now();
    apply("big", "big", path(target_, "big_ours"), "initial");
    wait(
        "the snapshot is at the destination",
        [&] {
          return node_.metric("millrace_delivered_changes_total", "pipeline=\"big\"").value_or(0) >= static_cast<double>(count);
        },
        [&] { return said("big"); });
    report("snapshot of " + std::to_string(count) + " rows", static_cast<double>(count) / seconds_since(start), baseline,
           "COPY | COPY", 0.8);
    if (sql("big_ours", "SELECT count(*), sum(id) FROM orders") != sql("big", "SELECT count(*), sum(id) FROM orders"))
      throw std::runtime_error("the copied rows differ from the source's");
    std::cout << "max RSS of the node: " << (node_.process().peak_memory() >> 20) << " MiB" << std::endl;
    drop("big");
  }

  void latency() {
    const auto time = setting("MILLRACE_BENCH_SECONDS", 20);
    server_.create_database("live");
    target_.create_database("live_ours");
    sql("live", "CREATE TABLE events (id bigserial PRIMARY KEY, what text)");
    apply("live", "live", path(target_, "live_ours"), "never", "events");
    node_.until("live", "its slot is there", [&](const json&) { return slot_exists("live"); });
    write_file(dir_ / "insert.sql", "INSERT INTO events (what) VALUES ('something happened');\n");
    const auto clients = run({.argv = {program("pgbench"),
                                       "-n",
                                       "-c",
                                       "8",
                                       "-j",
                                       "1",
                                       "-M",
                                       "prepared",
                                       "-R",
                                       "5000",
                                       "-T",
                                       std::to_string(time),
                                       "-f",
                                       (dir_ / "insert.sql").string(),
                                       "-h",
                                       server_.socket_dir(),
                                       "-p",
                                       std::to_string(server_.port()),
                                       "-U",
                                       "postgres",
                                       "live"},
                              .env = {{"PGOPTIONS", "-c synchronous_commit=off"}}},
                             seconds{600});
    if (clients.status != 0) throw std::runtime_error(clients.err);
    wait(
        "all events are there",
        [&] { return sql("live_ours", "SELECT count(*) FROM events") == sql("live", "SELECT count(*) FROM events"); },
        [&] { return said("live"); });
    // One machine: one clock, and each row's transaction with the time of its commit.
    sql("live_ours", "CREATE TABLE source_times (id bigint PRIMARY KEY, at timestamptz)");
    copy_piped("live", "(SELECT id, pg_xact_commit_timestamp(xmin) FROM events)", "live_ours", "source_times", 0);
    const auto found =
        sql("live_ours",
            "SELECT round(1000 * percentile_cont(0.5) WITHIN GROUP (ORDER BY d)::numeric, 1), round(1000 * percentile_cont(0.99) "
            "WITHIN "
            "GROUP (ORDER BY d)::numeric, 1), round(1000 * max(d)::numeric, 1), count(*) FROM (SELECT extract(epoch FROM "
            "pg_xact_commit_timestamp(e.xmin) - s.at) AS d FROM events e JOIN source_times s USING (id)) x");
    std::cout << "commit to commit at " << std::stoull(found.substr(found.rfind('|') + 1)) / time
              << " transactions a second: p50|p99|max|n " << found << " ms (goal p50 20, p99 100)" << std::endl;
    drop("live");
  }

private:
  static postgres_server::options options() {
    postgres_server::options o;
    o.durable = true;
    o.settings = {"wal_level = logical", "max_wal_size = 16GB", "shared_buffers = 1GB", "track_commit_timestamp = on",
                  "max_replication_slots = 20", "max_wal_senders = 20", "checkpoint_timeout = 1h", "autovacuum = off",
                  // The latency's clients commit asynchronously: what the server has not flushed it gives nobody.
                  "wal_writer_delay = 10ms"};
    return o;
  }
  /// Two servers, as in life: a source does not decode what its destination writes.
  postgres_server& at(const std::string& db) {
    return db == "native" || db == "big_copy" || db.ends_with("ours") ? target_ : server_;
  }
  /// How what is measured reaches a server, ours and the baselines alike.
  static std::string path(const postgres_server& to, const std::string& db) {
    static const bool tcp = [] {
      const char* via = std::getenv("MILLRACE_BENCH_VIA");
      return via && std::string_view(via) == "tcp";
    }();
    return tcp ? to.conninfo(db) : to.socket_conninfo(db);
  }
  std::string sql(const std::string& db, const std::string& text) {
    postgres_client c(at(db).socket_conninfo(db));
    return c.query(text);
  }
  /// Makes a backlog: its commits need not wait for the disk, and what it left there is not written while others are timed.
  void make(const std::string& db, const std::string& text) {
    postgres_client c(at(db).socket_conninfo(db));
    c.query("SET synchronous_commit = off");
    c.query(text);
    c.query("CHECKPOINT");
  }
  /// On a connection that stays: a new one for each look would take a part of a core from what is measured.
  bool exists(const std::string& db, const std::string& text) {
    try {
      auto& c = looking_[db];
      if (!c) c = std::make_unique<postgres_client>(at(db).socket_conninfo(db));
      return !c->query(text).empty();
    } catch (const std::runtime_error&) { // the table is not there yet
      return false;
    }
  }
  static void wait(const std::string& what, const std::function<bool()>& condition,
                   const std::function<std::string()>& context = {}) {
    if (!becomes(condition, seconds{1800}, milliseconds{50}))
      throw std::runtime_error("not in half an hour: " + what + (context ? "\n" + context() : std::string()));
  }
  std::string digest(const std::string& db) {
    return sql(db, "SELECT count(*), sum(hashtextextended(t::text, 0)::numeric) FROM orders t");
  }
  bool slot_exists(const std::string& name) { return slot_exists(name, name); }
  bool slot_exists(const std::string& name, const std::string& db) {
    return exists(db, "SELECT 1 FROM pg_replication_slots WHERE slot_name = 'millrace_" + name + "'");
  }
  double logged(const std::string& pipeline) {
    return node_.metric("millrace_ingested_changes_total", "pipeline=\"" + pipeline + "\"").value_or(0);
  }
  std::string said(const std::string& pipeline) { return node_.status(pipeline).dump(2) + node_.log(); }
  void apply(const std::string& name, const std::string& db, const std::string& destination, const std::string& mode,
             const std::string& table = "orders") {
    node_.apply(name, "pipeline: " + name + "\nsource: { type: postgres, connection: \"" + path(server_, db) + "\", tables: [" +
                          table + "], snapshot: " + mode +
                          " }\nloads:\n  - name: l\n    destination: { type: postgres, connection: \"" + destination + "\" }\n");
  }
  void drop(const std::string& name) {
    node_.must({"pipeline", "delete", name});
    for (const auto& slot : {"base_" + name})
      if (exists(name, "SELECT 1 FROM pg_replication_slots WHERE slot_name = '" + slot + "'"))
        sql(name, "SELECT pg_drop_replication_slot('" + slot + "')");
  }

  temp_dir dir_;
  postgres_server server_, target_;
  test_node node_;
  std::map<std::string, std::unique_ptr<postgres_client>> looking_;
};

} // namespace

int main() try {
  bench b;
  if (wanted("log")) b.source_to_log();
  if (wanted("flow")) b.whole_way();
  if (wanted("snapshot")) b.snapshot();
  if (wanted("latency")) b.latency();
  return 0;
} catch (const std::exception& error) {
  std::cerr << "postgres_bench: " << error.what() << '\n';
  return 1;
}
