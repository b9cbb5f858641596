// The SQLite destination against a bare loop of prepared upserts of the same cells: same pragmas, same transactions.
//   sqlite_bench [ROWS] [ROWS_A_TRANSACTION] [DIRECTORY] [MODE]     MODE: upsert (default), append, soft_delete, history,
//   textkey, updates

#include "actors/load/destination.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <sqlite3.h>
#include <string>
#include <sys/resource.h>

using namespace millrace;
using namespace millrace::actors;
using transform::cell;

namespace {

constexpr std::size_t set_rows = 6000; // about 1 MiB of orders: a batch
constexpr const char* names[] = {"id", "customer", "qty", "price", "total", "created"};

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
  std::size_t bytes() const noexcept override { return 0; }
  std::string_view payloads() const noexcept override { return {}; }
  std::string_view payload(std::uint32_t) const noexcept override { return {}; }
  storage::payload_format format() const noexcept override { return storage::payload_format::json; }
  storage::envelope envelope() const noexcept override { return storage::envelope::none; }
  std::string_view origin() const noexcept override { return {}; }
  std::string_view context() const noexcept override { return {}; }
  std::string source_position(std::uint32_t) const override { return {}; }
  const storage::control_entry& control() const noexcept override { std::abort(); }

private:
  std::uint64_t base_;
};

struct everything final : load::row_gate {
  std::size_t refused = 0;
  bool admit(const transform::row_set&, const transform::row&) override { return true; }
  bool rejected(const transform::row_set&, const transform::row&, load::row_error why) override {
    if (!refused++) std::fprintf(stderr, "rejected: %s\n", why.message.c_str());
    return true;
  }
};

std::vector<transform::row_set_ptr> orders(std::size_t count, bool text_key, std::size_t keys) {
  auto layout = std::make_shared<transform::table_layout>();
  const data_type types[] = {text_key ? data_type::text : data_type::int64,
                             data_type::text,
                             data_type::int64,
                             data_type::decimal,
                             data_type::float64,
                             data_type::timestamp};
  for (std::size_t i = 0; i < 6; ++i) layout->columns.push_back({names[i], types[i], "", false, i == 0});
  layout->key = {0};
  std::mt19937_64 random(7);
  std::vector<transform::row_set_ptr> out;
  for (std::size_t at = 0; at < count; at += set_rows) {
    auto set = std::make_shared<transform::row_set>();
    const auto n = std::min(set_rows, count - at);
    auto text = std::make_shared<std::vector<char>>(n * 128);
    char* p = text->data();
    const auto put = [&](const char* format, auto... v) {
      const int len = std::snprintf(p, 64, format, v...);
      const std::string_view view(p, static_cast<std::size_t>(len));
      p += len;
      return cell::text(view);
    };
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint64_t r = random();
      const std::uint64_t id = keys ? r % keys : at + i;
      transform::row row;
      row.change = static_cast<std::uint32_t>(i);
      row.first_cell = static_cast<std::uint32_t>(set->cells.size());
      set->rows.push_back(row);
      const auto qty = static_cast<std::int64_t>(r % 9 + 1);
      const unsigned cents = static_cast<unsigned>(r >> 40) % 100000;
      set->cells.push_back(text_key ? put("order-%016llx", static_cast<unsigned long long>(id * 0x9e3779b97f4a7c15ull))
                                    : cell::of(static_cast<std::int64_t>(id)));
      set->cells.push_back(put("customer-%06u", static_cast<unsigned>(r % 50000)));
      set->cells.push_back(cell::of(qty));
      set->cells.push_back(put("%u.%02u", cents / 100, cents % 100));
      set->cells.push_back(cell::of(static_cast<double>(qty) * cents / 100.0));
      set->cells.push_back(put("2026-%02u-%02uT12:34:56Z", static_cast<unsigned>(r % 12 + 1), static_cast<unsigned>(r % 28 + 1)));
    }
    set->end = static_cast<std::uint32_t>(n);
    set->layouts = {layout};
    set->memory.push_back(text);
    set->batch = std::make_shared<no_changes>(at);
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

double ours(const std::string& path, const std::vector<transform::row_set_ptr>& sets, std::size_t in_transaction, load_mode mode,
            bool text_key) {
  load_spec spec;
  spec.name = "bench";
  spec.destination.type = "sqlite";
  spec.destination.path = path;
  table_spec table;
  table.to = "orders";
  table.mode = mode;
  table.key = {"id"};
  table.has_schema = true;
  const data_type types[] = {text_key ? data_type::text : data_type::int64,
                             data_type::text,
                             data_type::int64,
                             data_type::decimal,
                             data_type::float64,
                             data_type::timestamp};
  for (std::size_t i = 0; i < 6; ++i) {
    field_spec f;
    f.name = names[i];
    f.type = types[i];
    table.schema.push_back(f);
  }
  spec.tables = {table};
  auto made = load::make_destination(spec);
  check(made.has_value(), "make_destination");
  auto& d = *made.value();
  const auto claimed = d.claim({"bench", "bench", 0, {1}, {1}, {}});
  check(claimed.has_value(), claimed ? "" : claimed.error().message);
  everything gate;
  return seconds([&] {
    std::size_t open = 0;
    std::uint64_t next = 0;
    for (const auto& set : sets) {
      if (!open) check(d.begin().has_value(), "begin");
      const auto ok = d.apply(set, 0, set->rows.size(), gate);
      check(ok.has_value(), ok ? "" : ok.error().message);
      open += set->rows.size();
      next += set->rows.size();
      if (open < in_transaction && set != sets.back()) continue;
      const auto done = d.commit({{next}, 0});
      check(done.has_value(), done ? "" : done.error().message);
      open = 0;
    }
  });
}

double bare(const std::string& path, const std::vector<transform::row_set_ptr>& sets, std::size_t in_transaction, bool text_key,
            bool append) {
  sqlite3* db = nullptr;
  check(sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr) ==
            SQLITE_OK,
        "open");
  const auto run = [&](const std::string& sql) {
    check(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK, sqlite3_errmsg(db));
  };
  run("PRAGMA page_size=8192; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA "
      "secure_delete=OFF; PRAGMA "
      "cache_size=-32768;"
      "PRAGMA wal_autocheckpoint=8192");
  run(append ? "CREATE TABLE orders(id INTEGER, customer TEXT, qty INTEGER, price TEXT, total REAL, created TEXT)"
      : text_key
          ? "CREATE TABLE orders(id TEXT NOT NULL, customer TEXT, qty INTEGER, price TEXT, total REAL, created TEXT, PRIMARY "
            "KEY(id))"
          : "CREATE TABLE orders(id INTEGER PRIMARY KEY, customer TEXT, qty INTEGER, price TEXT, total REAL, created TEXT)");
  sqlite3_stmt* s = nullptr;
  const std::string sql = std::string("INSERT INTO orders VALUES(?1,?2,?3,?4,?5,?6)") +
                          (append ? ""
                                  : " ON CONFLICT(id) DO UPDATE SET customer=excluded.customer, qty=excluded.qty, "
                                    "price=excluded.price, total=excluded.total, created=excluded.created");
  check(sqlite3_prepare_v3(db, sql.c_str(), -1, SQLITE_PREPARE_PERSISTENT, &s, nullptr) == SQLITE_OK, sqlite3_errmsg(db));
  const double took = seconds([&] {
    std::size_t open = 0;
    for (const auto& set : sets) {
      if (!open) run("BEGIN IMMEDIATE");
      for (const auto& r : set->rows) {
        const auto* c = set->cells_of(r);
        if (text_key)
          sqlite3_bind_text(s, 1, c[0].p, static_cast<int>(c[0].size), SQLITE_STATIC);
        else
          sqlite3_bind_int64(s, 1, c[0].i);
        sqlite3_bind_text(s, 2, c[1].p, static_cast<int>(c[1].size), SQLITE_STATIC);
        sqlite3_bind_int64(s, 3, c[2].i);
        sqlite3_bind_text(s, 4, c[3].p, static_cast<int>(c[3].size), SQLITE_STATIC);
        sqlite3_bind_double(s, 5, c[4].d);
        sqlite3_bind_text(s, 6, c[5].p, static_cast<int>(c[5].size), SQLITE_STATIC);
        check(sqlite3_step(s) == SQLITE_DONE, sqlite3_errmsg(db));
        sqlite3_reset(s);
      }
      open += set->rows.size();
      if (open < in_transaction && set != sets.back()) continue;
      run("COMMIT");
      open = 0;
    }
  });
  sqlite3_finalize(s);
  sqlite3_close(db);
  return took;
}

} // namespace

