#include "actors/load/sqlite/sqlite_destination.hpp"

#include "actors/load/sqlite/progress_table.hpp"
#include "actors/load/sqlite/table_writer.hpp"

#include <algorithm>
#include <unistd.h>

namespace millrace::actors::load {
namespace {

using namespace sqlite;
using storage::offset;

// "In slices of a second at most": the other loads of the file get this long before we say unavailable and let the caller decide.
constexpr std::chrono::milliseconds turn_limit{900};
constexpr std::uint64_t largest = INT64_MAX; // SQLite's integers are signed

class sqlite_destination final : public destination {
public:
  explicit sqlite_destination(const load_spec& load) : load_(load) {
    tables_.reserve(load_.tables.size());
    for (const auto& t : load_.tables) tables_.emplace_back(t);
  }
  ~sqlite_destination() override {
    rollback();
    drop_connection();
  }

  std::string name() const override { return "sqlite " + path(); }
  void set_isolation(bool on) override { isolate_ = on; }

  result<progress> claim(const claim_request& who) override {
    rollback();
    claimed_ = false;
    if (who.log.value != who_.log.value) committed_.reset();
    // The statements of progress_ refer to who_.
    progress_.reset();
    who_ = who;
    if (who.epoch.value > largest)
      return make_failure(errc::invalid,
                          name() + ": epoch " + std::to_string(who.epoch.value) + " does not fit SQLite's integers");
    if (auto ok = connect(); !ok) return ok.error();
    if (auto ok = start(); !ok) return ok.error();
    auto out = claim_inside();
    if (!out) {
      undo();
      return out;
    }
    if (auto ok = finish("committing the claim"); !ok) return ok.error();
    next_ = out.value().next;
    claimed_ = true;
    return out;
  }

  result<void> begin() override {
    if (open_) return make_failure(errc::invalid, name() + ": begin() inside of a transaction");
    if (!claimed_) return make_failure(errc::unavailable, name() + ": not claimed since the last error");
    if (connection_->condemned()) {
      claimed_ = false;
      return make_failure(errc::unavailable, name() + ": it is opened anew after an error");
    }
    if (auto ok = start(); !ok) return ok;
    auto ok = still_ours();
    if (!ok) undo();
    return ok;
  }

  result<void> apply(const transform::row_set_ptr& set, std::size_t first_row, std::size_t end_row, row_gate& gate) override {
    if (!open_) return make_failure(errc::invalid, name() + ": apply() outside of a transaction");
    const auto& rows = set->rows;
    for (std::size_t i = first_row, end = i; i < end_row; i = end) {
      while (end < end_row && rows[end].change == rows[i].change) ++end;
      if (!gate.admit(*set, rows[i])) continue;
      switch (apply_change(*set, i, end)) {
      case fate::applied:
        break;
      case fate::rejected:
        if (sqlite3_get_autocommit(connection_->db())) {
          undo();
          return make_failure(errc::refused, name() + ": the change at offset " + offset_text(*set, rows[i]) +
                                                 " made the database roll back the whole transaction (" + verdict_.why.message +
                                                 "); expected triggers to use RAISE(ABORT), not RAISE(ROLLBACK)");
        }
        if (!gate.rejected(*set, rows[i], std::move(verdict_.why)))
          return make_failure(errc::halted, name() + ": halted at the change at offset " + offset_text(*set, rows[i]));
        break;
      case fate::failed: {
        auto why = std::move(verdict_.trouble);
        undo();
        return why;
      }
      }
    }
    return success();
  }

