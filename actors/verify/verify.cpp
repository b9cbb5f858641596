#include "actors/verify/verify.hpp"

#include "actors/ingest/postgres/position.hpp"

#include <algorithm>
#include <set>
#include <thread>

namespace millrace::actors::verify {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

namespace {

constexpr std::uint64_t range_rows = 100000;
constexpr auto catch_up_time = 30s;
constexpr int rounds_max = 8;

/// "public.orders", or "orders" in the schema given.
std::pair<std::string, std::string> split_name(const std::string& name, const std::string& schema) {
  const auto dot = name.find('.');
  return dot == std::string::npos ? std::pair(schema, name) : std::pair(name.substr(0, dot), name.substr(dot + 1));
}

class comparison {
public:
  comparison(const pipeline_context& ctx, const load_spec& load, const step_request& request)
      : ctx_(ctx), load_(load), request_(request), until_(clock::now() + request.time) {}

  result<step_result> run() {
    if (auto ok = open(); !ok) return ok.error();
    step_result out;
    auto table = request_.table;
    auto after = request_.after;
    for (; table < load_.tables.size(); ++table, after.reset()) {
      auto sides = prepare(load_.tables[table]);
      if (!sides) return sides.error();
      auto& [from, to] = sides.value();
      out.table = load_.tables[table].name;
      for (;;) {
        if (clock::now() >= until_) {
          out.next_table = table;
          out.next_after = after;
          return out;
        }
        auto end = range_end(*source_, from, after, range_rows);
        if (!end) return end.error();
        const key_range range{after, end.value()};
        if (auto ok = compare(from, to, range, out); !ok) return ok.error();
        ++out.ranges;
        if (!end.value()) break;
        after = end.value();
      }
    }
    out.next_table = table;
    out.done = true;
    return out;
  }

private:
  result<void> open() {
    postgres::connect_options options;
    options.application_name = "millrace verify " + ctx_.spec->name + '/' + load_.name;
    auto source = postgres::connection::open(ctx_.spec->source.postgres.connection, options);
    if (!source) return source.error();
    source_ = std::move(source).value();
    auto target = postgres::connection::open(load_.destination.connection, options);
    if (!target) return target.error();
    target_ = std::move(target).value();
    return success();
  }

  result<std::pair<compared_table, compared_table>> prepare(const table_spec& t) {
    compared_table from, to;
    std::tie(from.schema, from.name) = split_name(t.name, "public");
    std::tie(to.schema, to.name) = split_name(t.to, load_.destination.schema.empty() ? "public" : load_.destination.schema);
    auto there = columns_of(*source_, from.schema, from.name);
    if (!there) return there.error();
    auto here = columns_of(*target_, to.schema, to.name);
    if (!here) return here.error();
    auto in_target = [&](const std::string& name) {
      return std::any_of(here.value().begin(), here.value().end(), [&](const auto& c) { return c.name == name; });
    };
    std::vector<std::pair<std::string, bool>> key(32); // as many as an index may have
    std::size_t keys = 0;
    for (const auto& c : there.value()) {
      if (!in_target(c.name)) {
        if (c.generated || t.schema_change != schema_change_policy::add_columns) continue; // the load does not carry it
        return make_failure(errc::refused, "PostgreSQL " + target_->name() + ": table " + to.schema + '.' + to.name +
                                               " has no column " + c.name + ", which the source's " + t.name +
                                               " has; expected the load to have made it: is it " +
                                               "caught up, and has it passed a change since the column came?");
      }
      from.columns.push_back(c.name);
      if (c.key > 0 && c.key <= key.size() && t.key.empty()) {
        key[c.key - 1] = {c.name, c.is_text};
        keys = std::max<std::size_t>(keys, c.key);
      }
      for (std::size_t k = 0; k < t.key.size() && k < key.size(); ++k)
        if (t.key[k] == c.name) {
          key[k] = {c.name, c.is_text};
          keys = std::max(keys, k + 1);
        }
    }
    for (std::size_t k = 0; k < keys; ++k) {
      from.key.push_back(key[k].first);
      from.key_is_text.push_back(key[k].second);
    }
    if (from.key.empty())
      return make_failure(errc::refused,
                          "table " + t.name + " has no primary key and the load names none; expected a key to compare by");
    to.key = from.key;
    to.key_is_text = from.key_is_text;
    to.columns = from.columns;
    if (t.mode == load_mode::soft_delete) to.only = "NOT \"_deleted\"";
    if (t.mode == load_mode::history) to.only = "\"current\"";
    return std::pair(std::move(from), std::move(to));
  }

  /// Waits until the load has applied everything that committed at the source before this call.
  result<void> pass() {
    auto now = source_->exec("SELECT pg_logical_emit_message(true, 'millrace', 'verify')");
    if (!now) return now.error();
    const auto mark = postgres::parse_lsn(now.value().at(0, 0)).value_or(0);
    const auto limit = clock::now() + catch_up_time;
    std::optional<storage::offset> end;
    while (clock::now() < limit) {
      if (!end) {
        auto state = ctx_.log->source_state();
        if (!state) return state.error();
        for (const auto& s : state.value())
          if (s.key == ingest::postgres::position_key)
            if (auto p = ingest::postgres::decode_position(s.value); p && p->end.value >= mark) end = ctx_.log->info().next;
      }
      if (end) {
        auto at = applied();
        if (!at) return at.error();
        if (at.value() >= end->value) return success();
      }
      std::this_thread::sleep_for(10ms);
    }
    return make_failure(errc::unavailable, std::string(end ? "the load" : "the log") + " did not get to the source's position " +
                                               storage::lsn_text(mark) + " within " + std::to_string(catch_up_time.count()) +
                                               " s; expected a pipeline that runs and keeps up: see `millrace pipeline status`");
  }

