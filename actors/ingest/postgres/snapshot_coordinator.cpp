#include "actors/ingest/postgres/snapshot_coordinator.hpp"

#include "actors/ingest/postgres/bytes.hpp"
#include "actors/ingest/postgres/chunk_query.hpp"

#include <algorithm>
#include <stdexcept>

namespace millrace::actors::ingest::postgres {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
using phase = snapshot_table::phase;

namespace {
constexpr std::size_t keys_at_once = 1000;  ///< of a statement that reads rows by key
constexpr std::size_t debt_max = 2'000'000; ///< keys; beyond, reading the table anew is cheaper than remembering
} // namespace

snapshot_coordinator::snapshot_coordinator(options o) : options_(std::move(o)) {}
snapshot_coordinator::~snapshot_coordinator() = default;

result<void> snapshot_coordinator::load(std::span<const storage::state_entry> state, const std::vector<std::string>& names,
                                        bool fresh) {
  for (const auto& name : names) {
    auto table = std::make_unique<snapshot_table>();
    table->name = name;
    const auto key = std::string(table_prefix) + name;
    const auto found = std::find_if(state.begin(), state.end(), [&](const auto& e) { return e.key == key; });
    if (found == state.end()) {
      table->at = options_.mode == snapshot_mode::never ? phase::done : phase::pending;
      state_.push_back(table->state());
    } else if (fresh) {
      // The slot is new: nothing is known of what changed since the table was read.
      table->at = options_.mode == snapshot_mode::never ? phase::done : phase::pending;
      table->truncate_first = table->at == phase::pending;
      state_.push_back(table->state());
    } else if (!table->load(found->value)) {
      return make_failure(errc::log_mismatch, "state_unreadable: the log's state of table " + name + " is \"" + found->value +
                                                  "\", which this version does not know");
    }
    tables_.push_back(std::move(table));
  }
  const auto table_of = [&](std::string_view name) -> snapshot_table* {
    for (auto& t : tables_)
      if (t->name == name) return t.get();
    return nullptr;
  };
  for (const auto& e : state) {
    if (e.key.starts_with(table_prefix) && !table_of(std::string_view(e.key).substr(table_prefix.size())))
      state_.push_back({e.key, ""}); // no longer in the spec
    if (!e.key.starts_with(debt_prefix)) continue;
    const auto slash = e.key.rfind('/');
    auto* table = table_of(std::string_view(e.key).substr(debt_prefix.size(), slash - debt_prefix.size()));
    if (!table || table->at == phase::done || table->at == phase::pending)
      state_.push_back({e.key, ""});
    else if (!table->load_debt(e.key, e.value))
      return make_failure(errc::log_mismatch, "state_unreadable: the log's state \"" + e.key + "\" is damaged");
  }
  return success();
}

result<void> snapshot_coordinator::attach(connection& side, const std::vector<source_table>& found) {
  barrier_asked_ = true; // what was remembered of earlier transactions may be gone
  for (auto& t : tables_) {
    const auto at = std::find_if(found.begin(), found.end(), [&](const auto& f) { return f.name == t->name; });
    if (at == found.end()) continue;
    t->relation = at->oid;
    auto described = describe(side, t->relation, options_.publication);
    if (!described) return described.error();
    auto key = described.value() ? described.value()->window_key : std::vector<std::string>{};
    const bool first = t->key_version == 0;
    if (first || key != t->window_key) {
      t->window_key = std::move(key);
      ++t->key_version;
      if ((t->at == phase::chunks || t->at == phase::mending) && !(first && t->fits_key())) start_over(*t, "its key has changed");
    }
    if (t->at != phase::done && t->estimate == 0) {
      auto leaves = leaves_of(side, t->relation);
      if (!leaves) return leaves.error();
      double rows = 0;
      for (const auto& l : leaves.value()) rows += l.rows;
      t->estimate = static_cast<std::uint64_t>(rows);
    }
  }
  return success();
}

void snapshot_coordinator::detach() {
  if (copying_) start_over(*copying_, "the connection was lost");
  drop_runs(nullptr);
  end_copy();
}

result<void> snapshot_coordinator::again(std::string_view name) {
  for (auto& t : tables_) {
    if (t->name != name && t->name != "public." + std::string(name)) continue;
    requested_.push_back(t.get());
    return success();
  }
  return make_failure(errc::invalid, "table \"" + std::string(name) + "\" is not one of the pipeline's source.tables");
}

result<void> snapshot_coordinator::reread(connection& side, std::string_view name, std::span<const std::string> columns,
                                          std::span<const std::vector<std::string>> keys) {
  auto* table = find_name(name);
  if (!table) table = find_name("public." + std::string(name));
  if (!table)
    return make_failure(errc::invalid, "table \"" + std::string(name) + "\" is not one of the pipeline's source.tables");
  if (table->at == phase::mending && !table->repairing.empty())
    return make_failure(errc::unavailable, table->name + " is being repaired already");
  if (table->at != phase::done)
    return make_failure(errc::unavailable, table->name + " is being read whole now, which mends it, too");
  std::vector<std::size_t> places;
  for (const auto& c : table->window_key) {
    const auto at = std::find(columns.begin(), columns.end(), c);
    if (at != columns.end()) places.push_back(static_cast<std::size_t>(at - columns.begin()));
  }
  if (single(*table) || places.size() != table->window_key.size() || places.size() != columns.size())
    return make_failure(errc::invalid, "rows of " + table->name +
                                           " cannot be read again by these columns; expected its primary key" +
                                           std::string(table->window_key.empty() ? ", which it has not" : ""));
  auto described = describe(side, table->relation, options_.publication);
  if (!described) return described.error();
  if (!described.value()) return make_failure(errc::invalid, "table " + table->name + " is not there any more");
  std::vector<std::string> wanted;
  for (const auto& key : keys) {
    std::vector<std::optional<std::string_view>> values;
    for (const auto place : places) values.emplace_back(key.at(place));
    wanted.push_back(key_bytes(values));
  }
  repaired_[table] = std::make_shared<const table_schema>(std::move(described.value()->schema));
  table->repair(std::move(wanted));
  state_.push_back(table->state());
  barrier_asked_ = true; // a transaction that the stream has passed may not be visible yet
  return success();
}

/// The source has no row for these keys, as of a place that the stream has passed, and nothing changed them since.
std::optional<storage::change_block> snapshot_coordinator::deletes_of(const run& r) const {
  const auto schema = repaired_.find(r.table);
  if (schema == repaired_.end() || r.table->repairing.empty()) return std::nullopt;
  const auto& columns = schema->second->columns;
  storage::change_block block;
  block.format = storage::payload_format::pgoutput;
  for (const auto& key : r.keys) {
    const auto hash = hash_of(key);
    if (!r.table->repairing.contains(hash) || r.found.contains(hash) || (r.filter && r.filter->changed(hash))) continue;
    const auto values = key_values(key);
    if (!values) continue;
    std::string message = "D";
    put_number(message, r.table->relation, 4);
    message += 'K';
    put_number(message, columns.size(), 2);
    for (const auto& c : columns) {
      const auto at = std::find(r.table->window_key.begin(), r.table->window_key.end(), c.name);
      const auto* value =
          at == r.table->window_key.end() ? nullptr : &(*values)[static_cast<std::size_t>(at - r.table->window_key.begin())];
      if (!value || !*value) {
        message += 'n';
        continue;
      }
      message += 't';
      put_number(message, (*value)->size(), 4);
      message += **value;
    }
    block.starts.push_back(static_cast<std::uint32_t>(block.payloads.size()));
    block.lengths.push_back(static_cast<std::uint32_t>(message.size()));
    block.payloads += message;
  }
  if (block.starts.empty()) return std::nullopt;
  block.context = encode_tables(std::span(&schema->second, 1));
  block.origin = "repair " + r.table->name;
  block.transactions.push_back({0, 0, r.now.at.value, storage::now().time_since_epoch().count(), 0});
  return block;
}

bool snapshot_coordinator::done() const noexcept {
  return std::all_of(tables_.begin(), tables_.end(), [](const auto& t) { return t->at == phase::done; });
}

lsn snapshot_coordinator::waits_for() const {
  lsn least;
  for (const auto& r : runs_)
    if (r.now.seen && (least.value == 0 || r.now.at < least)) least = r.now.at;
  return least;
}

snapshot_table* snapshot_coordinator::find(std::uint32_t relation) {
  for (auto& t : tables_)
    if (t->relation == relation) return t.get();
  return nullptr;
}

snapshot_table* snapshot_coordinator::find_name(std::string_view name) {
  for (auto& t : tables_)
    if (t->name == name) return t.get();
  return nullptr;
}

bool snapshot_coordinator::admits(const snapshot_table& table, const begin_message& transaction) const {
  if (table.at == phase::done)
    return !table.copied || transaction.commit >= table.copied_at || !table.copied->sees(transaction.id);
  return !single(table);
}

void snapshot_coordinator::start_over(snapshot_table& table, const std::string& why) {
  drop_runs(&table);
  if (copying_ == &table) end_copy();
  // Rows that are in the log are written once more. With a key that changes nothing; without one they would be there twice.
  table.truncate_first = single(table);
  table.at = phase::pending;
  table.copied.reset();
  table.rows = 0;
  table.forget_debt();
  table.window.clear();
  state_.push_back(table.state());
  barrier_asked_ = true;
  if (!why.empty()) notices_.push_back("the snapshot of " + table.name + " starts over: " + why);
}

void snapshot_coordinator::end_copy() {
  copying_ = nullptr;
  holder_.reset();
  exported_.clear();
  exported_sees_.reset();
}

void snapshot_coordinator::drop_runs(const snapshot_table* table) {
  for (auto r = runs_.begin(); r != runs_.end();) {
    if (table && r->table != table) {
      ++r;
      continue;
    }
    pool_->abandon(r->reading);
    if (r->keys.empty()) r->table->plan.take_back(r->chunk);
    r = runs_.erase(r);
  }
}

result<bool> snapshot_coordinator::past_barrier(connection& side) {
  const auto now = clock::now();
  if (!barrier_asked_ && barrier_ == 0) return true;
  if (now < look_at_) return false;
  look_at_ = now + 100ms;
  auto r = side.exec(snapshot_query(side));
  if (!r) return r.error();
  const auto seen = xid_snapshot::parse(r.value().at(0, 0));
  if (!seen)
    return make_failure(errc::refused, "the source's snapshot \"" + std::string(r.value().at(0, 0)) + "\" is none that is known");
  if (std::exchange(barrier_asked_, false)) {
    barrier_ = seen->xmax();
    barrier_since_ = now;
  }
  if (seen->xmin() >= barrier_) {
    barrier_ = 0;
    barrier_told_ = false;
    return true;
  }
  if (now - barrier_since_ > 5s && !std::exchange(barrier_told_, true))
    notices_.push_back("the snapshot waits for transactions of the source that began before it, the oldest is " +
                       std::to_string(seen->xmin()) + " (pg_stat_activity.backend_xid, pg_prepared_xacts)");
  return false;
}

result<void> snapshot_coordinator::plan(connection& side, snapshot_table& table) {
  auto described = describe(side, table.relation, options_.publication);
  if (!described) return described.error();
  auto key = described.value() ? described.value()->window_key : std::vector<std::string>{};
  if (key != table.window_key) { // keys of both kinds cannot be compared
    table.window_key = std::move(key);
    ++table.key_version;
    table.window.clear();
    barrier_asked_ = true;
    if (table.window_key.empty()) table.truncate_first = true;
    return success();
  }
  auto leaves = leaves_of(side, table.relation);
  if (!leaves) return leaves.error();
  double rows = 0;
  for (const auto& l : leaves.value()) rows += l.rows;
  table.estimate = static_cast<std::uint64_t>(rows);
  table.plan = snapshot_plan(leaves.value(), options_.chunk_rows, options_.chunk_bytes, side.server_version() >= 140000);
  table.at = phase::chunks;
  table.rows = 0;
  table.seen_now = true;
  if (table.plan.complete()) table.at = table.debt.empty() ? phase::done : phase::mending;
  state_.push_back(table.state());
  return success();
}

void snapshot_coordinator::dispatch(snapshot_table& table) {
  table.seen_now = true;
  while (pool_->idle() != 0) {
    run r;
    r.table = &table;
    chunk_job job;
    job.table = table.name;
    job.relation = table.relation;
    job.publication = options_.publication;
    job.window_key = table.window_key;
    if (table.at == phase::mending) {
      if (std::any_of(runs_.begin(), runs_.end(), [&](const auto& k) { return k.table == &table; })) return;
      for (auto k = table.debt.begin(); k != table.debt.end() && r.keys.size() < keys_at_once; ++k) r.keys.push_back(k->second);
      job.keys = r.keys;
    } else {
      const auto chunk = table.plan.give();
      if (!chunk) return;
      r.chunk = *chunk;
      const auto range = table.plan.at(*chunk);
      job.leaf = range.of.oid;
      job.filenode = range.of.filenode;
      job.first_block = range.first_block;
      job.end_block = range.end_block;
      if (table.at == phase::copying) job.exported_snapshot = exported_;
    }
    r.reading = pool_->start(std::move(job));
    runs_.push_back(std::move(r));
  }
}

result<void> snapshot_coordinator::look_at_runs() {
  for (auto r = runs_.begin(); r != runs_.end();) {
    r->now = pool_->look(r->reading);
    if (r->now.seen) waiting_.clear();
    if (r->now.state == chunk_state::reading || r->now.state == chunk_state::finished) {
      ++r;
      continue;
    }
    auto& table = *r->table;
    if (r->now.state == chunk_state::failed && !is(r->now.why, errc::unavailable)) return r->now.why;
    if (r->now.state == chunk_state::failed) {
      waiting_ = r->now.why.message;
      retry_at_ = clock::now() + 1s;
    }
    const bool over = r->now.state == chunk_state::moved || table.at == phase::copying;
    const auto why =
        r->now.state == chunk_state::moved ? std::string("its rows were rewritten or its key has changed") : waiting_;
    if (r->keys.empty() && !over) table.plan.take_back(r->chunk);
    r = runs_.erase(r);
    if (!over) continue;
    start_over(table, why);
    r = runs_.begin(); // others of it are gone, too
  }
  return success();
}

void snapshot_coordinator::forget_seen(connection& side) {
  const auto now = clock::now();
  if (now < forget_at_) return;
  forget_at_ = now + 1s;
  auto r = side.exec(snapshot_query(side));
  const auto present = r ? xid_snapshot::parse(r.value().at(0, 0)) : std::nullopt;
  if (!present) return; // memory only: the next statement will tell what is wrong
  for (auto& t : tables_) {
    if (t->at == phase::done) continue;
    const auto* oldest = &*present;
    for (const auto& k : runs_) {
      if (k.table != t.get()) continue;
      if (!k.now.seen) oldest = nullptr; // taken before or after `present`: not known yet
      if (oldest && k.now.seen->xmin() < oldest->xmin()) oldest = &*k.now.seen;
      if (!oldest) break;
    }
    if (oldest) t->window.forget(*oldest);
  }
}

result<void> snapshot_coordinator::step(connection& side, transaction_framer& framer) {
  if (framer.between()) // a part of a transaction that is in the log was chosen by how the table was read then
    for (auto* t : std::exchange(requested_, {})) start_over(*t, "");
  if (done()) {
    pool_.reset();
    end_copy();
    return success();
  }
  if (auto ok = look_at_runs(); !ok) return ok.error();
  if (clock::now() < retry_at_) return success();
  auto past = past_barrier(side);
  if (!past) return past.error();
  forget_seen(side);
  if (!past.value()) return success();
  if (!pool_) pool_ = std::make_unique<chunk_pool>(options_.pool);
  bool ranges_left = false;
  for (auto& t : tables_) {
    if (single(*t) || t->at == phase::done) continue;
    ranges_left = true;
    if (t->debt.size() > debt_max) start_over(*t, "too many of its rows with TOASTed values are being updated");
    if (t->at == phase::pending && pool_->idle() != 0 && !barrier_asked_ && framer.between())
      if (auto ok = plan(side, *t); !ok) return ok.error();
    if (t->at == phase::chunks || t->at == phase::mending) dispatch(*t);
  }
  if (copying_) {
    dispatch(*copying_);
    return success();
  }
  if (ranges_left || !framer.between() || barrier_asked_) return success();
  for (auto& t : tables_)
    if (single(*t) && t->at == phase::pending) return begin_copy(side, *t, framer);
  return success();
}

result<bool> snapshot_coordinator::open_holder(const snapshot_table& table) {
  auto opened = connection::open(options_.pool.conninfo, source_options(options_.pool.application_name + " snapshot", false));
  if (!opened) return opened.error();
  auto holder = std::move(opened).value();
  std::string names;
  for (const auto& t : tables_) {
    if (t.get() != &table && (options_.mode != snapshot_mode::only || t->at == phase::done)) continue;
    const auto [schema, name] = split_name(t->name);
    names += (names.empty() ? "" : ", ") + holder->quote_name(schema) + '.' + holder->quote_name(name);
  }
  if (auto ok = holder->exec("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); !ok) return ok.error();
  if (auto ok = holder->exec("LOCK TABLE " + names + " IN ACCESS SHARE MODE"); !ok) return ok.error();
  auto seen = holder->exec(snapshot_query(*holder));
  if (!seen) return seen.error();
  const auto snapshot = xid_snapshot::parse(seen.value().at(0, 0));
  const auto at = actors::postgres::parse_lsn(seen.value().at(0, 1));
  if (!snapshot || !at) return make_failure(errc::refused, "the source's snapshot is none that is known");
  // A transaction whose changes were dropped, because the copy would have them, and which the copy does not see yet.
  const auto unseen = [&](xid id) { return !snapshot->sees(id); };
  if (std::any_of(table.window.anything().begin(), table.window.anything().end(), unseen) ||
      std::any_of(table.window.truncates().begin(), table.window.truncates().end(), unseen))
    return false;
  auto exported = holder->exec("select pg_catalog.pg_export_snapshot()");
  if (!exported) return exported.error();
  exported_ = exported.value().at(0, 0);
  exported_sees_ = *snapshot;
  exported_at_ = {*at};
  holder_ = std::move(holder);
  return true;
}

result<void> snapshot_coordinator::begin_copy(connection& side, snapshot_table& table, transaction_framer& framer) {
  if (!holder_) {
    auto opened = open_holder(table);
    if (!opened) return opened.error();
    if (!opened.value()) {
      retry_at_ = clock::now() + 5ms;
      return success();
    }
  }
  auto leaves = leaves_of(*holder_, table.relation);
  if (!leaves) return leaves.error();
  auto described = describe(*holder_, table.relation, options_.publication);
  if (!described) return described.error();
  table.plan = snapshot_plan(leaves.value(), options_.chunk_rows, options_.chunk_bytes, side.server_version() >= 140000);
  table.rows = 0;
  table.seen_now = true;
  table.at = phase::copying;
  copying_ = &table;
  framer.cut();
  storage::change_block block;
  if (std::exchange(table.truncate_first, false) && described.value()) {
    described.value()->schema.snapshotting = !table.window_key.empty();
    const auto schema = std::make_shared<const table_schema>(std::move(described.value()->schema));
    block.format = storage::payload_format::pgoutput;
    block.payloads = truncate_of(table.relation, 0);
    block.starts = {0};
    block.lengths = {static_cast<std::uint32_t>(block.payloads.size())};
    block.context = encode_tables(std::span(&schema, 1));
    block.origin = "snapshot " + table.name;
    block.transactions.push_back({0, 0, exported_at_.value, storage::now().time_since_epoch().count(), 0});
  }
  run none; // of no chunk: for a table without rows
  none.table = &table;
  if (table.plan.complete())
    finish_chunk(none, block.source_state);
  else
    block.source_state.push_back(table.state());
  framer.append(std::move(block));
  return success();
}

bool snapshot_coordinator::ready(const run& r, lsn reached) const noexcept {
  return r.now.parts && r.now.seen && (r.table->at == phase::copying || r.now.at <= reached);
}

bool snapshot_coordinator::placeable(lsn reached) const {
  return std::any_of(runs_.begin(), runs_.end(), [&](const auto& r) { return ready(r, reached); });
}

result<bool> snapshot_coordinator::place(lsn reached, transaction_framer& framer) {
  if (auto ok = look_at_runs(); !ok) return ok.error();
  for (auto r = runs_.begin(); r != runs_.end(); ++r) {
    if (!ready(*r, reached)) continue;
    auto& table = *r->table;
    if (!single(table)) {
      if (!r->filter) r->filter = std::make_unique<chunk_filter>(*r->now.seen, table.window);
      r->filter->absorb();
      if (r->filter->spoiled()) { // read again: a newer snapshot sees what this one cannot be compared with
        pool_->abandon(r->reading);
        if (r->keys.empty()) table.plan.take_back(r->chunk);
        runs_.erase(r);
        return true;
      }
    }
    auto part = pool_->take(r->reading);
    if (!part) continue;
    const bool last = part->last;
    emit(*r, std::move(part->block), last, framer);
    r->now = pool_->look(r->reading);
    if (last) runs_.erase(r);
    return true;
  }
  return false;
}

void snapshot_coordinator::emit(run& r, storage::change_block block, bool last, transaction_framer& framer) {
  if (r.keys.empty()) r.table->rows += block.starts.size();
  if (r.filter && (!r.filter->empty() || r.filter->truncated())) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < block.starts.size(); ++i) {
      const auto line = std::string_view(block.payloads).substr(block.starts[i], block.lengths[i]);
      if (r.filter->truncated()) continue;
      const auto key = key_of_line(line, r.now.key_columns);
      if (!key) throw std::logic_error("a line of COPY from " + r.table->name + " has fewer columns than its key needs");
      if (r.filter->changed(hash_of(*key))) continue;
      block.starts[kept] = block.starts[i];
      block.lengths[kept++] = block.lengths[i];
    }
    block.starts.resize(kept);
    block.lengths.resize(kept);
    if (kept == 0) block.transactions.clear();
  }
  if (!r.table->repairing.empty())
    for (std::size_t i = 0; i < block.starts.size(); ++i)
      if (const auto key =
              key_of_line(std::string_view(block.payloads).substr(block.starts[i], block.lengths[i]), r.now.key_columns))
        r.found.insert(hash_of(*key));
  if (last)
    if (auto gone = deletes_of(r)) {
      if (!block.starts.empty()) framer.append(std::move(block));
      block = std::move(*gone);
    }
  if (last) finish_chunk(r, block.source_state);
  if (!block.starts.empty() || !block.source_state.empty()) framer.append(std::move(block));
}

void snapshot_coordinator::finish_chunk(run& r, std::vector<storage::state_entry>& state) {
  auto& table = *r.table;
  if (table.at == phase::mending) {
    for (const auto& key : r.keys) {
      const auto hash = hash_of(key);
      if (!r.filter || !r.filter->partly(hash)) table.debt.erase(hash);
    }
  } else if (r.reading) {
    table.plan.done(r.chunk);
  }
  if (table.at == phase::copying && table.plan.complete()) {
    table.at = phase::done;
    table.copied = exported_sees_;
    table.copied_at = exported_at_;
    copying_ = nullptr;
    if (options_.mode != snapshot_mode::only) end_copy();
  } else if (table.at == phase::chunks && table.plan.complete()) {
    table.at = phase::mending;
  }
  if (table.at == phase::mending && table.debt.empty()) table.at = phase::done;
  if (table.at == phase::done) {
    table.forget_debt();
    table.window.clear();
    table.collect(state);
  }
  state.push_back(table.state());
}

void snapshot_coordinator::collect(std::vector<storage::state_entry>& to) {
  for (auto& t : tables_) t->collect(to);
  std::move(state_.begin(), state_.end(), std::back_inserter(to));
  state_.clear();
}

void snapshot_coordinator::report(source_status& status) const {
  status.snapshotting = !done();
  for (const auto& t : tables_)
    if (t->seen_now || t->at != phase::done) status.snapshots.push_back({t->name, t->rows, t->estimate, t->at == phase::done});
}

} // namespace millrace::actors::ingest::postgres
