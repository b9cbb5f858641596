// Orders from a file to SQLite through a node with its durable log, against a bare loop of prepared upserts of the same rows.
// Both in one run, in turns; the table, the journal (WAL, synchronous=FULL) and the rows in a transaction are the same.
// MILLRACE_BENCH_CHANGES (1,000,000), MILLRACE_BENCH_ROUNDS (3), MILLRACE_BENCH_TRANSACTION (50,000 rows; 0: as many as the node
// took).

#include "tests/integration/support/test_node.hpp"

#include <algorithm>
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <sqlite3.h>

namespace {

using namespace millrace::testing;

struct order_row {
  std::int64_t id, qty;
  std::string customer, price, created, note;
  double total;
};

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* given = std::getenv(name);
  return given && *given ? std::strtoull(given, nullptr, 10) : otherwise;
}

std::vector<order_row> make_rows(std::uint64_t count) {
  std::vector<order_row> rows;
  rows.reserve(count);
  std::uint64_t noise = 88172645463325252ull;
  const auto below = [&noise](std::uint64_t bound) {
    noise ^= noise << 13, noise ^= noise >> 7, noise ^= noise << 17;
    return noise % bound;
  };
  const auto two = [](std::uint64_t n) { return (n < 10 ? "0" : "") + std::to_string(n); };
  for (std::uint64_t i = 1; i <= count; ++i) {
    order_row row;
    row.id = static_cast<std::int64_t>(i);
    row.qty = static_cast<std::int64_t>(1 + below(9));
    row.customer = "customer-" + std::to_string(100000 + below(900000));
    row.price = std::to_string(1 + below(999)) + "." + two(below(100));
    row.created = "2024-" + two(1 + below(12)) + "-" + two(1 + below(28)) + "T" + two(below(24)) + ":" + two(below(60)) + ":" +
                  two(below(60)) + "Z";
    row.total = static_cast<double>(row.qty) * std::stod(row.price);
    rows.push_back(std::move(row));
  }
  return rows;
}

/// 165 bytes a line: the note takes what is left.
std::string make_lines(std::vector<order_row>& rows) {
  std::string lines;
  lines.reserve(rows.size() * 165);
  for (auto& row : rows) {
    const auto head = "{\"id\":" + std::to_string(row.id) + ",\"customer\":\"" + row.customer +
                      "\",\"qty\":" + std::to_string(row.qty) + ",\"price\":" + row.price + ",\"created\":\"" + row.created +
                      "\",\"note\":\"";
    row.note.assign(165 - head.size() - 3, 'n');
    lines += head + row.note + "\"}\n";
  }
  return lines;
}

struct sample {
  double rate = 0;
  std::uint64_t peak = 0, commits = 0;
};

sample ours(const std::string& input, const std::string& transform, std::int64_t count, std::string& ddl) {
  temp_dir dir;
  test_node node(dir / "n");
  node.start();
  write_file(dir / "n/orders.yaml",
             "pipeline: orders\nsource: { type: file, path: \"" + input +
                 "\" }\nloads:\n  - name: l\n    destination: { type: sqlite, path: out.db, table: orders }\n"
                 "    key: [id]\n    schema: { id: { type: int64, required: true }, customer: { type: text }, qty: { type: int64 "
                 "}, price: { type: decimal }, "
                 "created: { type: timestamp }, note: { type: text }, total: { type: float64 } }\n    transform:\n" +
                 transform);
  const auto start = test_clock::now();
  node.must({"pipeline", "apply", "orders.yaml"});
  const auto database = (dir / "n/out.db").string();
  const auto done = [&] { // ids rise with the offsets, so the largest one tells how far the load has come; cheap to ask
    try {
      return sqlite_file(database).number("select coalesce(max(id), 0) from orders") == count;
    } catch (const std::runtime_error&) { // no such table yet
      return false;
    }
  };
  eventually("all orders are in SQLite", done, seconds{600}, [&] { return node.status("orders").dump(2) + node.log(); });
  const std::chrono::duration<double> took = test_clock::now() - start;
  sample result{static_cast<double>(count) / took.count(), node.process().peak_memory(), 0};
  result.commits = static_cast<std::uint64_t>(node.metric("millrace_batch_seconds_count", "stage=\"load\"").value_or(0));
  sqlite_file out(database);
  if (out.number("select count(*) from orders where total is not null") != count) throw std::runtime_error("rows are missing");
  ddl = out.value("select sql from sqlite_master where name = 'orders'");
  node.terminate();
  return result;
}

