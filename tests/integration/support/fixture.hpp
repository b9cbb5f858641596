#pragma once
// What nearly every case starts from: a folder and a running node in it.

#include "tests/integration/support/orders.hpp"
#include "tests/integration/support/test_node.hpp"

#include <boost/test/unit_test.hpp>

namespace millrace::testing {

struct idle_node {
  explicit idle_node(node_settings settings = {}) : node(dir / "n", std::move(settings)) {}
  temp_dir dir;
  test_node node;
  std::string path(const std::string& name) const { return (node.directory() / name).string(); }
};

struct running_node : idle_node {
  running_node() { node.start(); }
};

/// A file source of plain NDJSON with one load into `table` of out.db; `load` is the rest of the load, in flow style, without
/// braces.
inline std::string plain_spec(const std::string& pipeline, const std::string& input, const std::string& load, bool follow = false,
                              const std::string& table = "t") {
  return "pipeline: " + pipeline + "\nsource: { type: file, path: \"" + input + "\", follow: " + (follow ? "true" : "false") +
         " }\nloads:\n  - { name: l, destination: { type: sqlite, path: out.db, table: " + table + " }, " + load + " }\n";
}

/// Dead letters as reason and payload, in the order that they were listed.
inline std::vector<expected_letter> letters_of(const json& list) {
  std::vector<expected_letter> letters;
  for (const auto& letter : list)
    letters.push_back({letter.at("reason").get<std::string>(),
                       letter.at("payload").is_string() ? letter.at("payload").get<std::string>() : letter.at("payload").dump()});
  return letters;
}

/// The rows of table orders, as order_model has them.
inline std::map<std::int64_t, order> orders_in(const std::string& database) {
  std::map<std::int64_t, order> rows;
  for (const auto& row : sqlite_file(database).rows("select id, seq, qty, price, customer from orders")) {
    std::vector<std::string> cell(1);
    for (const char c : row) {
      if (c == '|')
        cell.emplace_back();
      else
        cell.back() += c;
    }
    rows[std::stoll(cell[0])] = order{cell[4], cell[3], std::stoll(cell[2]), std::stoull(cell[1])};
  }
  return rows;
}

/// Checks rows, dead letters (in order) and counts of load `current` against the model; reports the first differences.
inline void check_against(const order_model& expected, test_node& node, const std::string& pipeline,
                          const std::string& database) {
  const auto rows = orders_in(database);
  BOOST_TEST(rows.size() == expected.rows.size());
  int shown = 0;
  for (const auto& [key, row] : expected.rows) {
    const auto found = rows.find(key);
    if (found != rows.end() && found->second == row) continue;
    BOOST_ERROR("order " << key << ": expected seq " << row.seq << " " << row.customer << " " << row.qty << " " << row.price
                         << ", found "
                         << (found == rows.end() ? std::string("nothing")
                                                 : "seq " + std::to_string(found->second.seq) + " " + found->second.customer +
                                                       " " + std::to_string(found->second.qty) + " " + found->second.price));
    if (++shown == 5) break;
  }
  for (const auto& [key, row] : rows)
    if (!expected.rows.contains(key) && ++shown < 10)
      BOOST_ERROR("order " << key << " (seq " << row.seq << ") should not be there");
  const auto letters = letters_of(node.dead_letters(pipeline, "current"));
  BOOST_TEST(letters.size() == expected.letters.size());
  for (std::size_t i = 0; i < std::min(letters.size(), expected.letters.size()); ++i)
    if (letters[i] != expected.letters[i]) {
      BOOST_ERROR("dead letter " << i << ": expected " << expected.letters[i].reason << " " << expected.letters[i].payload
                                 << ", found " << letters[i].reason << " " << letters[i].payload);
      break;
    }
  const auto status = node.status(pipeline);
  BOOST_TEST(status.at("ingested").get<std::uint64_t>() == expected.ingested);
  const auto load = node.load(pipeline, "current");
  BOOST_TEST(load.at("delivered").get<std::uint64_t>() == expected.delivered);
  BOOST_TEST(load.at("filtered").get<std::uint64_t>() == expected.filtered);
  BOOST_TEST(load.at("dead_letters").at("open").get<std::uint64_t>() == expected.letters.size());
  BOOST_TEST(unaccounted(node, pipeline) == "");
}

} // namespace millrace::testing
