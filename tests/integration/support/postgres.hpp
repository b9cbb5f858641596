#pragma once
// A node between two PostgreSQL databases, and what every case asks of them: that they are equal.

#include "tests/integration/support/fixture.hpp"
#include "tests/support/postgres_server.hpp"

namespace millrace::testing {

inline postgres_server::options logical_server() {
  return {.settings = {"wal_level = logical", "max_wal_senders = 10", "max_replication_slots = 10", "max_connections = 50",
                       "fsync = off", "autovacuum = off"}};
}

/// One server with the databases src and dst, and a running node.
struct postgres_node : idle_node {
  postgres_server server;
  explicit postgres_node(node_settings settings = {}) : idle_node(std::move(settings)), server(logical_server()) {
    server.start();
    server.create_database("src");
    server.create_database("dst");
    node.start();
  }
  std::string src(const std::string& sql) { return server.query(sql, "src"); }
  std::string dst(const std::string& sql) { return server.query(sql, "dst"); }

  /// Pipeline p, load l. `tables`: "[public.orders]"; `source` and `load` are further lines of flow style: "heartbeat: 1s".
  std::string spec(const std::string& tables, const std::string& source = "", const std::string& load = "",
                   const std::string& destination = "") {
    const auto more = [](const std::string& text) { return text.empty() ? text : ", " + text; };
    return "pipeline: p\nsource: { type: postgres, connection: \"" + server.conninfo("src") + "\", tables: " + tables +
           more(source) + " }\nloads:\n  - { name: l, destination: { type: postgres, connection: \"" + server.conninfo("dst") +
           "\"" + more(destination) + " }" + more(load) + " }\n";
  }
  void apply(const std::string& tables, const std::string& source = "", const std::string& load = "",
             const std::string& destination = "") {
    node.apply("p", spec(tables, source, load, destination));
  }

  /// What the destination says, or why it cannot say it yet.
  std::string dst_or_why(const std::string& sql) {
    try {
      return dst(sql);
    } catch (const std::exception& e) {
      return std::string("(") + e.what() + ")";
    }
  }
  /// Waits until `sql` gives `expected` in the destination.
  void dst_becomes(const std::string& sql, const std::string& expected, seconds limit = seconds{30}) {
    std::string found;
    const auto shown = [](const std::string& text) { return text.size() > 3000 ? text.substr(0, 3000) + "..." : text; };
    if (becomes([&] { return (found = dst_or_why(sql)) == expected; }, limit, milliseconds{50})) return;
    throw std::runtime_error("not within " + std::to_string(limit.count()) + " s: " + sql + "\nexpected\n" + shown(expected) +
                             "\nfound\n" + shown(found) + "\nstatus\n" + node.status("p").dump(2) + "\nthe node's log\n" +
                             node.log());
  }
  /// Waits until both sides answer alike.
  void equal(const std::string& sql, seconds limit = seconds{30}) { dst_becomes(sql, src(sql), limit); }
};

} // namespace millrace::testing
