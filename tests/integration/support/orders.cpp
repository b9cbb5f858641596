#include "tests/integration/support/orders.hpp"

#include <cstdlib>
#include <iostream>

namespace millrace::testing {

// ---- the model

bool order_model::quarantined(const std::string& line, std::int64_t key, std::int64_t moved_from, poison bad) {
  ++ingested;
  if (bad == poison::bad_json) { // its key cannot be read, so nothing waits for it
    letters.push_back({"parse", line});
    return true;
  }
  const bool waits = hold_ && (blocked_.contains(key) || (moved_from && blocked_.contains(moved_from)));
  std::string reason;
  if (bad == poison::wrong_type)
    reason = "type";
  else if (bad == poison::missing_field)
    reason = "schema";
  else if (waits)
    reason = "held"; // the destination does not see it, so its rule is not asked
  else if (bad == poison::constraint)
    reason = "constraint";
  else
    return false;
  letters.push_back({reason, line});
  blocked_.insert(key);
  if (moved_from) blocked_.insert(moved_from);
  return true;
}

void order_model::write(const std::string& line, std::int64_t key, std::int64_t moved_from, const order& row, poison bad) {
  if (quarantined(line, key, moved_from, bad)) return;
  if (moved_from) rows.erase(moved_from);
  rows[key] = row;
  ++delivered;
}

void order_model::remove(const std::string& line, std::int64_t key, poison bad) {
  if (quarantined(line, key, 0, bad)) return;
  rows.erase(key);
  ++delivered;
}

// ---- the stream

std::string order_stream::next(std::size_t count) {
  std::string lines;
  lines.reserve(count * 170);
  for (std::size_t i = 0; i < count; ++i) lines += one() + "\n";
  return lines;
}

std::string order_stream::one() {
  using poison = order_model::poison;
  ++seq_;
  if (below(500) == 0) {
    expected_.tombstone();
    return "null";
  }
  const auto number = std::to_string(seq_);
  const auto source = R"("source":{"schema":"public","table":"orders","lsn":)" + number + "}";
  const auto when = R"("ts_ms":)" + std::to_string(1700000000000 + static_cast<std::int64_t>(seq_));
  const auto dice = below(100);
  const bool spoil = static_cast<double>(below(1000000)) < options_.poison * 1e6;

  auto key = static_cast<std::int64_t>(1 + below(static_cast<std::uint64_t>(options_.keys)));
  const bool exists = at_source_.contains(key);
  const auto forget = [this](std::int64_t gone) {
    const auto place = at_source_.at(gone);
    at_source_[keys_.back()] = place;
    keys_[place] = keys_.back();
    keys_.pop_back();
    at_source_.erase(gone);
  };
  const auto learn = [this](std::int64_t fresh) {
    at_source_[fresh] = keys_.size();
    keys_.push_back(fresh);
  };
  const auto cut = [](std::string line) { return line.substr(0, line.size() - 5); }; // still names its lsn, no longer JSON

  if (exists && dice < 15) {
    auto line = "{" + source + R"(,"op":"d","before":{"id":)" + std::to_string(key) + R"(},"after":null,)" + when + "}";
    if (spoil) line = cut(line);
    forget(key);
    expected_.remove(line, key, spoil ? poison::bad_json : poison::none);
    return line;
  }
  std::int64_t moved_from = 0;
  if (!exists && dice < 5 && !keys_.empty()) { // an update that gives a row a new key
    moved_from = keys_[below(keys_.size())];
    forget(moved_from);
  }
  if (!exists) learn(key);

  order row;
  row.seq = seq_;
  row.customer = "customer-" + std::to_string(below(5000));
  row.qty = static_cast<std::int64_t>(below(1000));
  const auto cents = std::to_string(below(100));
  row.price = std::to_string(below(10000)) + "." + (cents.size() < 2 ? "0" + cents : cents);
  const auto bad = spoil ? static_cast<poison>(1 + below(4)) : poison::none;
  auto qty = std::to_string(row.qty);
  if (bad == poison::wrong_type) qty = "\"many\"";
  if (bad == poison::constraint) qty = std::to_string(5000 + row.qty);
  const auto after = R"({"id":)" + std::to_string(key) +
                     (bad == poison::missing_field ? "" : R"(,"customer":")" + row.customer + "\"") + R"(,"qty":)" + qty +
                     R"(,"price":)" + row.price + R"(,"seq":)" + number + "}";
  const auto before = moved_from ? R"({"id":)" + std::to_string(moved_from) + "}" : std::string("null");
  auto line = "{" + source + R"(,"op":")" + (exists || moved_from ? "u" : "c") + R"(","before":)" + before + R"(,"after":)" +
              after + "," + when + "}";
  if (bad == poison::bad_json) line = cut(line);
  expected_.write(line, key, moved_from, row, bad);
  return line;
}

// ---- what a test writes down

std::uint64_t test_seed() {
  const char* given = std::getenv("MILLRACE_SEED");
  const auto seed = given && *given ? std::strtoull(given, nullptr, 10) : std::uint64_t{std::random_device{}()};
  std::cerr << "MILLRACE_SEED=" << seed << '\n';
  return seed;
}

std::string order_table() {
  return "create table orders (id integer primary key, customer text not null, qty integer constraint small_qty check (qty < "
         "1000), "
         "price text, seq integer)";
}

std::string order_schema() {
  return "{ id: { type: int64, required: true }, customer: { type: text, required: true }, qty: { type: int64 }, price: { type: "
         "decimal }, "
         "seq: { type: int64, required: true } }";
}

std::string order_spec(const std::string& pipeline, const std::string& input, const std::string& database, bool follow,
                       const std::string& on_error, const std::string& more_loads) {
  return "pipeline: " + pipeline + "\nsource: { type: file, path: \"" + input +
         "\", format: ndjson, envelope: debezium, follow: " + (follow ? "true" : "false") +
         " }\nloads:\n  - name: current\n    destination: { type: sqlite, path: \"" + database +
         "\", table: orders }\n    mode: upsert\n    key: [id]\n    schema: " + order_schema() + "\n    on_error: " + on_error +
         "\n" + more_loads;
}

} // namespace millrace::testing
