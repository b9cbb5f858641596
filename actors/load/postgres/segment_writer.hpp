#pragma once
// Buffered changes of all tables of a load -> the destination, in bulk where it goes, one by one where it must.

#include "actors/load/postgres/table_part.hpp"

#include <memory>

namespace millrace::actors::load::postgres {

/// Owner: the destination; inside of its transaction.
class segment_writer {
public:
  segment_writer(session*& s, const std::vector<std::unique_ptr<target_table>>& tables);

  /// Which table a layout's number means: index into `tables`.
  void set_tables(std::vector<std::uint32_t> table_of) { table_of_ = std::move(table_of); }
  std::uint32_t table_of(const transform::row_set& set, const transform::row& r) const {
    return table_of_[set.layouts[r.layout]->table];
  }
  /// Pairs (child, parent) of indexes into `tables`.
  void set_foreign_keys(const std::vector<std::pair<std::uint32_t, std::uint32_t>>& edges);

  /// Takes the rows [first, end) of ONE admitted change.
  void add(const transform::row_set_ptr& set, std::size_t first, std::size_t end);
  /// Enough to be written now.
  bool full() const noexcept;
  bool empty() const noexcept { return changes_.empty(); }
  void clear() noexcept;

  /// Writes all that was added. Errors: halted (a rejection was answered so; nothing is said about what is in), and the
  /// session's. `alone`: constraints that only a commit checks are checked here.
  result<void> write(load::row_gate& gate, bool alone, const std::string& name);

  /// TRUNCATE where it is possible, else DELETE.
  std::optional<fault> empty_tables(const std::vector<target_table*>& tables);

private:
  struct change {
    const transform::row_set* set;
    std::uint32_t first, end; ///< rows
    bool dropped = false;
  };
  std::optional<setback> try_range(std::size_t first, std::size_t end, bool alone);
  std::optional<setback> write_part(bool single);
  std::optional<setback> truncate(const std::vector<std::pair<target_table*, std::int64_t>>& tables);
  const transform::row& row_of(const change& c) const { return c.set->rows[c.first]; }

  session*& s_;
  const std::vector<std::unique_ptr<target_table>>& tables_;
  std::vector<std::uint32_t> table_of_;
  std::vector<std::uint32_t> order_; ///< tables, parents first
  std::vector<bool> referenced_;     ///< another table of the load refers to it
  std::vector<std::unique_ptr<table_part>> parts_;
  std::vector<table_part*> active_; ///< of the part that is being gathered
  std::vector<change> changes_;
  std::vector<transform::row_set_ptr> sets_; ///< keep the rows alive
  std::size_t bytes_ = 0;
};

} // namespace millrace::actors::load::postgres
