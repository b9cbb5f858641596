// The PostgreSQL destination alone: row sets made in memory, written to the server that MILLRACE_TEST_PG names.
//   MILLRACE_TEST_PG="host=... dbname=..." postgres_load_bench [ROWS] [ROWS_A_TRANSACTION]
// Prints rows a second: inserts into an empty table, the same rows again (a replay), updates of single rows, deletes; append; the
// baseline is COPY of the same rows by libpq, encoded beforehand, in the same transactions.

#include "actors/load/destination.hpp"
#include "actors/load/postgres/copy_text.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <libpq-fe.h>
#include <random>
#include <string>

using namespace millrace;
using namespace millrace::actors;
using storage::operation;
using transform::cell;

namespace {

constexpr std::size_t set_rows = 6000; // about 1 MiB of orders: a batch
constexpr const char* names[] = {"id", "customer", "qty", "price", "note", "created"};
constexpr const char* types[] = {"bigint", "integer", "integer", "numeric", "text", "timestamp with time zone"};
constexpr data_type kinds[] = {data_type::int64,   data_type::int64, data_type::int64,
                               data_type::decimal, data_type::text,  data_type::timestamp};

class no_changes final : public storage::batch { // only base and time are asked for
public:
  explicit no_changes(std::uint64_t base) : base_(base) {}
  storage::batch_kind kind() const noexcept override { return storage::batch_kind::changes; }
  storage::offset base() const noexcept override { return {base_}; }
  std::uint32_t count() const noexcept override { return set_rows; }
  storage::epoch epoch() const noexcept override { return {1}; }
  storage::timestamp first_time() const noexcept override {
    return storage::timestamp(std::chrono::microseconds(1700000000123456));
  }
  storage::timestamp last_time() const noexcept override { return first_time(); }
  std::uint64_t changes_before() const noexcept override { return base_; }
  std::size_t bytes() const noexcept override { return 1u << 20; }
  std::string_view payloads() const noexcept override { return {}; }
  std::string_view payload(std::uint32_t) const noexcept override { return {}; }
  storage::payload_format format() const noexcept override { return storage::payload_format::pgoutput; }
  storage::envelope envelope() const noexcept override { return storage::envelope::none; }
  std::string_view origin() const noexcept override { return {}; }
  std::string_view context() const noexcept override { return {}; }
  std::string source_position(std::uint32_t) const override { return {}; }
  const storage::control_entry& control() const noexcept override { std::abort(); }

private:
  std::uint64_t base_;
};

struct everything final : load::row_gate {
  bool admit(const transform::row_set&, const transform::row&) override { return true; }
  bool rejected(const transform::row_set&, const transform::row&, load::row_error why) override {
    std::fprintf(stderr, "rejected: %s\n", why.message.c_str());
    std::exit(1);
  }
};

std::vector<transform::row_set_ptr> orders(std::size_t count, operation op, bool shuffled, std::uint64_t base) {
  auto layout = std::make_shared<transform::table_layout>();
  for (std::size_t i = 0; i < 6; ++i) layout->columns.push_back({names[i], kinds[i], types[i], false, i == 0});
  layout->key = {0};
  std::mt19937_64 random(7 + base);
  std::vector<std::int64_t> ids(count);
  for (std::size_t i = 0; i < count; ++i) ids[i] = static_cast<std::int64_t>(i);
  if (shuffled) std::shuffle(ids.begin(), ids.end(), random);
  std::vector<transform::row_set_ptr> out;
  for (std::size_t at = 0; at < count; at += set_rows) {
    auto set = std::make_shared<transform::row_set>();
    const auto n = std::min(set_rows, count - at);
    auto text = std::make_shared<std::vector<char>>(n * 160);
    char* p = text->data();
    const auto put = [&](const char* format, auto... v) {
      const int len = std::snprintf(p, 80, format, v...);
      const std::string_view view(p, static_cast<std::size_t>(len));
      p += len;
      return cell::text(view);
    };
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint64_t r = random();
      transform::row row;
      row.op = op;
      row.change = static_cast<std::uint32_t>(i);
      row.first_cell = static_cast<std::uint32_t>(set->cells.size());
      set->rows.push_back(row);
      const unsigned cents = static_cast<unsigned>(r >> 40) % 100000;
      set->cells.push_back(cell::of(ids[at + i]));
      set->cells.push_back(cell::of(static_cast<std::int64_t>(r % 50000)));
      set->cells.push_back(cell::of(static_cast<std::int64_t>(r % 9 + 1)));
      set->cells.push_back(put("%u.%02u", cents / 100, cents % 100));
      set->cells.push_back(put("note of order %llu, packed", static_cast<unsigned long long>(r % 1000000)));
      set->cells.push_back(put("2026-%02u-%02u 12:34:56.%06u+00", static_cast<unsigned>(r % 12 + 1),
                               static_cast<unsigned>(r % 28 + 1), static_cast<unsigned>(r >> 33) % 1000000));
    }
    set->end = static_cast<std::uint32_t>(n);
    set->layouts = {layout};
    set->memory.push_back(text);
    set->batch = std::make_shared<no_changes>(base + at);
    out.push_back(set);
  }
  return out;
}

