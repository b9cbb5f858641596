// What one worker makes of a second: decode, SQL steps, a Lua step, each over the same orders of about 165 bytes; and, as the
// baseline of decode, simdjson's on-demand parser reading the same fields without checking the rest.
#include "actors/transform/transformer.hpp"
#include "tests/unit/transform/pg_support.hpp"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <simdjson.h>

using namespace millrace::test;

namespace {
storage::batch_ptr orders(std::uint32_t first, std::uint32_t count) {
  storage::change_block block;
  char line[256];
  for (std::uint32_t i = first; i < first + count; ++i) {
    const int n = std::snprintf(
        line, sizeof line,
        R"({"id":%u,"customer":"customer-%05u","qty":%d,"price":%u.%02u,"currency":"EUR","status":"%s","created":"2024-03-%02uT12:%02u:00Z","note":"left at the door %u"})",
        i, i * 7919 % 100000, static_cast<int>(i % 11) - 1, 5 + i % 90, i % 100, i % 3 ? "paid" : "open", 1 + i % 28, i % 60, i);
    block.starts.push_back(static_cast<std::uint32_t>(block.payloads.size()));
    block.lengths.push_back(static_cast<std::uint32_t>(n));
    block.payloads.append(line, static_cast<std::size_t>(n));
    block.payloads += '\n';
  }
  return std::make_shared<fake_batch>(std::move(block), first);
}

pg_test_table pg_orders() {
  pg_test_table t;
  t.columns = {{"id", "bigint", oid::int8, 1},
               {"customer", "text", oid::text},
               {"qty", "integer", oid::int4},
               {"price", "numeric(10,2)", oid::numeric},
               {"created", "timestamp with time zone", oid::timestamptz},
               {"note", "text", oid::text}};
  return t;
}
storage::batch_ptr pg_changes(std::uint32_t first, std::uint32_t count, storage::payload_format format, bool updates) {
  std::vector<std::string> messages;
  char qty[16], price[16], created[40], note[32], customer[32];
  for (std::uint32_t i = first; i < first + count; ++i) {
    std::snprintf(customer, sizeof customer, "customer-%05u", i * 7919 % 100000);
    std::snprintf(qty, sizeof qty, "%d", static_cast<int>(i % 11) - 1);
    std::snprintf(price, sizeof price, "%u.%02u", 5 + i % 90, i % 100);
    std::snprintf(created, sizeof created, "2024-03-%02u 12:%02u:00.25+00", 1 + i % 28, i % 60);
    std::snprintf(note, sizeof note, "left at the door %u", i);
    const auto id = std::to_string(i);
    if (format == storage::payload_format::pgcopy)
      messages.push_back(id + '\t' + customer + '\t' + qty + '\t' + price + '\t' + created + '\t' + note);
    else
      messages.push_back(updates ? pg_update({id, customer, qty, price, created, note})
                                 : pg_insert({id, customer, qty, price, created, note}));
  }
  return std::make_shared<fake_batch>(pg_block(messages, context_of({pg_orders()}), format), first);
}

load_builder schema() {
  load_builder b;
  b.column("id", data_type::int64)
      .column("customer", data_type::text)
      .column("qty", data_type::int64)
      .column("price", data_type::decimal);
  b.column("currency", data_type::text)
      .column("status", data_type::text)
      .column("created", data_type::timestamp)
      .column("note", data_type::text);
  return b;
}

/// This thread's processor time: the machine may be shared with others.
double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

template <class Body>
double best_rate(const std::vector<storage::batch_ptr>& batches, Body&& body) {
  double best = 0;
  for (int round = 0; round < 9; ++round) {
    std::size_t changes = 0;
    const double begin = cpu_seconds();
    for (const auto& b : batches) {
      body(b);
      changes += b->count();
    }
    const double seconds = cpu_seconds() - begin;
    best = std::max(best, static_cast<double>(changes) / seconds);
  }
  return best;
}

double on_demand(const storage::batch_ptr& batch, simdjson::ondemand::parser& parser, double& sum) {
  for (std::uint32_t i = 0; i + 1 < batch->count(); ++i) {
    const std::string_view p = batch->payload(i);
    auto doc = parser.iterate(p.data(), p.size(), p.size() + simdjson::SIMDJSON_PADDING);
    for (auto field : doc.get_object()) {
      const std::string_view key = field.unescaped_key();
      if (key == "id" || key == "qty")
        sum += static_cast<double>(std::int64_t(field.value().get_int64()));
      else if (key == "price")
        sum += static_cast<double>(std::string_view(field.value().raw_json_token()).size());
      else
        sum += static_cast<double>(std::string_view(field.value().get_string()).size());
    }
  }
  return sum;
}
} // namespace

int main(int argc, char** argv) {
  const std::string only = argc > 1 ? argv[1] : ""; // one measurement, for a profiler
  std::vector<storage::batch_ptr> batches;
  for (std::uint32_t i = 0; i < 32; ++i) batches.push_back(orders(i * 6000, 6000));
  std::printf("bytes a change: %.0f\n", static_cast<double>(batches[0]->payloads().size()) / 6000);

  simdjson::ondemand::parser parser;
  double sum = 0;
  const double baseline = best_rate(batches, [&](const auto& b) { on_demand(b, parser, sum); });
  std::printf("%-42s %10.0f changes/s\n", "simdjson on demand, same fields (baseline)", baseline);
  const auto measure = [&](const char* name, const load_builder& load) {
    if (!only.empty() && only != name) return;
    const auto t = make(load.load);
    const double rate = best_rate(batches, [&](const auto& b) { t->run(b, 0, b->count()); });
    std::printf("%-42s %10.0f changes/s  %.2f of the baseline\n", name, rate, rate / baseline);
  };
  measure("decode", schema());
  measure("decode without a schema", load_builder{});
  measure("decode + where", schema().where("qty > 0"));
  measure("decode + set", schema().set({{"total", "qty * price"}}));
  measure("decode + where + set", schema().where("qty > 0").set({{"total", "qty * price"}}));
  measure("decode + lua", schema().lua("function transform(change) change.total = change.qty * change.price return change end"));
  measure("decode + lua untouched", schema().lua("function transform(change) return change end"));

  using format = storage::payload_format;
  for (const auto& [name, of, updates] :
       {std::tuple("pgoutput inserts", format::pgoutput, false), std::tuple("pgoutput updates", format::pgoutput, true),
        std::tuple("pgcopy rows", format::pgcopy, false)}) {
    batches.clear();
    for (std::uint32_t i = 0; i < 32; ++i) batches.push_back(pg_changes(i * 6000, 6000, of, updates));
    std::printf("%s: %.0f bytes a change\n", name, static_cast<double>(batches[0]->payloads().size()) / 6000);
    measure((std::string(name) + ", columns of the source").c_str(), from_source());
    measure((std::string(name) + ", where + set").c_str(), from_source().where("qty > 0").set({{"total", "qty * price"}}));
  }
  return sum == 0;
}
