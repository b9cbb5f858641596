#include "actors/transform/transformer.hpp"

#include "actors/transform/key.hpp"
#include "actors/transform/pg_readable.hpp"
#include "actors/transform/table_program.hpp"

#include <algorithm>
#include <simdjson.h>

namespace millrace::actors::transform {

void run_state::fail(failed_change f) {
  if (failed(f.change)) return;
  failed_[f.change - out_.first] = true;
  out_.failures.push_back(std::move(f));
}

void run_state::fail(frame& f, frame_row& row, std::string reason, std::string message, std::string step, std::string column) {
  frame_row* main = &row;
  if (!f.shadows.empty() && &row >= f.shadows.data() && &row < f.shadows.data() + f.shadows.size())
    for (frame_row& r : f.rows) // a row before an update stands for its change
      if (r.change == row.change) main = &r;
  row.live = main->live = false;
  failed_change made{
      row.change, std::move(reason), std::move(message),   std::move(step), std::move(column), main->op, std::string(row.table),
      {},         main->key_hash,    main->before_key_hash};
  if (main->key_hash != 0 && key_names) {
    const bool readable = std::all_of(f.key.begin(), f.key.end(), [](int c) { return c >= 0; });
    for (std::size_t i = 0; readable && i < f.key.size(); ++i) {
      made.key += i ? "," : "{";
      append_json_string(made.key, (*key_names)[i]);
      made.key += ':';
      const frame_column& c = f.columns[static_cast<std::size_t>(f.key[i])];
      append_json(made.key, f.decoded_keys[main->decoded_key + i], c.field ? std::optional(c.field->type) : std::nullopt);
    }
    if (!made.key.empty()) made.key += '}';
  }
  fail(std::move(made));
}

namespace {
class worker_transformer final : public transformer {
public:
  worker_transformer(const load_spec& load, const transform_limits& limits, std::vector<step_error>& errors)
      : load_(load), limits_(limits) {
    for (std::uint32_t i = 0; i < load_.tables.size(); ++i)
      programs_.push_back(std::make_unique<table_program>(load_.tables[i], i, limits_, errors));
    plain_ = load_.tables.size() == 1 ? 0 : none;
    for (std::uint32_t i = 0; i < load_.tables.size(); ++i)
      if (load_.tables[i].name.empty() && plain_ == none) plain_ = static_cast<int>(i);
  }

  row_set_ptr run(const storage::batch_ptr& batch, std::uint32_t first, std::uint32_t end) override {
    auto out = std::make_shared<row_set>();
    auto memory = std::make_shared<arena>();
    out->batch = batch;
    out->first = first;
    out->end = end;
    run_state state(*out, *memory);
    routes_.assign(end - first, none);
    if (is_pg(batch->format())) {
      decode_pg(state, *memory, first, end);
    } else {
      for (std::size_t i = 0; i < programs_.size(); ++i)
        i < load_.tables.size() ? programs_[i]->begin(state, load_.tables.size() == 1 ? end - first : 0)
                                : programs_[i]->release();
      for (std::uint32_t i = first; i < end; ++i) decode(state, i, *memory);
    }
    std::size_t used = 0;
    for (const auto& p : programs_) used += p->used();
    out->rows.reserve(end - first);
    for (const auto& p : programs_)
      if (p->used()) p->run_steps(state, *out, used == 1);
    for (std::uint32_t i = first; i < end; ++i) {
      const int route = routes_[i - first];
      const bool rows = route >= 0 && programs_[static_cast<std::size_t>(route)]->emit(state, *out, i);
      if (!rows && !state.failed(i)) out->filtered.push_back(i);
    }
    // Steps fail changes in their own order.
    std::stable_sort(out->failures.begin(), out->failures.end(),
                     [](const failed_change& a, const failed_change& b) { return a.change < b.change; });
    out->bytes = memory->bytes() + out->cells.capacity() * sizeof(cell) + out->rows.capacity() * sizeof(row) +
                 out->failures.capacity() * sizeof(failed_change) + out->filtered.capacity() * sizeof(std::uint32_t);
    out->memory.push_back(std::move(memory));
    return out;
  }

private:
  static constexpr int none = -1;