void check(bool ok, const std::string& what) {
  if (ok) return;
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

double seconds(auto&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct server {
  explicit server(const char* conninfo) : c(PQconnectdb(conninfo)) { check(PQstatus(c) == CONNECTION_OK, PQerrorMessage(c)); }
  ~server() { PQfinish(c); }
  void run(const char* sql) {
    auto* r = PQexec(c, sql);
    check(PQresultStatus(r) == PGRES_COMMAND_OK || PQresultStatus(r) == PGRES_TUPLES_OK || PQresultStatus(r) == PGRES_COPY_IN,
          PQerrorMessage(c));
    PQclear(r);
  }
  PGconn* c;
};

std::unique_ptr<load::destination> open(const char* conninfo, const std::string& to, load_mode mode) {
  load_spec spec;
  spec.name = to;
  spec.destination.type = "postgres";
  spec.destination.connection = conninfo;
  table_spec table;
  table.to = to;
  table.mode = mode;
  table.key = {"id"};
  table.schema_change = schema_change_policy::add_columns;
  spec.tables = {table};
  auto made = load::make_destination(spec);
  check(made.has_value(), "make_destination");
  return std::move(made).value();
}

std::uint64_t offset = 0;
double write(load::destination& d, const std::vector<transform::row_set_ptr>& sets, std::size_t in_transaction) {
  everything gate;
  return seconds([&] {
    std::size_t inside = 0;
    for (const auto& set : sets) {
      if (inside == 0)
        if (auto ok = d.begin(); !ok) check(false, ok.error().message);
      if (auto ok = d.apply(set, 0, set->rows.size(), gate); !ok) check(false, ok.error().message);
      inside += set->rows.size();
      offset += set->rows.size();
      if (inside < in_transaction && &set != &sets.back()) continue;
      if (auto ok = d.flush(gate); !ok) check(false, ok.error().message);
      if (auto ok = d.commit({{offset}, 0}); !ok) check(false, ok.error().message);
      inside = 0;
    }
  });
}

} // namespace

int main(int argc, char** argv) {
  const char* conninfo = std::getenv("MILLRACE_TEST_PG");
  check(conninfo != nullptr, "MILLRACE_TEST_PG is not set; expected a connection string of a server to write to");
  const std::size_t count = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1000000;
  const std::size_t in_transaction = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 60000;
  const std::string only = argc > 3 ? argv[3] : "";
  server s(conninfo);
  s.run("DROP TABLE IF EXISTS bench_orders, bench_append, bench_copy, _millrace_offsets");
  const auto report = [&](const char* what, double t, std::size_t rows) {
    std::printf("%-28s %9.0f rows/s\n", what, static_cast<double>(rows) / t);
    std::fflush(stdout);
  };
  const auto inserts = orders(count, operation::insert, false, 0);

  if (only.empty()) {
    s.run("CREATE TABLE bench_copy(id bigint PRIMARY KEY, customer integer, qty integer, price numeric, note text, created "
          "timestamptz)");
    std::vector<std::string> encoded;
    load::postgres::copy_text text;
    const double encode = seconds([&] {
      for (const auto& set : inserts) {
        text.clear();
        for (const auto& r : set->rows) {
          for (int i = 0; i < 6; ++i) text.cell(set->cells_of(r)[i], load::postgres::boolean_text::letter);
          text.end_row();
        }
        encoded.emplace_back(text.view());
      }
    });
    report("encode only", encode, count);
    const double copy = seconds([&] {
      std::size_t inside = 0;
      for (const auto& piece : encoded) {
        if (inside == 0) {
          s.run("BEGIN");
          s.run("COPY bench_copy FROM STDIN");
        }
        PQputCopyData(s.c, piece.data(), static_cast<int>(piece.size()));
        inside += set_rows;
        if (inside < in_transaction && &piece != &encoded.back()) continue;
        PQputCopyEnd(s.c, nullptr);
        while (auto* r = PQgetResult(s.c)) {
          check(PQresultStatus(r) == PGRES_COMMAND_OK, PQerrorMessage(s.c));
          PQclear(r);
        }
        s.run("COMMIT");
        inside = 0;
      }
    });
    report("baseline: bare COPY", copy, count);
  }
  auto d = open(conninfo, "bench_orders", load_mode::upsert);
  auto claimed = d->claim({"bench", "orders", 0, {1}, {1}, {}});
  check(claimed.has_value(), claimed ? "" : claimed.error().message);
  report("upsert: inserts", write(*d, inserts, in_transaction), count);
  if (only == "inserts") return 0;
  report("upsert: the same again", write(*d, inserts, in_transaction), count);
  s.run("VACUUM ANALYZE bench_orders");
  const auto updates = orders(count * 2 / 5, operation::update, true, 1);
  report("upsert: updates", write(*d, updates, in_transaction), updates.size() * set_rows);
  const auto small = orders(std::min<std::size_t>(count, 30000), operation::update, true, 2);
  std::vector<transform::row_set_ptr> tiny;
  for (const auto& set : small)
    for (std::size_t at = 0; at < set->rows.size(); at += 20) {
      auto part = std::make_shared<transform::row_set>(*set);
      part->rows.assign(set->rows.begin() + static_cast<std::ptrdiff_t>(at),
                        set->rows.begin() + static_cast<std::ptrdiff_t>(std::min(at + 20, set->rows.size())));
      tiny.push_back(part);
      if (tiny.size() == 1000) break;
    }
  const double each = write(*d, tiny, 1);
  std::printf("%-28s %9.2f ms a transaction of 20 updates\n", "upsert: small", each * 1000 / static_cast<double>(tiny.size()));
  const auto deletes = orders(count / 2, operation::remove, true, 3);
  report("upsert: deletes", write(*d, deletes, in_transaction), count / 2);
  offset = 0;
  auto a = open(conninfo, "bench_append", load_mode::append);
  check(a->claim({"bench", "append", 0, {1}, {1}, {}}).has_value(), "claim");
  report("append", write(*a, inserts, in_transaction), count);
}
