#include "actors/load/postgres/postgres_destination.hpp"

#include "actors/load/postgres/progress_table.hpp"
#include "actors/load/postgres/segment_writer.hpp"

#include <algorithm>
#include <cstring>

namespace millrace::actors::load {
namespace {

using namespace postgres;
using storage::offset;

constexpr std::uint64_t largest = INT64_MAX; // PostgreSQL's bigint is signed

struct option_list {
  std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> options{nullptr, &PQconninfoFree};
  std::string error;
  explicit option_list(const std::string& conninfo) {
    char* why = nullptr;
    options.reset(PQconninfoParse(conninfo.c_str(), &why));
    if (why) {
      error = why;
      PQfreemem(why);
    }
  }
  std::string value(const char* keyword, const char* otherwise) const {
    for (auto* o = options.get(); o && o->keyword; ++o)
      if (std::strcmp(o->keyword, keyword) == 0 && o->val && *o->val) return o->val;
    return otherwise;
  }
};

class postgres_destination final : public destination {
public:
  postgres_destination(const load_spec& load, const option_list& options) : load_(load) {
    name_ = "postgres " + options.value("host", options.value("service", "local").c_str()) + ':' + options.value("port", "5432") +
            '/' + options.value("dbname", options.value("user", "").c_str());
    schema_ = load_.destination.schema.empty() ? "public" : load_.destination.schema;
    std::vector<std::uint32_t> table_of;
    for (std::uint32_t i = 0; i < load_.tables.size(); ++i) {
      const auto name = parse_name(load_.tables[i].to, schema_);
      std::uint32_t at = 0;
      while (at < tables_.size() && tables_[at]->name() != name) ++at;
      if (at == tables_.size())
        tables_.push_back(std::make_unique<target_table>(session_, name, "millrace_stage_" + std::to_string(at)));
      tables_[at]->add_spec(i, load_.tables[i]);
      table_of.push_back(at);
    }
    segment_.emplace(session_, tables_);
    segment_->set_tables(std::move(table_of));
  }
  ~postgres_destination() override { rollback(); }

  std::string name() const override { return name_; }
  bool buffers() const noexcept override { return true; }
  void set_isolation(bool on) override { isolate_ = on; }

  result<progress> claim(const claim_request& who) override {
    rollback();
    claimed_ = false;
    if (who.log.value != who_.log.value || who.pipeline != who_.pipeline || who.load != who_.load) committed_.reset();
    who_ = who;
    if (who.epoch.value > largest)
      return make_failure(errc::invalid,
                          name_ + ": epoch " + std::to_string(who.epoch.value) + " does not fit PostgreSQL's bigint");
    if (auto ok = connect(); !ok) return ok.error();
    open_ = true;
    auto out = claim_inside();
    if (!out) {
      undo();
      return out;
    }
    session_->add("COMMIT");
    if (auto bad = session_->flush("committing the claim")) {
      undo();
      return bad->why;
    }
    close(true);
    next_ = out.value().next;
    claimed_ = true;
    return out;
  }

  result<void> begin() override {
    if (open_) return make_failure(errc::invalid, name_ + ": begin() inside of a transaction");
    if (!claimed_ || !session_ || !session_->alive())
      return make_failure(errc::unavailable, name_ + ": not claimed since the last error");
    return start();
  }

  result<void> apply(const transform::row_set_ptr& set, std::size_t first_row, std::size_t end_row, row_gate& gate) override {
    if (!open_) return make_failure(errc::invalid, name_ + ": apply() outside of a transaction");
    const auto& rows = set->rows;
    for (std::size_t i = first_row, end = i; i < end_row; i = end) {
      while (end < end_row && rows[end].change == rows[i].change) ++end;
      if (!gate.admit(*set, rows[i])) continue;
      std::optional<row_error> why;
      for (auto at = i; !why && at < end; ++at) {
        if (rows[at].op == storage::operation::truncate) continue;
        auto& table = segment_table(*set, rows[at]);
        auto planned = table.make_room(*set, rows[at]);
        if (!planned) return given_up(planned.error());
        why = std::move(planned.value().why);
        if (!why && planned.value().plan) why = table.check(*planned.value().plan, *set, rows[at]);
      }
      if (why) {
        if (!gate.rejected(*set, rows[i], std::move(*why)))
          return make_failure(errc::halted, name_ + ": halted at change " + std::to_string(rows[i].change) + " of its batch");
        continue;
      }
      segment_->add(set, i, end);
      if (isolate_ || segment_->full())
        if (auto ok = flush(gate); !ok) return ok;
    }
    return success();
  }