  result<void> commit(const progress& next) override {
    if (!open_) return make_failure(errc::invalid, name() + ": commit() outside of a transaction");
    if (next.next.value > largest || next.filtered > largest) {
      undo();
      return make_failure(errc::invalid,
                          name() + ": offset " + std::to_string(next.next.value) + " does not fit SQLite's integers");
    }
    auto moved = progress_->advance(next_, next);
    if (!moved) {
      undo();
      return moved.error();
    }
    if (!moved.value()) {
      undo();
      claimed_ = false;
      return make_failure(errc::fenced, name() + ": the row of " + load_name() +
                                            " in _millrace_offsets no longer stands at offset " + std::to_string(next_.value) +
                                            " under epoch " + std::to_string(who_.epoch.value));
    }
    if (auto ok = finish("committing"); !ok) return ok;
    next_ = next.next;
    committed_ = next.next;
    return success();
  }

  void rollback() noexcept override {
    if (open_) undo();
  }

  result<void> rewind(const progress& to, bool truncate) override {
    if (open_) return make_failure(errc::invalid, name() + ": rewind() inside of a transaction");
    if (auto ok = begin(); !ok) return ok;
    if (truncate)
      for (auto& t : tables_)
        if (auto ok = t.empty(*connection_); !ok) {
          undo();
          return ok;
        }
    auto moved = progress_->advance(std::nullopt, to);
    if (!moved || !moved.value()) {
      undo();
      if (!moved) return moved.error();
      return make_failure(errc::fenced, name() + ": the row of " + load_name() + " in _millrace_offsets is not ours any more");
    }
    // A commit with an unknown outcome may have gone back: the next claim must not take that for an edit.
    committed_.reset();
    if (auto ok = finish("committing the rewind"); !ok) return ok;
    next_ = to.next;
    committed_ = to.next;
    return success();
  }

private:
  const std::string& path() const { return load_.destination.path; }
  std::string load_name() const { return who_.pipeline + '/' + who_.load; }
  static std::string offset_text(const transform::row_set& set, const transform::row& r) {
    return set.batch ? std::to_string(set.batch->base().value + r.change) : "batch + " + std::to_string(r.change);
  }

  void drop_connection() noexcept {
    progress_.reset();
    for (auto& t : tables_) t.forget();
    for (auto* s : {&begin_, &commit_, &rollback_, &version_, &save_, &release_, &back_}) s->reset();
    connection_.reset();
  }

  result<void> connect() {
    if (connection_ && (connection_->condemned() || !connection_->in_place(path()))) drop_connection();
    if (connection_) return success();
    // Not made anew: SQLite would delete the WAL that still lies there, and with it commits that belong to the moved file.
    if (committed_ && *committed_ > offset{0} && ::access(path().c_str(), F_OK) != 0) return moved_away();
    auto opened = connection::open(path());
    if (!opened) return opened.error();
    connection_ = std::move(opened).value();
    return success();
  }

  /// Takes our turn and the database's write lock.
  result<void> start() {
    if (!connection_->acquire(this, turn_limit))
      return make_failure(errc::unavailable, name() + ": another load of this node is writing to the file");
    open_ = true;
    auto ok = prepare_once();
    if (ok) ok = run(begin_, "beginning a transaction");
    if (ok && !connection_->in_place(path())) ok = moved_away();
    if (!ok) undo();
    return ok;
  }

  failure moved_away() {
    return make_failure(
        errc::unavailable,
        name() + ": the file was deleted, renamed or replaced while it was open; what was committed to it last is offset " +
            (committed_ ? std::to_string(committed_->value) : std::string("(none since the start)")) +
            ". Put it back with its -wal file; to start a new file instead, pause and resume the pipeline");
  }

  result<void> prepare_once() {
    if (begin_) return success();
    // IMMEDIATE: the write lock first, so that no statement meets SQLITE_BUSY halfway.
    const std::pair<statement*, const char*> all[] = {
        {&commit_, "COMMIT"},         {&rollback_, "ROLLBACK"},      {&version_, "PRAGMA main.schema_version"},
        {&save_, "SAVEPOINT change"}, {&release_, "RELEASE change"}, {&back_, "ROLLBACK TO change"},
        {&begin_, "BEGIN IMMEDIATE"}};
    for (const auto& [s, sql] : all) {
      auto made = connection_->prepare(sql, "preparing");
      if (!made) return made.error();
      *s = std::move(made).value();
    }
    return success();
  }