  /// All changes of the run: what a change of the same table needs is found once.
  void decode_pg(run_state& state, arena& memory, std::uint32_t first, std::uint32_t end) {
    const storage::batch& batch = state.batch();
    for (const auto& p : programs_) p->release();
    tables_ = contexts_.of(batch.context());
    const bool copied = batch.format() == storage::payload_format::pgcopy;
    const auto arrived = std::chrono::duration_cast<std::chrono::microseconds>(batch.first_time().time_since_epoch()).count();
    const auto transactions = batch.transactions();
    std::size_t next_transaction = 0;
    std::int64_t time_us = arrived;
    const pg_table* table = nullptr; // of the change before
    int route = none;
    std::string why = tables_->error;
    if (why.empty() && copied && tables_->tables.size() != 1)
      why = "the block's description of its tables has " + std::to_string(tables_->tables.size()) +
            ", expected the one that was copied";
    const bool broken = !why.empty();
    for (std::uint32_t i = first; i < end; ++i) {
      const std::string_view payload = batch.payload(i);
      for (; next_transaction < transactions.size() && transactions[next_transaction].first_change <= i; ++next_transaction) {
        const std::int64_t committed = transactions[next_transaction].time_us;
        time_us = committed != 0 ? committed : arrived; // a copied row has no commit
      }
      const auto refuse = [&](const char* reason, std::string message) {
        state.fail({i, reason, std::move(message), "decode", {}, event_.op, table ? table->full : std::string(), {}, 0, 0});
      };
      event_.op = storage::operation::insert;
      if (broken) {
        refuse("parse", why);
        continue;
      }
      const std::uint32_t relation = copied ? tables_->tables.front().id : relation_of(payload);
      if (!table || table->id != relation) {
        table = tables_->find(relation);
        route = table ? program_for(state, *table, tables_->tables.size() == 1 ? end - first : 0) : none;
      }
      if (table && route == none) continue; // a table that this load does not take, whatever the change is
      if (payload.size() > limits_.max_record_bytes) {
        refuse("too_large", "found " + std::to_string(payload.size()) + " bytes, expected at most " +
                                std::to_string(limits_.max_record_bytes));
        continue;
      }
      const bool good =
          copied ? parse_pgcopy(payload, table->columns.size(), memory, event_, why) : parse_pgoutput(payload, event_, why);
      if (!good) {
        refuse("parse", why);
        continue;
      }
      if (!table) {
        refuse("parse", "found a change of relation " + std::to_string(relation) +
                            ", expected one that the block's description of its tables has");
        continue;
      }
      if (!is_ascii(payload) && !is_utf8(*table, why)) {
        refuse("parse", why);
        continue;
      }
      routes_[i - first] = route;
      programs_[static_cast<std::size_t>(route)]->decode_pg(state, i, event_, time_us);
    }
  }

  /// The program of the load's entry for this table. Two tables under one entry (a table made anew under its name, an entry
  /// without a name) get a program each, so that each has its own columns.
  int program_for(run_state& state, const pg_table& table, std::size_t expected) {
    const int entry = route_of(table.schema, table.name);
    if (entry == none) return none;
    int free = none;
    for (std::size_t i = 0; i < programs_.size(); ++i) {
      table_program& p = *programs_[i];
      if (p.index() != static_cast<std::uint32_t>(entry)) continue;
      if (p.bound() == &table) return static_cast<int>(i);
      if (p.bound()) continue;
      if (free == none || p.knows(table)) free = static_cast<int>(i);
      if (p.knows(table)) break;
    }
    if (free == none) {
      std::vector<step_error> errors; // none: it compiled before
      programs_.push_back(std::make_unique<table_program>(load_.tables[static_cast<std::size_t>(entry)],
                                                          static_cast<std::uint32_t>(entry), limits_, errors));
      free = static_cast<int>(programs_.size()) - 1;
    }
    programs_[static_cast<std::size_t>(free)]->bind(state, table, expected);
    return free;
  }

  static bool is_ascii(std::string_view bytes) {
    std::uint64_t any = 0;
    const char* p = bytes.data();
    std::size_t n = bytes.size();
    for (; n >= 8; p += 8, n -= 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, p, 8);
      any |= word;
    }
    for (; n > 0; ++p, --n) any |= static_cast<unsigned char>(*p);
    return (any & 0x8080808080808080u) == 0;
  }
  /// A database in SQL_ASCII hands out any bytes.
  bool is_utf8(const pg_table& table, std::string& why) const {
    for (const pg_tuple* tuple : {&event_.fresh, &event_.old})
      for (std::size_t i = 0; i < tuple->size(); ++i) {
        const cell& c = (*tuple)[i];
        if (c.k != cell::kind::text || simdjson::validate_utf8(c.p, c.size)) continue;
        why = "found bytes that are not UTF-8";
        if (i < table.columns.size()) why += " in column \"" + table.columns[i].name + "\"";
        why += ", expected UTF-8 (a database in SQL_ASCII does not see to it)";
        return false;
      }
    return true;
  }