  result<void> flush(row_gate& gate) override {
    if (!open_) return make_failure(errc::invalid, name_ + ": flush() outside of a transaction");
    if (segment_->empty()) return success();
    auto ok = segment_->write(gate, isolate_, name_);
    if (!ok && !is(ok.error(), errc::halted)) return given_up(ok.error());
    return ok;
  }

  result<void> commit(const progress& next) override {
    if (!open_) return make_failure(errc::invalid, name_ + ": commit() outside of a transaction");
    if (!segment_->empty()) return given_up(make_failure(errc::invalid, name_ + ": commit() before flush()"));
    if (next.next.value > largest || next.filtered > largest)
      return given_up(make_failure(errc::invalid,
                                   name_ + ": offset " + std::to_string(next.next.value) + " does not fit PostgreSQL's bigint"));
    auto ok = finish(next_, next, "committing");
    if (!ok) return ok;
    next_ = next.next;
    committed_ = next.next;
    return success();
  }

  void rollback() noexcept override {
    if (open_) undo();
  }

  result<void> rewind(const progress& to, bool truncate) override {
    if (open_) return make_failure(errc::invalid, name_ + ": rewind() inside of a transaction");
    if (auto ok = begin(); !ok) return ok;
    if (truncate) {
      std::vector<target_table*> all;
      for (const auto& t : tables_)
        if (t->shape().exists) all.push_back(t.get());
      if (auto bad = segment_->empty_tables(all)) return given_up(bad->why);
    }
    // A commit with an unknown outcome may have gone back: the next claim must not take that for an edit.
    const auto before = committed_;
    committed_.reset();
    if (auto ok = finish(std::nullopt, to, "committing the rewind"); !ok) {
      if (is(ok.error(), errc::fenced)) committed_ = before;
      return ok;
    }
    next_ = to.next;
    committed_ = to.next;
    return success();
  }

private:
  std::string load_name() const { return who_.pipeline + '/' + who_.load; }
  target_table& segment_table(const transform::row_set& set, const transform::row& r) {
    return *tables_[segment_->table_of(set, r)];
  }

  result<void> connect() {
    if (session_ && session_->alive()) return success();
    session_ = nullptr;
    owned_.reset();
    for (const auto& t : tables_) t->disconnect();
    fingerprint_.clear();
    auto opened = session::open(load_.destination.connection, session_name());
    if (!opened) return opened.error();
    owned_ = std::move(opened).value();
    session_ = owned_.get();
    return success();
  }

  static constexpr const char* begin_text = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

  result<progress> claim_inside() {
    progress_.emplace(*session_, schema_, who_);
    session_->add(begin_text);
    if (auto ok = progress_->make(); !ok) return ok.error();
    if (auto ok = end_predecessors(); !ok) return ok.error();
    auto found = progress_->read(true);
    if (!found) return found.error();
    progress_row mine{log_text(who_.log), who_.epoch.value, 0, 0};
    bool created = true;
    if (const auto& row = found.value()) {
      if (row->log == mine.log) {
        if (row->epoch > who_.epoch.value) return fenced(*row);
        mine.next = row->next;
        mine.filtered = row->filtered;
        created = false;
      } else if (std::none_of(who_.retired.begin(), who_.retired.end(), [&](auto id) { return log_text(id) == row->log; })) {
        return make_failure(
            errc::log_mismatch,
            name_ + ": " + load_name() + " was loaded from log " + row->log + " up to offset " + std::to_string(row->next) +
                ", this is log " + mine.log +
                "; expected the same log. If this pipeline shall own the tables, delete the row in _millrace_offsets");
      }
    }
    if (committed_ && mine.next < committed_->value)
      return make_failure(errc::log_mismatch,
                          name_ + ": " + load_name() + " stands at offset " +
                              (created ? std::string("none, its row is gone") : std::to_string(mine.next)) + ", but offset " +
                              std::to_string(committed_->value) +
                              " was committed: the database was set back (restored, or failed over to a standby "
                              "that lacked the last commits), or _millrace_offsets was edited. Put it "
                              "right, or rewind the load");
    if (auto ok = progress_->put(mine); !ok) return ok.error();
    if (auto ok = attach(); !ok) return ok.error();
    return progress{{mine.next}, mine.filtered, created};
  }

