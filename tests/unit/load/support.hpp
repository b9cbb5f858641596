#pragma once
// Row sets by hand, a gate that remembers, and a look into the file from outside.

#include "actors/load/destination.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <sqlite3.h>
#include <string>
#include <vector>

namespace millrace::test {

using namespace millrace::actors;
using storage::operation;
using transform::cell;

/// Knows where it begins and when; it carries no payloads.
class fake_batch final : public storage::batch {
public:
  explicit fake_batch(std::uint64_t base, std::int64_t micros = 1700000000000000) : base_(base), micros_(micros) {}
  storage::batch_kind kind() const noexcept override { return storage::batch_kind::changes; }
  storage::offset base() const noexcept override { return {base_}; }
  std::uint32_t count() const noexcept override { return 1000; }
  storage::epoch epoch() const noexcept override { return {1}; }
  storage::timestamp first_time() const noexcept override { return storage::timestamp(std::chrono::microseconds(micros_)); }
  storage::timestamp last_time() const noexcept override { return first_time(); }
  std::uint64_t changes_before() const noexcept override { return base_; }
  std::size_t bytes() const noexcept override { return 0; }
  std::string_view payloads() const noexcept override { return {}; }
  std::string_view payload(std::uint32_t) const noexcept override { return {}; }
  storage::payload_format format() const noexcept override { return storage::payload_format::json; }
  storage::envelope envelope() const noexcept override { return storage::envelope::none; }
  std::string_view origin() const noexcept override { return {}; }
  std::string_view context() const noexcept override { return {}; }
  std::string source_position(std::uint32_t) const override { return {}; }
  const storage::control_entry& control() const noexcept override { std::abort(); }

private:
  std::uint64_t base_;
  std::int64_t micros_;
};

inline cell missing() {
  cell c;
  c.k = cell::kind::missing;
  return c;
}
inline cell null() { return cell::null(); }
inline cell i(std::int64_t v) { return cell::of(v); }
inline cell f(double v) { return cell::of(v); }
inline cell b(bool v) { return cell::of(v); }
/// Texts of the tests are literals or live as long as the set.
inline cell t(std::string_view v) { return cell::text(v); }

struct column_of {
  column_of(std::string n, std::optional<data_type> t, std::string source = {})
      : name(std::move(n)), type(t), source_type(std::move(source)) {}
  std::string name;
  std::optional<data_type> type;
  std::string source_type;
};

inline transform::table_layout_ptr layout_of(std::uint32_t table, std::vector<column_of> columns,
                                             std::vector<std::uint32_t> key) {
  auto out = std::make_shared<transform::table_layout>();
  out->table = table;
  for (std::uint32_t k = 0; k < columns.size(); ++k)
    out->columns.push_back(
        {columns[k].name, columns[k].type, columns[k].source_type, false, std::find(key.begin(), key.end(), k) != key.end()});
  out->key = std::move(key);
  return out;
}

/// Builds one row_set; every call is a change of its own unless `same_change` says otherwise.
class rows {
public:
  explicit rows(transform::table_layout_ptr layout, std::uint64_t base = 0, std::int64_t micros = 1700000000000000)
      : set_(std::make_shared<transform::row_set>()) {
    set_->layouts.push_back(std::move(layout));
    set_->batch = std::make_shared<fake_batch>(base, micros);
  }
  rows& use(transform::table_layout_ptr layout) {
    set_->layouts.push_back(std::move(layout));
    return *this;
  }
  rows& insert(std::vector<cell> cells) { return add(operation::insert, std::move(cells)); }
  rows& update(std::vector<cell> cells) { return add(operation::update, std::move(cells)); }
  rows& remove(std::vector<cell> cells) { return add(operation::remove, std::move(cells)); }
  rows& truncate() { return add(operation::truncate, std::vector<cell>(set_->layouts.back()->columns.size())); }
  rows& move(std::vector<cell> before, std::vector<cell> cells) {
    add(operation::update, std::move(cells));
    auto& r = set_->rows.back();
    r.has_before_key = true;
    r.before_key = static_cast<std::uint32_t>(set_->cells.size());
    for (auto& c : before) set_->cells.push_back(c);
    std::vector<const cell*> keys;
    for (const auto& c : before) keys.push_back(&c);
    r.before_key_hash = hash_of(keys);
    return *this;
  }
  /// The last row belongs to the change before it.
  rows& same_change() {
    --next_change_;
    --set_->rows.back().change;
    return *this;
  }
  transform::row_set_ptr done() {
    set_->end = next_change_;
    return set_;
  }

private:
  static std::uint64_t hash_of(const std::vector<const cell*>& key) {
    std::uint64_t h = key.empty() ? 0 : 14695981039346656037ull;
    for (const auto* c : key)
      h = (h ^ (c->k == cell::kind::text ? std::hash<std::string_view>()(c->view()) : static_cast<std::uint64_t>(c->i))) *
          1099511628211ull;
    return h;
  }
  rows& add(operation op, std::vector<cell> cells) {
    transform::row r;
    r.change = next_change_++;
    r.op = op;
    r.layout = static_cast<std::uint16_t>(set_->layouts.size() - 1);
    r.first_cell = static_cast<std::uint32_t>(set_->cells.size());
    std::vector<const cell*> keys;
    for (const auto k : set_->layouts.back()->key) keys.push_back(&cells[k]);
    r.key_hash = hash_of(keys);
    for (auto& c : cells) set_->cells.push_back(c);
    set_->rows.push_back(r);
    return *this;
  }
  std::shared_ptr<transform::row_set> set_;
  std::uint32_t next_change_ = 0;
};

struct gate final : load::row_gate {
  std::vector<std::uint32_t> held; ///< changes that are not admitted
  bool go_on = true;
  std::vector<std::pair<std::uint32_t, load::row_error>> refused;
  std::vector<std::uint32_t> asked;
  bool admit(const transform::row_set&, const transform::row& first) override {
    asked.push_back(first.change);
    return std::find(held.begin(), held.end(), first.change) == held.end();
  }
  bool rejected(const transform::row_set&, const transform::row& first, load::row_error why) override {
    refused.emplace_back(first.change, std::move(why));
    return go_on;
  }
};

class temporary_folder {
public:
  temporary_folder() {
    std::string name = (std::filesystem::temp_directory_path() / "millrace-load-XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error("cannot make " + name);
    path_ = name;
  }
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }
  const std::string& path() const { return path_; }

private:
  std::string path_;
};

/// A connection of somebody else.
class other {
public:
  explicit other(const std::string& path, int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) {
    if (sqlite3_open_v2(path.c_str(), &db_, flags, nullptr) != SQLITE_OK) {
      const std::string why = sqlite3_errmsg(db_);
      sqlite3_close(db_);
      throw std::runtime_error(path + ": " + why);
    }
    sqlite3_busy_timeout(db_, 5000);
  }
  ~other() { sqlite3_close(db_); }
  other(const other&) = delete;
  other& operator=(const other&) = delete;
  void run(const std::string& sql) {
    char* why = nullptr;
    if (sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, &why) != SQLITE_OK) {
      const std::string text = why ? why : "?";
      sqlite3_free(why);
      throw std::runtime_error(sql + ": " + text);
    }
  }
  /// Each row as "a|b|NULL", rows separated by blanks in the given order.
  std::string rows(const std::string& sql) {
    sqlite3_stmt* s = nullptr;
    if (sqlite3_prepare_v2(db_, sql.c_str(), -1, &s, nullptr) != SQLITE_OK)
      throw std::runtime_error(sql + ": " + sqlite3_errmsg(db_));
    std::string out;
    while (sqlite3_step(s) == SQLITE_ROW) {
      if (!out.empty()) out += ' ';
      for (int k = 0; k < sqlite3_column_count(s); ++k) {
        if (k) out += '|';
        const auto* v = sqlite3_column_text(s, k);
        out += v ? reinterpret_cast<const char*>(v) : "NULL";
      }
    }
    sqlite3_finalize(s);
    return out;
  }

private:
  sqlite3* db_ = nullptr;
};