  result<std::uint64_t> applied() {
    const auto schema = load_.destination.schema.empty() ? "public" : load_.destination.schema;
    const char* parameters[] = {ctx_.spec->name.c_str(), load_.name.c_str()};
    auto r = target_->exec("SELECT next_offset FROM " + postgres::quoted_name(schema) +
                               "._millrace_offsets WHERE pipeline = $1 AND load = $2 AND partition = 0",
                           parameters);
    if (!r) return r.error();
    std::uint64_t at = 0;
    if (r.value().rows() == 1) at = std::stoull(std::string(r.value().at(0, 0)));
    // A control entry at the log's end is passed only when something follows it.
    return at;
  }

  result<void> compare(const compared_table& from, const compared_table& to, const key_range& range, step_result& out) {
    const auto began = clock::now();
    auto a = digest(*source_, from, range);
    if (!a) return a.error();
    if (auto ok = pass(); !ok) return ok;
    auto b = digest(*target_, to, range);
    if (!b) return b.error();
    out.rows += a.value().rows;
    if (a.value() != b.value())
      if (auto ok = compare_rows(from, to, range, out); !ok) return ok;
    if (request_.rows_a_second > 0) {
      const auto due = std::chrono::duration<double>(static_cast<double>(a.value().rows + b.value().rows) /
                                                     static_cast<double>(request_.rows_a_second));
      std::this_thread::sleep_until(began + std::chrono::duration_cast<clock::duration>(due));
    }
    return success();
  }

  result<void> compare_rows(const compared_table& from, const compared_table& to, const key_range& range, step_result& out) {
    std::optional<std::set<key_values>> suspects; // of the round before; a key must differ in two
    for (int round = 0; round < rounds_max; ++round) {
      auto before = rows_of(*source_, from, range, true);
      if (!before) return before.error();
      if (auto ok = pass(); !ok) return ok;
      auto there = rows_of(*target_, to, range, false);
      if (!there) return there.error();
      auto after = rows_of(*source_, from, range, true);
      if (!after) return after.error();
      std::map<key_values, std::string> differing;
      std::size_t moving = 0;
      auto look = [&](const key_values& key) {
        const auto a = before.value().find(key), b = after.value().find(key);
        const auto t = there.value().find(key);
        const bool was = a != before.value().end(), is = b != after.value().end(), has = t != there.value().end();
        if (was && is && has && a->second.hash == t->second.hash) return; // equal to what it was
        if (was != is || (was && a->second.version != b->second.version)) {
          moving += !suspects || suspects->contains(key);
          return;
        }
        if (!was && !has) return;
        if (was && has && b->second.hash == t->second.hash) return;
        differing[key] = !has ? "missing" : !was ? "extra" : "different";
      };
      for (const auto& [key, d] : before.value()) look(key);
      for (const auto& [key, d] : there.value())
        if (!before.value().contains(key)) look(key);
      if (suspects) {
        std::erase_if(differing, [&](const auto& d) { return !suspects->contains(d.first); });
        if (moving == 0 || round + 1 == rounds_max) {
          out.unsettled += moving;
          for (auto& [key, kind] : differing) out.differences.push_back({out.table, kind, from.key, key});
          return success();
        }
      }
      if (differing.empty() && moving == 0) return success();
      std::set<key_values> next;
      for (const auto& [key, kind] : differing) next.insert(key);
      if (!suspects || !next.empty()) suspects = std::move(next);
      if (suspects->empty()) suspects.reset();
      if (round + 1 == rounds_max) out.unsettled += moving;
    }
    return success();
  }

  const pipeline_context& ctx_;
  const load_spec& load_;
  const step_request& request_;
  const clock::time_point until_;
  std::unique_ptr<postgres::connection> source_, target_;
};

} // namespace

result<step_result> verify_step(const pipeline_context& ctx, const step_request& request) {
  const auto load =
      std::find_if(ctx.spec->loads.begin(), ctx.spec->loads.end(), [&](const auto& l) { return l.name == request.load; });
  if (load == ctx.spec->loads.end())
    return make_failure(errc::not_found, "pipeline " + ctx.spec->name + " has no load '" + request.load + "'");
  const auto who = ctx.spec->name + '/' + load->name;
  if (ctx.spec->source.type != "postgres" || load->destination.type != "postgres")
    return make_failure(errc::invalid, "load " + who + " goes from " + ctx.spec->source.type + " to " + load->destination.type +
                                           "; verify compares postgres with postgres in this version");
  for (const auto& t : load->tables) {
    if (t.mode == load_mode::append)
      return make_failure(errc::invalid,
                          "load " + who + ": table " + t.name + " has mode append, which keeps every version of a row; " +
                              "expected upsert, soft_delete or history, whose rows can be compared with the source's");
    if (!t.transform.empty() || t.has_schema)
      return make_failure(errc::invalid, "load " + who + ": table " + t.name + " has " +
                                             (t.has_schema ? "a schema" : "a transform") +
                                             " of its own: its rows are not the source's; verify compares loads without one");
  }
  return comparison(ctx, *load, request).run();
}

} // namespace millrace::actors::verify
