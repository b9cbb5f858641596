#include "actors/transform/transformer.hpp"

#include "actors/transform/key.hpp"
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
    plain_ = programs_.size() == 1 ? 0 : none;
    for (std::uint32_t i = 0; i < programs_.size(); ++i)
      if (load_.tables[i].name.empty() && plain_ == none) plain_ = static_cast<int>(i);
  }

  row_set_ptr run(const storage::batch_ptr& batch, std::uint32_t first, std::uint32_t end) override {
    auto out = std::make_shared<row_set>();
    auto memory = std::make_shared<arena>();
    out->batch = batch;
    out->first = first;
    out->end = end;
    run_state state(*out, *memory);
    for (const auto& p : programs_) p->begin(state, programs_.size() == 1 ? end - first : 0);
    routes_.assign(end - first, none);
    for (std::uint32_t i = first; i < end; ++i) decode(state, i, *memory);
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
    const int route = route_of(event);
    if (route == none) return;
    routes_[i - state.first()] = route;
    constexpr std::int64_t limit = 253'402'300'799'999; // the last millisecond of the year 9999
    const bool committed = event.committed_ms && *event.committed_ms > 0 && *event.committed_ms <= limit;
    programs_[static_cast<std::size_t>(route)]->decode_event(state, i, event, full_, readable,
                                                             committed ? *event.committed_ms * 1000 : arrived);
  }

  /// The entry for the event's table: one that names it with its schema wins over one that names it alone, that over the rest.
  int route_of(const change_envelope& event) {
    full_.assign(event.qualifier);
    if (!event.qualifier.empty() && !event.table.empty()) full_ += '.';
    if (event.table.empty()) full_.clear();
    full_ += event.table;
    int alone = none, any = none;
    for (std::size_t i = 0; i < load_.tables.size(); ++i) {
      const std::string& name = load_.tables[i].name;
      if (name.empty())
        any = static_cast<int>(i);
      else if (name == full_)
        return static_cast<int>(i);
      else if (name == event.table)
        alone = static_cast<int>(i);
    }
    return alone != none ? alone : any;
  }

  load_spec load_; ///< a copy: steps and columns point into it
  transform_limits limits_;
  std::vector<std::unique_ptr<table_program>> programs_;
  std::vector<int> routes_; ///< of each change of the run
  int plain_ = none;        ///< takes changes that name no table
  std::string full_;
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