  void decode(run_state& state, std::uint32_t i, arena& memory) {
    const storage::batch& batch = state.batch();
    const std::string_view payload = batch.payload(i);
    const auto refuse = [&](const char* reason, std::string message) {
      state.fail({i, reason, std::move(message), "decode", {}, {}, {}, {}, 0, 0});
    };
    if (payload.size() > limits_.max_record_bytes)
      return refuse("too_large", "found " + std::to_string(payload.size()) + " bytes, expected at most " +
                                     std::to_string(limits_.max_record_bytes));
    if (!simdjson::validate_utf8(payload.data(), payload.size())) return refuse("parse", "found bytes that are not UTF-8");
    const std::string_view all = batch.payloads();
    const char* end = payload.data() + payload.size();
    const char* readable = end >= all.data() && end <= all.data() + all.size() ? all.data() + all.size() : end;
    const auto arrived = std::chrono::duration_cast<std::chrono::microseconds>(batch.first_time().time_since_epoch()).count();
    if (batch.format() == storage::payload_format::csv || batch.envelope() == storage::envelope::none) {
      if (plain_ == none) return; // no table of this load takes changes that name no table
      routes_[i - state.first()] = plain_;
      table_program& p = *programs_[static_cast<std::size_t>(plain_)];
      if (batch.format() == storage::payload_format::csv)
        p.decode_csv(state, i, payload, batch.context(), arrived);
      else
        p.decode_json(state, i, payload, readable, arrived);
      return;
    }
    change_envelope event;
    std::string why;
    switch (parse_envelope(payload, readable, memory, event, why)) {
    case change_envelope::outcome::invalid:
      return refuse("parse", std::move(why));
    case change_envelope::outcome::skip:
      return;
    case change_envelope::outcome::change:
      break;
    }
    const int route = route_of(event.qualifier, event.table);
    if (route == none) return;
    routes_[i - state.first()] = route;
    constexpr std::int64_t limit = 253'402'300'799'999; // the last millisecond of the year 9999
    const bool committed = event.committed_ms && *event.committed_ms > 0 && *event.committed_ms <= limit;
    programs_[static_cast<std::size_t>(route)]->decode_event(state, i, event, full_, readable,
                                                             committed ? *event.committed_ms * 1000 : arrived);
  }

  /// The entry for a table: one that names it with its schema wins over one that names it alone, that over the rest.
  int route_of(std::string_view qualifier, std::string_view table) {
    full_.assign(qualifier);
    if (!qualifier.empty() && !table.empty()) full_ += '.';
    if (table.empty()) full_.clear();
    full_ += table;
    int alone = none, any = none;
    for (std::size_t i = 0; i < load_.tables.size(); ++i) {
      const std::string& name = load_.tables[i].name;
      if (name.empty())
        any = static_cast<int>(i);
      else if (name == full_)
        return static_cast<int>(i);
      else if (name == table)
        alone = static_cast<int>(i);
    }
    return alone != none ? alone : any;
  }

  load_spec load_; ///< a copy: steps and columns point into it
  transform_limits limits_;
  /// The load's tables, then programs for further tables under one entry.
  std::vector<std::unique_ptr<table_program>> programs_;
  std::vector<int> routes_; ///< of each change of the run
  int plain_ = none;        ///< takes changes that name no table
  std::string full_;
  pg_table_cache contexts_;
  pg_tables_ptr tables_; ///< of the run
  pg_change event_;
};
} // namespace

std::unique_ptr<transformer> transformer::make(const load_spec& load, const transform_limits& limits,
                                               std::vector<step_error>& errors) {
  const std::size_t before = errors.size();
  auto made = std::make_unique<worker_transformer>(load, limits, errors);
  if (errors.size() > before) return nullptr;
  return made;
}

change_summary summarize(const storage::batch& batch, std::uint32_t change) {
  if (is_pg(batch.format())) return summarize_pg(batch, change);
  change_summary out;
  const std::string_view payload = batch.payload(change);
  if (batch.envelope() != storage::envelope::debezium || batch.format() == storage::payload_format::csv ||
      !simdjson::validate_utf8(payload.data(), payload.size()))
    return out;
  arena memory;
  change_envelope event;
  std::string why;
  if (parse_envelope(payload, payload.data() + payload.size(), memory, event, why) == change_envelope::outcome::skip) return out;
  out.op = event.op;
  out.transaction = event.transaction;
  if (!event.table.empty()) {
    out.table = event.qualifier;
    if (!out.table.empty()) out.table += '.';
    out.table += event.table;
  }
  return out;
}

} // namespace millrace::actors::transform
