#pragma once
// One destination table of a load: its shape, what rows need of it, the DDL that makes it so.

#include "actors/load/postgres/layout_plan.hpp"

#include <memory>
#include <set>
#include <unordered_map>

namespace millrace::actors::load::postgres {

/// Owner: the destination. Everything runs inside its transaction: DDL is undone with the rows.
class target_table {
public:
  target_table(session*& s, table_name name, std::string stage) : s_(s), name_(std::move(name)), stage_(std::move(stage)) {}

  /// A table of the load that is written here. Errors of attach(): invalid if two of them want different modes or keys.
  void add_spec(std::uint32_t number, const table_spec& spec) { specs_.emplace_back(number, std::make_unique<table_spec>(spec)); }
  const table_name& name() const noexcept { return name_; }
  const table_shape& shape() const noexcept { return shape_; }
  const table_spec& spec() const noexcept { return *specs_.front().second; }
  load_mode mode() const noexcept { return spec().mode; }

  /// Reads the shape, makes the table if its columns are known, adds what an existing one lacks, checks that its mode can work.
  /// Errors: refused, with what the table would need.
  result<void> attach();
  /// The transaction with DDL was rolled back, or somebody altered the table.
  void forget() noexcept;
  bool known() const noexcept { return known_; } ///< shape() is what the database has
  /// The connection is gone, and the temporary table with it.
  void disconnect() noexcept {
    forget();
    staged_.clear();
  }

  /// Makes the table and columns that the row needs, outside of any savepoint, and gives the plan. `why` (and no plan): the row
  /// can never be written. Nothing at all: there is no table yet and the row cannot make it (a delete).
  struct planned {
    layout_plan* plan = nullptr;
    std::optional<row_error> why;
  };
  result<planned> make_room(const transform::row_set& set, const transform::row& r);
  /// The plan of rows that went through make_room(). Null: the table is not there.
  layout_plan* plan_of(const transform::table_layout_ptr& layout);
  /// What can be said of the row without asking the server.
  std::optional<row_error> check(const layout_plan& plan, const transform::row_set& set, const transform::row& r) const;

  /// "pg_temp"."millrace_stage_0". Columns: g (group), o (ordinal), cN (of column N), bN (key before, in the key's order).
  std::string stage() const { return "pg_temp." + pq::quoted_name(stage_); }

  /// The transaction is over: what its DDL made stays, or is forgotten.
  void settle(bool committed) noexcept;
  bool changed_schema() const noexcept { return changed_schema_; } ///< DDL of the open transaction
  bool stage_used = false;                                         ///< the temporary table has had rows in the open transaction
  unsigned no_straight = 0; ///< segments for which inserts are merged, because a COPY met rows that were there
  unsigned no_binary = 0;   ///< straight COPYs that go as text, because a value or the server did not go with binary
  static constexpr unsigned penalty_min = 8, penalty_max = 1024; ///< how long the next pause will be: doubled by each in a row
  unsigned straight_penalty = penalty_min, binary_penalty = penalty_min;

private:
  struct wanted {
    std::string name, type;
    bool required = false;
  };
  result<void> read();
  result<void> ready_stage();
  result<void> adopt_key(const transform::table_layout& layout);
  const table_spec* spec_of(const transform::table_layout& layout) const noexcept;
  void forget_plans() noexcept;
  /// After DDL of ours.
  result<void> look_again();
  result<void> add_column(const wanted& column, bool& added);
  result<void> check_rights(const table_spec& spec);
  result<void> check_mode(const table_spec& spec, const std::vector<std::string>& key);
  result<void> create(const table_spec& spec, const std::vector<wanted>& columns);
  /// In a savepoint. The server's words if it will not: the row's problem, not the load's.
  result<std::optional<std::string>> alter(const std::string& sql);
  result<std::string> wanted_type(const table_spec& spec, const transform::column& c, const transform::cell* value);
  std::unique_ptr<layout_plan> make_plan(const table_spec& spec, const transform::table_layout_ptr& layout) const;
  result<void> widen(const table_spec& spec, const transform::table_layout& layout);
  std::string at() const { return s_->name() + ": table " + name_.quoted(); }

  session*& s_;
  table_name name_;
  std::string stage_;
  /// Several source tables may flow into one. Copies: where the spec names no key it is the source's, known with the first row.
  std::vector<std::pair<std::uint32_t, std::unique_ptr<table_spec>>> specs_;
  table_shape shape_;
  bool known_ = false, checked_ = false;
  std::vector<std::string> staged_; ///< the columns of the temporary table; empty: there is none
  bool staged_now_ = false;         ///< made by the open transaction
  bool changed_schema_ = false;
  const transform::table_layout* last_layout_ = nullptr; ///< of make_room and plan_of; valid while last_ is set
  layout_plan* last_ = nullptr;
  std::vector<std::unique_ptr<layout_plan>> plans_;
  std::unordered_map<const transform::table_layout*, std::pair<transform::table_layout_ptr, layout_plan*>> by_layout_;
  std::map<std::string, std::string> blocked_;               ///< columns that the server would not add, and its words
  std::set<std::pair<std::string, std::string>> kept_types_; ///< column and wider type that it could not get
};

} // namespace millrace::actors::load::postgres
