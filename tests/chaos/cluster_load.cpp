#include "tests/chaos/cluster_load.hpp"

#include <iostream>

namespace millrace::testing {
namespace {

constexpr int groups = 40, rows_of_group = 4;

std::string quoted(const std::string& text) { return "\"" + text + "\""; }

} // namespace

cluster_load::cluster_load(test_cluster& cluster, std::uint64_t seed) : cluster_(cluster), random_(seed) {}

cluster_load::~cluster_load() = default;

void cluster_load::begin() {
  auto& pg = cluster_.postgres();
  pg.create_database("src");
  pg.create_database("dst");
  const auto rows = std::to_string(groups * rows_of_group), each = std::to_string(rows_of_group);
  src("CREATE TABLE items(id int PRIMARY KEY, grp int NOT NULL, seq bigint NOT NULL, tx bigint NOT NULL);"
      "INSERT INTO items SELECT i, i / " +
      each + ", 0, 0 FROM generate_series(0, " + rows +
      " - 1) i;"
      "CREATE TABLE notes(id bigint PRIMARY KEY, body text NOT NULL)");
  // No constraint on the audit, on purpose: one would hide a change that was applied twice. Its own number shows the order.
  dst("CREATE TABLE audit(n bigserial, id int, grp int, seq bigint, tx bigint);"
      "CREATE TABLE notes(id bigint PRIMARY KEY, body text NOT NULL CHECK (body <> 'poison'))");
  const auto destination = "{ type: postgres, connection: " + quoted(pg.conninfo("dst"));
  cluster_.node(0).apply(
      pipeline, std::string("pipeline: ") + pipeline + "\nsource: { type: postgres, connection: " + quoted(pg.conninfo("src")) +
                    ", tables: [public.items, public.notes], heartbeat: 1s }\nlog: { replicas: 3, min_in_sync: 2 }\nloads:\n"
                    "  - { name: copy, tables: [public.items], destination: " +
                    destination +
                    " } }\n"
                    "  - { name: audit, tables: [public.items], mode: append, destination: " +
                    destination +
                    ", table: audit } }\n"
                    "  - { name: notes, tables: [public.notes], destination: " +
                    destination + " } }\n");
  eventually(
      "the snapshot is at the destination",
      [&] {
        try {
          return dst("SELECT (SELECT count(*) FROM items), (SELECT count(*) FROM audit)") == rows + "|" + rows;
        } catch (const std::runtime_error&) { // no such table yet
          return false;
        }
      },
      seconds{60},
      [&] {
        return cluster_.node(0).cli({"pipeline", "status", pipeline, "-o", "json"}).out + cluster_.logs();
      });
  writer_ = std::jthread([this](const std::stop_token& stop) { run_writer(stop); });
  reader_ = std::jthread([this](const std::stop_token& stop) { run_reader(stop); });
  writing_ = true;
  shows_more_than(written(), test_clock::now(), seconds{60});
}

void cluster_load::run_writer(const std::stop_token& stop) {
  std::mt19937_64 random(random_());
  try {
    postgres_client source(cluster_.postgres().socket_conninfo("src"));
    while (!stop.stop_requested()) {
      idle_ = !writing_;
      if (idle_) {
        ::poll(nullptr, 0, 5);
        continue;
      }
      const auto tx = written_ + 1;
      const auto id = std::to_string(tx);
      // One message is one transaction.
      auto sql = "UPDATE items SET seq = seq + 1, tx = " + id + " WHERE grp = " + std::to_string(random() % groups);
      const auto kind = random() % 16;
      if (kind < 4) sql += "; INSERT INTO notes VALUES (" + id + ", '" + (kind == 0 ? "poison" : "note " + id) + "')";
      if (kind == 5)
        sql += "; DELETE FROM notes WHERE body <> 'poison' AND id = (SELECT min(id) FROM notes WHERE body <> 'poison')";
      source.query(sql);
      poisoned_ += kind == 0;
      written_ = tx;
      ::poll(nullptr, 0, 3);
    }
  } catch (const std::exception& e) {
    std::lock_guard lock(mutex_);
    wrong_ += std::string("writer: ") + e.what() + "\n";
    idle_ = true;
  }
}

void cluster_load::run_reader(const std::stop_token& stop) {
  try {
    postgres_client destination(cluster_.postgres().socket_conninfo("dst"));
    std::uint64_t last = 0;
    while (!stop.stop_requested()) {
      const auto seen = destination.query("SELECT coalesce(max(tx), 0), (SELECT count(*) FROM (SELECT FROM items GROUP BY grp "
                                          "HAVING min(tx) <> max(tx)) h) FROM items");
      const auto bar = seen.find('|');
      const auto tx = std::stoull(seen.substr(0, bar));
      std::lock_guard lock(mutex_);
      ++looks_;
      if (seen.substr(bar + 1) != "0" && wrong_.size() < 1000) wrong_ += "half of a transaction was seen: " + seen + "\n";
      if (tx < last && wrong_.size() < 1000)
        wrong_ += "the destination went back from transaction " + std::to_string(last) + " to " + std::to_string(tx) + "\n";
      if (tx > last) arrived_.emplace_back(test_clock::now(), last = tx);
      mutex_.unlock();
      ::poll(nullptr, 0, 10);
      mutex_.lock();
    }
  } catch (const std::exception& e) {
    std::lock_guard lock(mutex_);
    wrong_ += std::string("reader: ") + e.what() + "\n";
  }
}

milliseconds cluster_load::shows_more_than(std::uint64_t transaction, test_clock::time_point since, milliseconds limit) {
  std::optional<test_clock::time_point> at;
  eventually(
      "a transaction after " + std::to_string(transaction) + " is at the destination",
      [&] {
        std::lock_guard lock(mutex_);
        if (!wrong_.empty()) throw std::runtime_error(wrong_);
        for (auto it = arrived_.rbegin(); it != arrived_.rend() && it->second > transaction; ++it) at = it->first;
        return at.has_value();
      },
      limit, [&] { return cluster_.status().dump(2) + cluster_.logs(); });
  return std::chrono::duration_cast<milliseconds>(*at - since);
}

milliseconds cluster_load::longest_stall(test_clock::time_point since) {
  std::lock_guard lock(mutex_);
  auto before = since;
  milliseconds longest{0};
  auto look = [&](test_clock::time_point at) {
    longest = std::max(longest, std::chrono::duration_cast<milliseconds>(at - before));
    before = at;
  };
  for (const auto& [at, tx] : arrived_)
    if (at > since) look(at);
  look(test_clock::now());
  return longest;
}

void cluster_load::check() {
  writing_ = false;
  eventually("the writer rests", [this] { return idle_.load(); });
  std::string sides;
  auto equal = [&](const std::string& table, const std::string& where) {
    const auto sql = "SELECT count(*), sum(hashtextextended(t::text, 0)::numeric) FROM " + table + " t " + where;
    const auto a = src(sql), b = dst(sql.substr(0, sql.size() - where.size()));
    if (a != b) sides += table + ": source " + a + ", destination " + b + "\n";
    return a == b;
  };
  const auto changes = std::to_string(written_ * rows_of_group + groups * rows_of_group);
  eventually(
      "source and destination are equal, and the audit has all",
      [&] {
        sides.clear();
        const auto audited = dst("SELECT count(*) FROM audit");
        sides = "audit: " + audited + " of " + changes + "\n";
        return equal("items", "") && equal("notes", "WHERE body <> 'poison'") && std::stoull(audited) >= std::stoull(changes);
      },
      seconds{60},
      [&] {
        return sides + cluster_.ask({"pipeline", "status", pipeline}).dump(2) + cluster_.status().dump(2) + cluster_.logs();
      });
  check_audit();
  check_letters();
  const auto verified = cluster_.ask({"verify", std::string(pipeline) + "/copy"}, seconds{60});
  BOOST_TEST(verified.at("equal") == true, verified.dump(2));
  {
    std::lock_guard lock(mutex_);
    BOOST_TEST(wrong_ == "");
    BOOST_TEST(looks_ > 0u);
  }
  writing_ = true;
}

void cluster_load::check_audit() {
  BOOST_TEST(dst("SELECT count(*) FROM audit") == std::to_string(written_ * rows_of_group + groups * rows_of_group));
  BOOST_TEST(
      dst("SELECT count(*) FROM (SELECT FROM audit GROUP BY id, seq HAVING count(*) > 1) x") == "0",
      "changes were applied twice: " << dst("SELECT id, seq, count(*) FROM audit GROUP BY 1, 2 HAVING count(*) > 1 LIMIT 5"));
  BOOST_TEST(dst("SELECT count(*) FROM (SELECT FROM audit GROUP BY id HAVING min(seq) <> 0 OR max(seq) <> count(*) - 1) x") ==
                 "0",
             "changes were lost");
  BOOST_TEST(dst("SELECT count(*) FROM (SELECT seq, lag(seq) OVER (PARTITION BY id ORDER BY n) AS before FROM audit) x "
                 "WHERE seq <= before") == "0",
             "changes of a key were applied out of order");
}

void cluster_load::check_letters() {
  // The last transaction's may still be on its way: no row of it shows that it is through.
  auto letters = cluster_.ask({"dead-letters", "list", pipeline, "--load", "notes"});
  becomes(
      [&] {
        letters = cluster_.ask({"dead-letters", "list", pipeline, "--load", "notes"});
        return letters.size() >= poisoned_.load();
      },
      seconds{30}, milliseconds{100});
  std::set<std::string> keys;
  for (const auto& letter : letters) keys.insert(letter.at("key").dump());
  BOOST_TEST(letters.size() == poisoned_.load());
  BOOST_TEST(keys.size() == poisoned_.load(),
             "dead letters are there twice: " << letters.size() << " of " << keys.size() << " keys");
}

} // namespace millrace::testing