  failure fenced(const progress_row& row) const {
    return make_failure(errc::fenced, name_ + ": " + load_name() + " was claimed by epoch " + std::to_string(row.epoch) +
                                          ", ours is " + std::to_string(who_.epoch.value));
  }

  /// Sessions of this load whose node is paused or cut off may keep an open transaction, and its locks on our rows, for hours:
  /// the server does not know. They could not commit anyway: the fence sees to it. What moves is left alone, and so is a newer
  /// writer.
  result<void> end_predecessors() {
    auto seen = session_->ask(progress_->read_text(), "the load's row in _millrace_offsets");
    if (!seen)
      return is(seen.error(), errc::refused) ? success() : result<void>(seen.error()); // the locking read names the right
    if (seen.value().rows() == 0) return success();
    auto row = progress_->parse(seen.value());
    if (row && row.value().log == log_text(who_.log) && row.value().epoch > who_.epoch.value) return fenced(row.value());
    auto ended = session_->ask("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = " +
                                   session_->link().quote_text(session_name()) +
                                   " AND pid <> pg_backend_pid() AND datname = current_database() AND usename = current_user"
                                   " AND state <> 'idle' AND state_change < clock_timestamp() - interval '1 second'",
                               "ending sessions of an earlier writer");
    return ended ? success() : result<void>(ended.error());
  }

  /// PostgreSQL cuts a session's name at 63 bytes; two loads must never share one.
  std::string session_name() const {
    const auto whole = "millrace " + load_name();
    if (whole.size() <= 63) return whole;
    std::uint64_t hash = 14695981039346656037u; // FNV-1a: the same on every node, whatever its build
    for (const unsigned char c : whole) hash = (hash ^ c) * 1099511628211u;
    char tail[18];
    std::snprintf(tail, sizeof tail, " %016llx", static_cast<unsigned long long>(hash));
    return whole.substr(0, 63 - 17) + tail;
  }

  result<void> attach() {
    session_->forget_prepared();
    for (const auto& t : tables_)
      if (auto ok = t->attach(); !ok) return ok;
    return read_foreign_keys();
  }

  result<void> read_foreign_keys() {
    std::string list;
    for (const auto& t : tables_)
      if (t->shape().exists) list += (list.empty() ? "" : ", ") + std::to_string(t->shape().oid);
    std::vector<std::pair<std::uint32_t, std::uint32_t>> edges;
    if (!list.empty()) {
      auto r = session_->ask("SELECT conrelid, confrelid, " + fingerprint_text(oids()) +
                                 " FROM (SELECT conrelid, confrelid FROM pg_constraint WHERE contype = 'f' AND conrelid IN (" +
                                 list + ") AND confrelid IN (" + list + ") UNION ALL SELECT 0::oid, 0::oid) f",
                             "reading foreign keys");
      if (!r) return r.error();
      const auto index = [&](std::string_view oid) {
        for (std::uint32_t i = 0; i < tables_.size(); ++i)
          if (tables_[i]->shape().exists && std::to_string(tables_[i]->shape().oid) == oid)
            return std::optional<std::uint32_t>(i);
        return std::optional<std::uint32_t>();
      };
      for (int i = 0; i < r.value().rows(); ++i) {
        const auto child = index(r.value().at(i, 0)), parent = index(r.value().at(i, 1));
        if (child && parent) edges.emplace_back(*child, *parent);
        fingerprint_ = r.value().at(i, 2);
      }
    } else {
      fingerprint_ = "0";
    }
    segment_->set_foreign_keys(edges);
    return success();
  }

  std::vector<std::uint32_t> oids() const {
    std::vector<std::uint32_t> out;
    for (const auto& t : tables_)
      if (t->shape().exists) out.push_back(t->shape().oid);
    return out;
  }