double baseline(const std::vector<order_row>& rows, const std::string& ddl, std::size_t transaction) {
  temp_dir dir;
  sqlite_file file(dir / "bare.db");
  sqlite3* db = file.handle();
  file.execute("pragma journal_mode = wal");
  file.execute("pragma synchronous = full");
  sqlite3_wal_autocheckpoint(db, 1000); // SQLite's default, which sqlite_file turns off
  file.execute(ddl);
  sqlite3_stmt* upsert = nullptr;
  if (sqlite3_prepare_v2(db,
                         "insert into orders (id, customer, qty, price, created, note, total) values (?1, ?2, ?3, ?4, ?5, ?6, "
                         "?7) on conflict (id) do update set "
                         "customer = excluded.customer, qty = excluded.qty, price = excluded.price, created = excluded.created, "
                         "note = excluded.note, "
                         "total = excluded.total",
                         -1, &upsert, nullptr) != SQLITE_OK)
    throw std::runtime_error(sqlite3_errmsg(db));
  const auto text = [&](int at, const std::string& value) {
    sqlite3_bind_text(upsert, at, value.data(), static_cast<int>(value.size()), SQLITE_STATIC);
  };
  const auto start = test_clock::now();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i % transaction == 0) file.execute("begin immediate");
    const auto& row = rows[i];
    sqlite3_bind_int64(upsert, 1, row.id);
    text(2, row.customer);
    sqlite3_bind_int64(upsert, 3, row.qty);
    text(4, row.price);
    text(5, row.created);
    text(6, row.note);
    sqlite3_bind_double(upsert, 7, row.total);
    if (sqlite3_step(upsert) != SQLITE_DONE) throw std::runtime_error(sqlite3_errmsg(db));
    sqlite3_reset(upsert);
    if ((i + 1) % transaction == 0 || i + 1 == rows.size()) file.execute("commit");
  }
  const std::chrono::duration<double> took = test_clock::now() - start;
  sqlite3_finalize(upsert);
  return static_cast<double>(rows.size()) / took.count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

} // namespace

int main() try {
  const auto count = setting("MILLRACE_BENCH_CHANGES", 1000000), rounds = setting("MILLRACE_BENCH_ROUNDS", 3);
  auto rows = make_rows(count);
  temp_dir dir;
  const auto input = (dir / "orders.ndjson").string();
  write_file(input, make_lines(rows));

  const std::vector<std::pair<std::string, std::string>> variants = {
      {"where + set", "      - where: \"qty > 0\"\n      - set: { total: \"qty * price\" }\n"},
      {"lua", "      - lua: |\n          function transform(c)\n            if c.qty <= 0 then return nil end\n            "
              "c.total = c.qty * c.price\n"
              "            return c\n          end\n"}};
  std::vector<std::vector<double>> rates(variants.size()), ratios(variants.size());
  std::vector<double> bare;
  std::uint64_t peak = 0;
  std::string ddl;
  std::cout << std::fixed;
  for (std::uint64_t round = 1; round <= rounds; ++round) {
    std::vector<double> these;
    std::size_t transaction = setting("MILLRACE_BENCH_TRANSACTION", 50000);
    for (const auto& [name, transform] : variants) {
      const auto result = ours(input, transform, static_cast<std::int64_t>(count), ddl);
      these.push_back(result.rate);
      peak = std::max(peak, result.peak);
      if (transaction == 0 && result.commits) transaction = std::max<std::size_t>(1, count / result.commits);
    }
    if (transaction == 0) transaction = 6355; // a batch of 1 MiB
    bare.push_back(baseline(rows, ddl, transaction));
    for (std::size_t i = 0; i < variants.size(); ++i) {
      rates[i].push_back(these[i]);
      ratios[i].push_back(these[i] / bare.back());
      std::cout << "round " << round << ", " << variants[i].first << ": ours " << std::setprecision(0) << these[i]
                << "/s, baseline " << bare.back() << "/s (" << transaction << " rows a transaction), ratio "
                << std::setprecision(2) << these[i] / bare.back() << std::endl;
    }
  }
  for (std::size_t i = 0; i < variants.size(); ++i)
    std::cout << "file to SQLite, " << variants[i].first << " (median of " << rounds << "): ours " << std::setprecision(0)
              << median(rates[i]) << "/s, baseline " << median(bare) << "/s, ratio " << std::setprecision(2) << median(ratios[i])
              << "\n";
  std::cout << "max RSS of the node: " << (peak >> 20) << " MiB\n";
  return 0;
} catch (const std::exception& error) {
  std::cerr << "end_to_end_bench: " << error.what() << '\n';
  return 1;
}
