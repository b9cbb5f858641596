#pragma once
// A real server for the PostgreSQL source's tests: MILLRACE_TEST_PG is a connection string of a superuser to a database of its
// own, on a server with wal_level = logical. Without it these cases are skipped; the integration suites start servers themselves.

#include "actors/ingest/postgres/postgres_source.hpp"
#include "ingest_support.hpp"
#include "postgres_replica.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <iostream>
#include <thread>

namespace postgres_test {

using namespace millrace;
using namespace millrace::actors;
using namespace millrace::actors::ingest;
using actors::ingest::postgres::postgres_source;
using actors::postgres::connection;
using std::chrono::milliseconds;
using std::chrono::seconds;
using clk = std::chrono::steady_clock;

inline const char* server() { return std::getenv("MILLRACE_TEST_PG"); }

template <class Result>
std::string why(const Result& r) {
  return r ? std::string() : r.error().message;
}

struct database {
  std::unique_ptr<connection> link;
  database() {
    auto made = connection::open(server(), actors::postgres::connect_options{});
    BOOST_REQUIRE_MESSAGE(made.has_value(), why(made));
    link = std::move(made).value();
  }
  std::string one(const std::string& sql) {
    auto r = link->exec(sql);
    BOOST_REQUIRE_MESSAGE(r.has_value(), sql + ": " + why(r));
    return r.value().rows() ? std::string(r.value().at(0, 0)) : "";
  }
  void run(const std::string& sql) { static_cast<void>(one(sql)); }
  /// Rows of a table as a replica has them.
  replica_table table(const std::string& name, const std::vector<std::string>& key) {
    replica_table out;
    auto r = link->exec("select * from " + name);
    BOOST_REQUIRE(r.has_value());
    for (int i = 0; i < r.value().rows(); ++i) {
      replica_table::row row;
      for (int c = 0; c < PQnfields(r.value().get()); ++c)
        row[PQfname(r.value().get(), c)] =
            r.value().is_null(i, c) ? std::nullopt : std::optional(std::string(r.value().at(i, c)));
      if (key.empty()) {
        out.bag.insert(row);
        continue;
      }
      std::vector<std::string> k;
      for (const auto& name : key) k.push_back(*row[name]);
      out.by_key[k] = row;
    }
    return out;
  }
};

/// The ingest actor in small: a reader, blocks in flight, a log. crash() forgets all but the log.
struct pipeline {
  postgres_source_spec spec;
  replica log;
  std::unique_ptr<postgres_source> reader;
  std::deque<storage::change_block> in_flight;
  std::size_t flight_max = 0; ///< blocks that are not in the log yet
  std::vector<std::string> notices;
  std::string last_failure;
  std::string last_context; ///< of the last block with changes

  explicit pipeline(std::string name, std::vector<std::string> tables) {
    spec.connection = server();
    spec.publication = spec.slot = "t_" + name;
    spec.tables = std::move(tables);
    spec.heartbeat = milliseconds{200};
    postgres_source old(spec);
    auto ok = old.retire();
    BOOST_REQUIRE_MESSAGE(ok.has_value(), why(ok));
  }
  ~pipeline() {
    reader.reset();
    postgres_source old(spec);
    BOOST_CHECK(old.retire().has_value());
  }
  result<void> try_open() {
    reader = std::make_unique<postgres_source>(spec);
    return reader->open(log.state());
  }
  void open() {
    auto ok = try_open();
    BOOST_REQUIRE_MESSAGE(ok.has_value() || is(ok.error(), actors::errc::unavailable), why(ok));
  }
  void settle(std::size_t keep) {
    while (in_flight.size() > keep) {
      log.append(in_flight.front());
      reader->acknowledged(in_flight.front().source_state);
      in_flight.pop_front();
    }
  }
  bool poll(milliseconds wait = milliseconds{20}) {
    auto block = reader->poll(wait);
    for (auto& n : reader->take_notices()) notices.push_back(n);
    if (!block) {
      last_failure = block.error().message;
      BOOST_REQUIRE_MESSAGE(is(block.error(), actors::errc::unavailable), block.error().message);
      std::this_thread::sleep_for(milliseconds{20});
      return false;
    }
    const bool some = block.value().has_value();
    if (some && !block.value()->context.empty()) last_context = block.value()->context;
    if (some) in_flight.push_back(std::move(*block.value()));
    settle(some ? flight_max : 0);
    return some;
  }
  template <class Condition>
  void until(const char* what, Condition condition, seconds limit = seconds{60}) {
    const auto end = clk::now() + limit;
    while (!condition()) {
      BOOST_REQUIRE_MESSAGE(clk::now() < end, what << " did not come: " << last_failure << " at " << reader->status().position);
      poll();
    }
  }
  void catch_up(database& db) {
    const auto end = *actors::postgres::parse_lsn(db.one("select pg_current_wal_insert_lsn()"));
    until("the end", [&] {
      const auto s = reader->status();
      return s.caught_up && *actors::postgres::parse_lsn(s.position) + 64 >= end && in_flight.empty();
    });
  }
  void crash() {
    in_flight.clear();
    reader.reset();
  }
  void equals(database& db, const std::string& table, const std::vector<std::string>& key) {
    for (const auto& f : log.faults) BOOST_ERROR(f);
    const auto source = db.table(table, key);
    auto& mine = log.tables[table];
    BOOST_TEST(mine.by_key.size() == source.by_key.size());
    BOOST_TEST(mine.bag.size() == source.bag.size());
    std::size_t differ = 0;
    for (const auto& [k, r] : source.by_key) {
      const auto at = mine.by_key.find(k);
      if ((at == mine.by_key.end() || at->second != r) && ++differ <= 3)
        BOOST_TEST_MESSAGE(table << " " << k[0] << (at == mine.by_key.end() ? " is missing" : " differs")
                                 << (mine.partial.contains(k) ? ", partial" : ""));
    }
    BOOST_TEST(differ == 0u, differ << " rows of " << table << " differ");
    BOOST_TEST((mine.bag == source.bag));
  }
};

inline boost::test_tools::assertion_result given(boost::unit_test::test_unit_id) { return server() != nullptr; }

/// Many sessions writing for as long as it lives.
struct writers {
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  std::atomic<std::uint64_t> committed{0};
  template <class Write>
  writers(int n, Write write) {
    for (int i = 0; i < n; ++i)
      threads.emplace_back([this, i, write] {
        auto made = connection::open(server(), actors::postgres::connect_options{});
        if (!made) return;
        std::mt19937_64 random(static_cast<std::uint64_t>(i) + 1);
        while (!stop) {
          if (made.value()->exec(write(random))) ++committed;
        }
      });
  }
  ~writers() { end(); }
  void end() {
    stop = true;
    for (auto& t : threads)
      if (t.joinable()) t.join();
  }
};

} // namespace postgres_test
