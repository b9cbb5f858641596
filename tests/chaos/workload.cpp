#include "tests/chaos/workload.hpp"

#include <algorithm>
#include <iomanip>
#include <sstream>

namespace millrace::testing {
namespace {

std::vector<std::string> normalised(const json& letters) {
  std::vector<std::string> found;
  for (const auto& letter : letters) {
    std::string line;
    for (const auto* key : {"source_position", "reason", "op", "table", "key", "payload", "state"})
      line +=
          (line.empty() ? "" : " | ") + (letter.at(key).is_string() ? letter.at(key).get<std::string>() : letter.at(key).dump());
    found.push_back(std::move(line));
  }
  return found;
}

void compare(const std::string& what, const std::vector<std::string>& disturbed, const std::vector<std::string>& undisturbed) {
  BOOST_TEST(disturbed.size() == undisturbed.size(),
             what << ": " << disturbed.size() << " after the faults, " << undisturbed.size() << " without");
  const auto end = std::min(disturbed.size(), undisturbed.size());
  for (std::size_t i = 0; i < end; ++i)
    if (disturbed[i] != undisturbed[i]) {
      BOOST_ERROR(what << ", number " << i << ":\n  with faults    " << disturbed[i] << "\n  without faults " << undisturbed[i]);
      return;
    }
}

} // namespace

chaos_run::chaos_run(const std::filesystem::path& directory, const std::string& input)
    : input_(input), database_((directory / "out.db").string()), node_(directory) {
  sqlite_file database(database_);
  database.execute(order_table());
  // No constraint on purpose: one would hide a change that was applied twice.
  database.execute("create table audit (id integer, seq integer, op text, off integer)");
}

void chaos_run::apply() {
  node_.apply(
      "orders",
      order_spec(
          "orders", input_, database_, true, "{ action: quarantine, later_changes_of_key: hold }",
          "  - name: audit\n    destination: { type: sqlite, path: \"" + database_ +
              "\", table: audit }\n    mode: append\n"
              "    schema: { id: { type: int64, required: true }, seq: { type: int64, required: true } }\n"
              "    transform:\n      - lua: \"function transform(c, meta) c.op = meta.op c.off = meta.offset return c end\"\n"));
}

std::uint64_t chaos_run::progress() {
  try {
    return static_cast<std::uint64_t>(
        sqlite_file(database_).number("select coalesce(sum(next_offset), 0) from _millrace_offsets"));
  } catch (const std::runtime_error&) { // no such table yet
    return 0;
  }
}

void chaos_run::finish(std::uint64_t changes) {
  node_.until(
      "orders", "all is ingested", [=](const json& s) { return s.at("ingested") == changes; }, seconds{600});
  node_.caught_up("orders", seconds{600});
}

end_state chaos_run::state() {
  end_state state;
  state.rows = orders_in(database_);
  state.letters = normalised(node_.dead_letters("orders", "current"));
  state.audit_letters = normalised(node_.dead_letters("orders", "audit"));
  state.audit = sqlite_file(database_).rows("select seq, id, op from audit order by rowid");
  for (const auto* name : {"current", "audit"}) {
    const auto load = node_.load("orders", name);
    state.counts[name] = {load.at("delivered"), load.at("filtered"), load.at("dead_letters")};
  }
  return state;
}

void check_equal(const end_state& disturbed, const end_state& undisturbed) {
  BOOST_TEST((disturbed.rows == undisturbed.rows),
             "the rows differ: " << disturbed.rows.size() << " after the faults, " << undisturbed.rows.size() << " without");
  compare("dead letters of `current`", disturbed.letters, undisturbed.letters);
  compare("dead letters of `audit`", disturbed.audit_letters, undisturbed.audit_letters);
  compare("rows of the audit", disturbed.audit, undisturbed.audit);
  BOOST_TEST(disturbed.counts == undisturbed.counts, disturbed.counts.dump()
                                                         << " after the faults, " << undisturbed.counts.dump() << " without");
}

void check_audit(chaos_run& run) {
  sqlite_file database(run.database());
  BOOST_TEST(database.number("select count(*) - count(distinct off) from audit") == 0, "offsets were applied twice");
  BOOST_TEST(database.number("select count(*) - count(distinct seq) from audit") == 0, "changes were applied twice");
  BOOST_TEST(database.number(
                 "select count(*) from (select seq, lag(seq) over (order by rowid) as before from audit) where seq <= before") ==
                 0,
             "changes were applied out of order");
  BOOST_TEST(database.number("select count(*) from audit") ==
             run.node().load("orders", "audit").at("delivered").get<long long>());
  BOOST_TEST(database.value("pragma integrity_check") == "ok");
  BOOST_TEST(unaccounted(run.node(), "orders") == "");
}

std::string percentiles(std::vector<double> values, const std::string& unit) {
  if (values.empty()) return "none measured";
  std::sort(values.begin(), values.end());
  const auto at = [&](double part) {
    return values[std::min(values.size() - 1, static_cast<std::size_t>(part * static_cast<double>(values.size())))];
  };
  std::ostringstream text;
  text << std::fixed << std::setprecision(1) << "n " << values.size() << ", p50 " << at(0.5) << ", p90 " << at(0.9) << ", p99 "
       << at(0.99) << ", max " << values.back() << " " << unit;
  return text.str();
}

} // namespace millrace::testing
