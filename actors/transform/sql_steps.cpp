// where and set: see sql_engine.hpp for how an expression runs.
#include "actors/transform/sql_engine.hpp"

#include <cmath>
#include <simdjson.h>

namespace millrace::actors::transform {

namespace {
class where_step final : public step {
public:
  where_step(std::unique_ptr<sql_engine> engine, statement_ptr statement, load_mode mode, std::string name)
      : engine_(std::move(engine)), statement_(std::move(statement)), mode_(mode), name_(std::move(name)) {}

  void run(frame& f, run_state& state) override {
    passed_.assign(f.rows.size(), 0);
    engine_->run(
        statement_.get(), f, state, f.rows, 0, f.rows.size(), false,
        [&](frame_row& r, sqlite3_stmt*) { passed_[static_cast<std::size_t>(&r - f.rows.data())] = 1; },
        [&](frame_row& r, std::string message) { state.fail(f, r, "transform", std::move(message), name_, {}); });
    for (std::size_t i = 0; i < f.rows.size(); ++i) {
      frame_row& r = f.rows[i];
      if (passed_[i] || !r.live) continue;
      if (r.op == storage::operation::insert) r.live = false;
      if (r.op == storage::operation::update) becomes_delete(f, r);
    }
  }

private:
  /// As PostgreSQL's row filters do: the row is there under its old key and must go.
  void becomes_delete(frame& f, frame_row& r) {
    if (mode_ == load_mode::append) {
      r.live = false;
      return;
    }
    r.op = storage::operation::remove;
    if (r.shadow == no_row) return;
    r.slot = f.shadows[r.shadow].slot;
    f.shadows[r.shadow].live = false;
    r.shadow = no_row;
  }
  std::unique_ptr<sql_engine> engine_; // outlives its statement
  statement_ptr statement_;
  load_mode mode_;
  std::string name_;
  std::vector<char> passed_;
};

class set_step final : public step {
public:
  struct assignment {
    std::string column;
    statement_ptr alone; ///< the expression by itself, to find which one failed
  };
  set_step(std::unique_ptr<sql_engine> engine, statement_ptr all, std::vector<assignment> each, std::string name,
           bool takes_deletes)
      : engine_(std::move(engine)), all_(std::move(all)), each_(std::move(each)), name_(std::move(name)),
        takes_deletes_(takes_deletes) {}

  void run(frame& f, run_state& state) override {
    targets_.clear();
    for (const assignment& a : each_) {
      int column = f.find(a.column);
      if (column < 0) column = static_cast<int>(f.add_column({a.column}));
      f.columns[static_cast<std::size_t>(column)].assigned = true;
      targets_.push_back(static_cast<std::uint32_t>(column));
    }
    pass(f, state, f.rows);
    if (takes_deletes_) pass(f, state, f.shadows);
  }

private:
  void pass(frame& f, run_state& state, std::vector<frame_row>& rows) {
    if (rows.empty()) return;
    engine_->run(
        all_.get(), f, state, rows, 0, rows.size(), takes_deletes_,
        [&](frame_row& r, sqlite3_stmt* s) { assign(f, state, r, s); },
        [&](frame_row& r, std::string message) {
          blame_.emplace_back(static_cast<std::size_t>(&r - rows.data()), std::move(message));
        });
    for (auto& [index, message] : blame_) {
      std::string step = name_, column;
      for (const assignment& a : each_) {
        bool failed = false;
        engine_->run(
            a.alone.get(), f, state, rows, index, index + 1, takes_deletes_, [](frame_row&, sqlite3_stmt*) {},
            [&](frame_row&, std::string why) {
              failed = true;
              message = std::move(why);
            });
        if (!failed) continue;
        column = a.column;
        break;
      }
      if (!column.empty()) step += " " + column;
      state.fail(f, rows[index], "transform", std::move(message), std::move(step), std::move(column));
    }
    blame_.clear();
  }

  void assign(frame& f, run_state& state, frame_row& r, sqlite3_stmt* s) {
    for (std::size_t i = 0; i < each_.size(); ++i) {
      const int n = static_cast<int>(i);
      cell value;
      switch (sqlite3_column_type(s, n)) {
      case SQLITE_INTEGER:
        value = cell::of(static_cast<std::int64_t>(sqlite3_column_int64(s, n)));
        break;
      case SQLITE_FLOAT:
        value = cell::of(sqlite3_column_double(s, n));
        if (!std::isfinite(value.d)) {
          state.fail(f, r, "type", "found an infinite number, expected a finite one", name_ + " " + each_[i].column,
                     each_[i].column);
          return;
        }
        break;
      case SQLITE_TEXT: {
        const auto* p = reinterpret_cast<const char*>(sqlite3_column_text(s, n));
        const std::string_view text(p, static_cast<std::size_t>(sqlite3_column_bytes(s, n)));
        if (!simdjson::validate_utf8(text.data(), text.size())) {
          state.fail(f, r, "type", "found text that is not UTF-8", name_ + " " + each_[i].column, each_[i].column);
          return;
        }
        value = cell::text(state.memory().copy(text));
        break;
      }
      case SQLITE_BLOB: {
        const auto size = static_cast<std::size_t>(sqlite3_column_bytes(s, n));
        value = cell::blob(state.memory().copy({static_cast<const char*>(sqlite3_column_blob(s, n)), size}));
        break;
      }
      default:
        break;
      }
      value.note = note::assigned;
      f.at(r.slot, targets_[i]) = value;
    }
  }

  std::unique_ptr<sql_engine> engine_;
  statement_ptr all_;
  std::vector<assignment> each_;
  std::string name_;
  bool takes_deletes_;
  std::vector<std::uint32_t> targets_;
  std::vector<std::pair<std::size_t, std::string>> blame_;
};
} // namespace

step_ptr make_where(step_compiler& c, const transform_step& s, std::string name) {
  auto engine = std::make_unique<sql_engine>(c.columns, c.limits);
  if (const std::string message = engine->check(s.text); !message.empty()) {
    c.error(s, "where: " + message + ", in: " + s.text);
    return nullptr;
  }
  auto statement = engine->prepare({"1"}, s.text);
  return std::make_unique<where_step>(std::move(engine), std::move(statement), c.table.mode, std::move(name));
}

step_ptr make_set(step_compiler& c, const transform_step& s, std::string name, bool takes_deletes) {
  auto engine = std::make_unique<sql_engine>(c.columns, c.limits);
  bool good = !s.assignments.empty();
  if (!good) c.error(s, "set: found no assignment");
  std::vector<std::string> expressions;
  for (const auto& [column, expression] : s.assignments) {
    const std::string message = column.empty() ? "found a column without a name" : engine->check(expression);
    if (!message.empty()) {
      c.error(s, "set " + column + ": " + message + ", in: " + expression);
      good = false;
    }
    expressions.push_back(expression);
  }
  for (const auto& [column, expression] : s.assignments) {
    c.made.push_back(column);
    if (!c.columns.find(column)) c.columns.columns.push_back({column, nullptr});
  }
  if (!good) return nullptr;
  auto all = engine->prepare(expressions, {});
  std::vector<set_step::assignment> each;
  for (const auto& [column, expression] : s.assignments) each.push_back({column, engine->prepare({expression}, {})});
  return std::make_unique<set_step>(std::move(engine), std::move(all), std::move(each), std::move(name), takes_deletes);
}

} // namespace millrace::actors::transform