  result<void> run(statement& s, std::string_view doing) {
    const int rc = sqlite3_step(s.get());
    if (rc == SQLITE_DONE || rc == SQLITE_ROW) {
      sqlite3_reset(s.get());
      return success();
    }
    auto why = connection_->error(rc, doing);
    sqlite3_reset(s.get());
    return why;
  }

  /// Ends the transaction; afterwards it is gone, whatever happened.
  result<void> finish(std::string_view doing) {
    if (!connection_->in_place(path())) {
      undo();
      return moved_away();
    }
    const int rc = sqlite3_step(commit_.get());
    if (rc == SQLITE_DONE) {
      sqlite3_reset(commit_.get());
      open_ = false;
      connection_->release(this);
      return success();
    }
    auto why = connection_->error(rc, doing);
    const bool deferred = (rc & 0xff) == SQLITE_CONSTRAINT;
    sqlite3_reset(commit_.get());
    undo();
    // Anything else leaves the outcome open: only a claim reads what the file says.
    if (!deferred) claimed_ = false;
    return why;
  }

  void undo() noexcept {
    open_ = false;
    if (rollback_ && !sqlite3_get_autocommit(connection_->db())) {
      sqlite3_step(rollback_.get());
      sqlite3_reset(rollback_.get());
    }
    // Tables and columns that this transaction made are gone; the version that we know may come again with other ones.
    for (auto& t : tables_) t.forget();
    schema_version_ = -1;
    connection_->release(this);
  }

  result<void> look_at_schema() {
    const int rc = sqlite3_step(version_.get());
    if (rc != SQLITE_ROW) {
      auto why = connection_->error(rc, "reading the schema's version");
      sqlite3_reset(version_.get());
      return why;
    }
    const auto seen = sqlite3_column_int64(version_.get(), 0);
    sqlite3_reset(version_.get());
    if (seen != schema_version_)
      for (auto& t : tables_) t.forget();
    schema_version_ = seen;
    return success();
  }

  result<progress> claim_inside() {
    progress_.emplace(*connection_, who_);
    if (auto ok = progress_->make(); !ok) return ok.error();
    auto found = progress_->read();
    if (!found) return found.error();
    progress_row mine{log_text(who_.log), who_.epoch.value, 0, 0};
    bool created = true;
    if (const auto& row = found.value()) {
      if (row->log == mine.log) {
        if (row->epoch > who_.epoch.value)
          return make_failure(errc::fenced, name() + ": " + load_name() + " was claimed by epoch " + std::to_string(row->epoch) +
                                                ", ours is " + std::to_string(who_.epoch.value));
        mine.next = row->next;
        mine.filtered = row->filtered;
        created = false;
      } else if (std::none_of(who_.retired.begin(), who_.retired.end(), [&](auto id) { return log_text(id) == row->log; })) {
        return make_failure(
            errc::log_mismatch,
            name() + ": " + load_name() + " was loaded from log " + row->log + " up to offset " + std::to_string(row->next) +
                ", this is log " + mine.log +
                "; expected the same log. If this pipeline shall own the table, delete the row in _millrace_offsets");
      }
    }
    if (committed_ && mine.next < committed_->value)
      return make_failure(errc::log_mismatch, name() + ": " + load_name() + " stands at offset " +
                                                  (created ? std::string("none, its row is gone") : std::to_string(mine.next)) +
                                                  ", but offset " + std::to_string(committed_->value) +
                                                  " was committed: the file was replaced by another or older one, or "
                                                  "_millrace_offsets was edited. Put the file back, or rewind the load");
    if (auto ok = progress_->put(mine); !ok) return ok.error();
    for (auto& t : tables_)
      if (auto ok = t.attach(*connection_); !ok) return ok.error();
    if (auto ok = look_at_schema(); !ok) return ok.error();
    return progress{{mine.next}, mine.filtered, created};
  }