int main(int argc, char** argv) {
  const std::size_t rows = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1000000;
  const std::size_t in_transaction = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 48000;
  const std::string parent = argc > 3 ? argv[3] : std::filesystem::temp_directory_path().string();
  const std::string what = argc > 4 ? argv[4] : "upsert";
  const bool text_key = what == "textkey";
  const auto mode = what == "append"        ? load_mode::append
                    : what == "soft_delete" ? load_mode::soft_delete
                    : what == "history"     ? load_mode::history
                                            : load_mode::upsert;
  std::string folder = parent + "/millrace-sqlite-bench-XXXXXX";
  check(mkdtemp(folder.data()) != nullptr, "cannot make a folder in " + parent);
  const auto sets = orders(rows, text_key, what == "updates" ? 100000 : 0);
  const auto path = [&](const char* who, int round) { return folder + "/" + who + std::to_string(round) + ".db"; };
  double best_ours = 1e9, best_bare = 1e9;
  for (int round = 0; round < 3; ++round) { // taken in turns: the machine's mood hits both
    best_bare = std::min(best_bare, bare(path("bare", round), sets, in_transaction, text_key, what == "append"));
    best_ours = std::min(best_ours, ours(path("ours", round), sets, in_transaction, mode, text_key));
    std::filesystem::remove(path("bare", round));
    std::filesystem::remove(path("ours", round));
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::printf("sqlite %s: %zu rows, %zu a transaction: ours %.0f rows/s, baseline %.0f rows/s, ratio %.2f (max RSS %ld MiB, "
              "input included)\n",
              what.c_str(), rows, in_transaction, static_cast<double>(rows) / best_ours, static_cast<double>(rows) / best_bare,
              best_bare / best_ours, usage.ru_maxrss / 1024);
  std::filesystem::remove_all(folder);
}
