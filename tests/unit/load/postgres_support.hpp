#pragma once
// One server for all cases of this program, a database for each case, a destination with what most cases do with it.

#include "support.hpp"
#include "tests/support/postgres_server.hpp"

namespace millrace::test {

inline testing::postgres_server& server() {
  static testing::postgres_server instance;
  static const bool started = (instance.start(), true);
  static_cast<void>(started);
  return instance;
}

struct postgres_fixture {
  postgres_fixture() {
    static int number = 0;
    database = "case" + std::to_string(++number);
    if (!server().running()) server().start();
    server().create_database(database);
  }
  ~postgres_fixture() { made.reset(); }
  std::string database;
  std::string user = "postgres";
  std::unique_ptr<load::destination> made;
  gate seen;
  std::uint64_t next = 0;

  std::unique_ptr<load::destination> make(std::vector<table_spec> tables) {
    auto spec = load_of("", std::move(tables));
    spec.destination = {};
    spec.destination.type = "postgres";
    spec.destination.connection = server().conninfo(database, user);
    auto d = load::make_destination(spec);
    MUST(d);
    return std::move(d).value();
  }
  load::destination& open(std::vector<table_spec> tables, std::uint64_t epoch = 1) {
    made = make(std::move(tables));
    const auto claimed = made->claim(who(0xfedcba9876543210, epoch));
    MUST(claimed);
    next = claimed.value().next.value;
    return *made;
  }
  /// One transaction with all of the set's rows.
  void write(const transform::row_set_ptr& set) {
    MUST(made->begin());
    MUST(made->apply(set, 0, set->rows.size(), seen));
    MUST(made->flush(seen));
    next += set->end;
    MUST(made->commit({{next}, 0}));
  }
  std::string query(const std::string& sql) { return server().query(sql, database); }
  /// Rows separated by blanks.
  std::string rows_of(const std::string& sql) {
    auto out = query(sql);
    std::replace(out.begin(), out.end(), '\n', ' ');
    return out;
  }
  std::size_t refused() const { return seen.refused.size(); }
};

} // namespace millrace::test