  result<void> still_ours() {
    if (auto ok = look_at_schema(); !ok) return ok;
    auto found = progress_->read();
    if (!found) return found.error();
    const auto& row = found.value();
    if (!row || row->log != log_text(who_.log)) {
      claimed_ = false;
      return make_failure(errc::log_mismatch, name() + ": the row of " + load_name() + " in _millrace_offsets is " +
                                                  (row ? "of log " + row->log + ", expected log " + log_text(who_.log)
                                                       : "gone; expected offset " + std::to_string(next_.value)));
    }
    if (row->epoch != who_.epoch.value || row->next != next_.value) {
      claimed_ = false;
      return make_failure(errc::fenced, name() + ": " + load_name() + " stands at offset " + std::to_string(row->next) +
                                            " under epoch " + std::to_string(row->epoch) + ", expected offset " +
                                            std::to_string(next_.value) + " under epoch " + std::to_string(who_.epoch.value) +
                                            ": another writer has claimed it, or _millrace_offsets was edited");
    }
    return success();
  }

  fate apply_change(const transform::row_set& set, std::size_t first, std::size_t end) {
    auto& c = *connection_;
    bool compound = isolate_ || end - first > 1;
    for (auto i = first; i < end; ++i) {
      const auto& r = set.rows[i];
      auto& table = tables_[set.layout_of(r).table];
      if (const auto f = table.make_room(c, set, r, verdict_); f != fate::applied) return f;
      compound = compound || table.compound(r);
    }
    if (!compound) return tables_[set.layout_of(set.rows[first]).table].apply(c, set, set.rows[first], verdict_);

    if (!step(save_)) return fate::failed;
    auto f = fate::applied;
    for (auto i = first; f == fate::applied && i < end; ++i)
      f = tables_[set.layout_of(set.rows[i]).table].apply(c, set, set.rows[i], verdict_);
    if (f == fate::applied && isolate_) f = deferred_keys(set, first);
    if (f == fate::failed || sqlite3_get_autocommit(c.db())) return f;
    if (f == fate::rejected && !step(back_)) return fate::failed;
    if (!step(release_)) return fate::failed;
    return f;
  }

  fate deferred_keys(const transform::row_set& set, std::size_t row) {
    int unresolved = 0, unused = 0;
    sqlite3_db_status(connection_->db(), SQLITE_DBSTATUS_DEFERRED_FKS, &unresolved, &unused, 0);
    if (!unresolved) return fate::applied;
    const auto& table = load_.tables[set.layout_of(set.rows[row]).table].to;
    verdict_.why = {"constraint", "table " + quoted(table) + ": FOREIGN KEY constraint failed (deferred to the commit)", "",
                    "FOREIGN KEY", ""};
    return fate::rejected;
  }

  bool step(statement& s) {
    auto ok = run(s, "marking a change");
    if (!ok) verdict_.trouble = ok.error();
    return ok.has_value();
  }

  const load_spec load_; // first: tables_ refer to it
  connection_ptr connection_;
  std::vector<table_writer> tables_;
  claim_request who_;
  std::optional<progress_table> progress_;
  statement begin_, commit_, rollback_, version_, save_, release_, back_;
  verdict verdict_;
  offset next_;                     ///< where the claimed row stands
  std::optional<offset> committed_; ///< the furthest commit that this object knows of
  std::int64_t schema_version_ = -1;
  bool claimed_ = false, open_ = false, isolate_ = false;
};

} // namespace

result<std::unique_ptr<destination>> make_sqlite_destination(const load_spec& load) {
  if (load.destination.path.empty())
    return make_failure(errc::invalid, "load " + load.name + ": a destination of type sqlite needs a path; found none");
  return std::unique_ptr<destination>(std::make_unique<sqlite_destination>(load));
}

} // namespace millrace::actors::load