inline std::string look(const std::string& path, const std::string& sql) { return other(path, SQLITE_OPEN_READWRITE).rows(sql); }

inline field_spec field(std::string name, data_type type, bool required = false) {
  field_spec out;
  out.name = std::move(name);
  out.type = type;
  out.required = required;
  return out;
}

inline table_spec table(std::string to, load_mode mode, std::vector<std::string> key, std::vector<field_spec> schema = {}) {
  table_spec out;
  out.name = out.to = std::move(to);
  out.mode = mode;
  out.key = std::move(key);
  out.has_schema = !schema.empty();
  out.schema = std::move(schema);
  return out;
}

inline load_spec load_of(const std::string& path, std::vector<table_spec> tables) {
  load_spec out;
  out.name = "warehouse";
  out.destination.type = "sqlite";
  out.destination.path = path;
  out.tables = std::move(tables);
  return out;
}

inline load::claim_request who(std::uint64_t log = 0xfedcba9876543210, std::uint64_t epoch = 1) {
  return {"shop", "warehouse", 0, {log}, {epoch}, {}};
}

inline std::string text_of(const storage::failure& why) { return why.code.message() + ": " + why.message; }

#define MUST(expression)                                                                                                         \
  do {                                                                                                                           \
    const auto& must_result = (expression);                                                                                      \
    BOOST_REQUIRE_MESSAGE(must_result.has_value(), #expression ": " << (must_result ? "" : text_of(must_result.error())));       \
  } while (0)
/// Fails with this code, and its text holds every one of the words.
#define FAILS(expression, code_, ...)                                                                                            \
  do {                                                                                                                           \
    const auto& fails_result = (expression);                                                                                     \
    BOOST_REQUIRE_MESSAGE(!fails_result, #expression " was expected to fail");                                                   \
    BOOST_CHECK_MESSAGE(is(fails_result.error(), code_), #expression " gave " << text_of(fails_result.error()));                 \
    for (const std::string& word : std::initializer_list<std::string>{__VA_ARGS__})                                              \
      BOOST_CHECK_MESSAGE(fails_result.error().message.find(word) != std::string::npos,                                          \
                          "no '" << word << "' in: " << fails_result.error().message);                                           \
  } while (0)

/// One destination with what most tests do with it.
struct load_fixture {
  temporary_folder folder;
  std::string path = folder / "shop.db";
  std::unique_ptr<load::destination> made;
  gate seen;
  std::uint64_t next = 0;

  load::destination& open(std::vector<table_spec> tables, std::uint64_t epoch = 1) {
    made.reset();
    auto d = load::make_destination(load_of(path, std::move(tables)));
    MUST(d);
    made = std::move(d).value();
    const auto claimed = made->claim(who(0xfedcba9876543210, epoch));
    MUST(claimed);
    next = claimed.value().next.value;
    return *made;
  }
  /// One transaction with all of the set's rows.
  void write(const transform::row_set_ptr& set) {
    MUST(made->begin());
    MUST(made->apply(set, 0, set->rows.size(), seen));
    next += set->end;
    MUST(made->commit({{next}, 0}));
  }
  std::string rows_of(const std::string& sql) { return look(path, sql); }
};

} // namespace millrace::test