  result<void> start() {
    std::string check;
    if (auto bad = session_->prepared(progress_->read_text(fingerprint_text(oids())), check)) return lost(bad->why);
    result<std::optional<progress_row>> row = std::optional<progress_row>{};
    std::string fingerprint;
    session_->add(begin_text);
    session_->add("SET CONSTRAINTS ALL DEFERRED");
    session_->add(check, [&](const pq::query_result& r) {
      if (r.rows() == 0) return;
      auto parsed = progress_->parse(r);
      if (parsed)
        row = std::optional<progress_row>(std::move(parsed).value());
      else
        row = parsed.error();
      fingerprint = r.at(0, 4);
    });
    open_ = true;
    if (auto bad = session_->flush("beginning a transaction")) return given_up(bad->why);
    if (!row) return given_up(row.error());
    const auto& mine = row.value();
    if (!mine || mine->log != log_text(who_.log)) {
      claimed_ = false;
      return given_up(make_failure(errc::log_mismatch, name_ + ": the row of " + load_name() + " in _millrace_offsets is " +
                                                           (mine ? "of log " + mine->log + ", expected log " + log_text(who_.log)
                                                                 : "gone; expected offset " + std::to_string(next_.value))));
    }
    if (mine->epoch != who_.epoch.value || mine->next != next_.value) {
      claimed_ = false;
      return given_up(make_failure(errc::fenced, name_ + ": " + load_name() + " stands at offset " + std::to_string(mine->next) +
                                                     " under epoch " + std::to_string(mine->epoch) + ", expected offset " +
                                                     std::to_string(next_.value) + " under epoch " +
                                                     std::to_string(who_.epoch.value) +
                                                     ": another writer has claimed it, or _millrace_offsets was edited"));
    }
    const bool known = std::all_of(tables_.begin(), tables_.end(), [](const auto& t) { return t->known(); });
    if (!known || fingerprint != fingerprint_) // a table was altered, by us or by somebody else
      if (auto ok = attach(); !ok) return given_up(ok.error());
    return success();
  }

  /// Progress and COMMIT in one round trip: if the row does not stand where it must, the COMMIT is not run.
  result<void> finish(std::optional<offset> from, const progress& to, std::string_view doing) {
    std::string tag;
    bool moved = false; // a trigger that only the commit runs may divide by zero as well
    session_->add(progress_->move_text(from, to), [&](const pq::query_result&) { moved = true; });
    session_->add("COMMIT", [&](const pq::query_result& r) { tag = PQcmdStatus(r.get()); });
    auto bad = session_->flush(doing);
    if (!bad && tag == "COMMIT") {
      for (const auto& t : tables_)
        if (t->changed_schema()) fingerprint_.clear();
      close(true);
      return success();
    }
    if (!bad) return given_up(make_failure(errc::unavailable, name_ + ": COMMIT was answered with " + tag));
    if (!moved && progress_table::not_ours(*bad)) {
      claimed_ = false;
      return given_up(
          make_failure(errc::fenced, name_ + ": the row of " + load_name() + " in _millrace_offsets no longer stands at offset " +
                                         std::to_string(next_.value) + " under epoch " + std::to_string(who_.epoch.value)));
    }
    if (bad->what == blame::row) return given_up(make_failure(errc::refused, bad->why.message));
    return given_up(bad->why);
  }

  failure lost(failure why) {
    claimed_ = claimed_ && session_->alive();
    return why;
  }
  failure given_up(failure why) {
    undo();
    return why;
  }
  void undo() noexcept {
    if (session_) {
      session_->forget_pending();
      if (session_->alive() && session_->run("ROLLBACK", "rolling back")) {
        owned_.reset(); // in a state that we do not know
        session_ = nullptr;
        for (const auto& t : tables_) t->disconnect();
      }
    }
    close(false);
  }
  void close(bool committed) noexcept {
    open_ = false;
    segment_->clear();
    for (const auto& t : tables_) t->settle(committed);
  }

  const load_spec load_; // first: tables_ refer to it
  std::string name_, schema_;
  std::unique_ptr<session> owned_;
  session* session_ = nullptr; // what tables_ and segment_ look at
  std::vector<std::unique_ptr<target_table>> tables_;
  std::optional<segment_writer> segment_;
  claim_request who_;
  std::optional<progress_table> progress_;
  std::string fingerprint_;         ///< of the tables' catalog rows; empty: to be read anew
  offset next_;                     ///< where the claimed row stands
  std::optional<offset> committed_; ///< the furthest commit that this object knows of
  bool claimed_ = false, open_ = false, isolate_ = false;
};

} // namespace

result<std::unique_ptr<destination>> make_postgres_destination(const load_spec& load) {
  const auto wrong = [&](const std::string& why) {
    return make_failure(errc::invalid, "load " + load.name + ": a destination of type postgres needs a connection; " + why);
  };
  if (load.destination.connection.empty()) return wrong("found none");
  const option_list options(load.destination.connection);
  // libpq's own words may quote the string, and with it a password.
  if (!options.options)
    return wrong("found one that libpq does not understand; expected \"host=... dbname=... user=...\" or a URI");
  return std::unique_ptr<destination>(std::make_unique<postgres_destination>(load, options));
}

} // namespace millrace::actors::load
