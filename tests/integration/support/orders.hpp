#pragma once
// The workload: a seeded stream of Debezium envelopes over a few keys, some of them poison, and a model of what must become of
// it.

#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace millrace::testing {

struct order {
  std::string customer, price; ///< price: a decimal by its digits
  std::int64_t qty = 0;
  std::uint64_t seq = 0;
  auto operator<=>(const order&) const = default;
};

struct expected_letter {
  std::string reason; ///< parse, schema, type, constraint, held
  std::string payload;
  auto operator<=>(const expected_letter&) const = default;
};

/// What a load with `mode: upsert`, the schema of order_schema() and the table of order_table() must end with.
/// Simple on purpose: one change at a time, no batches, no workers.
class order_model {
public:
  explicit order_model(bool hold) : hold_(hold) {}
  enum class poison : std::uint8_t { none, bad_json, wrong_type, missing_field, constraint };

  void tombstone() { ++ingested, ++filtered; }
  /// An insert or an update of the whole row; `moved_from` is the key before, or 0.
  void write(const std::string& line, std::int64_t key, std::int64_t moved_from, const order& row, poison bad);
  void remove(const std::string& line, std::int64_t key, poison bad);

  std::map<std::int64_t, order> rows;
  std::vector<expected_letter> letters; ///< in the order of the log
  std::uint64_t ingested = 0, delivered = 0, filtered = 0;

private:
  bool quarantined(const std::string& line, std::int64_t key, std::int64_t moved_from, poison bad);
  bool hold_;
  std::set<std::int64_t> blocked_;
};

struct order_options {
  std::uint64_t seed = 1;
  std::int64_t keys = 1000;
  double poison = 0.01;
  bool hold = true;
};

/// Makes the lines and tells the model. Inserts, updates, deletes, key-changing updates and tombstones.
class order_stream {
public:
  explicit order_stream(const order_options& options) : options_(options), random_(options.seed), expected_(options.hold) {}
  /// The next `count` changes as NDJSON.
  std::string next(std::size_t count);
  const order_model& expected() const noexcept { return expected_; }
  std::uint64_t made() const noexcept { return seq_; }

private:
  std::string one();
  std::uint64_t below(std::uint64_t bound) {
    return random_() % bound;
  } // the same everywhere, unlike the library's distributions
  order_options options_;
  std::mt19937_64 random_;
  order_model expected_;
  std::map<std::int64_t, std::size_t> at_source_; ///< key -> its place in keys_
  std::vector<std::int64_t> keys_;
  std::uint64_t seq_ = 0;
};

/// `$MILLRACE_SEED`, else a new one; printed, so that a failure can be had again.
std::uint64_t test_seed();
/// The DDL of a table with a rule that some poison breaks.
std::string order_table();
/// The load's `schema:` mapping, in flow style.
std::string order_schema();
/// A pipeline over `input` into table orders of `database`; `more` is added to the load, indented by four.
std::string order_spec(const std::string& pipeline, const std::string& input, const std::string& database, bool follow,
                       const std::string& on_error = "{ action: quarantine, later_changes_of_key: hold }",
                       const std::string& more_loads = "");

} // namespace millrace::testing
