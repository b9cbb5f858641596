#pragma once
// What a segment does to one table: rows gathered in memory, then written in the fewest statements.

#include "actors/load/bulk/coalescer.hpp"
#include "actors/load/bulk/versions.hpp"
#include "actors/load/postgres/straight_copy.hpp"

namespace millrace::actors::load::postgres {

/// Owner: the segment_writer; reused. Use: begin(), take()..., then stage(), and the steps in the order of foreign keys:
/// erase_early() of all tables, children first; write(), parents first; erase_late(), children first. Each may only add
/// statements to the session; settle() after their flush says whether every update found its row.
class table_part {
public:
  explicit table_part(target_table& t) : t_(t), straight_copy_(t) {}
  target_table& table() noexcept { return t_; }
  layout_plan* plan() noexcept { return plan_; }

  void begin(layout_plan& plan);
  void end() noexcept { plan_ = nullptr; }
  /// False: it does not merge with what is here; write the part and begin anew.
  bool take(const transform::row_set& set, const transform::row& r, std::uint32_t change);

  /// `single`: a range of one change, where a straight COPY gains nothing.
  std::optional<setback> stage(session& s, bool single);
  std::optional<setback> erase(session& s);
  std::optional<setback> write(session& s);
  std::optional<setback> settle(session& s);

private:
  struct appended {
    const transform::cell* cells;
    std::uint32_t change, subset;
  };
  /// The COPY into the temporary table: begins; rows are then written into text_ and pushed.
  std::optional<setback> copy_begin(session& s, const std::string& sql);
  void push(session& s, bool all);
  std::optional<setback> copy_end(session& s);
  std::string in_the_table_s_words(const std::string& context) const;
  std::optional<setback> execute(session& s, const std::string& sql, session::handler then = {});
  std::optional<setback> stage_net(session& s, bool single);
  std::optional<setback> stage_versions(session& s, bool single);
  std::optional<setback> write_appended(session& s);
  std::optional<setback> write_straight(session& s);
  std::string doing() const { return "writing table " + t_.name().quoted(); }

  target_table& t_;
  layout_plan* plan_ = nullptr;
  bulk::coalescer net_;
  bulk::version_list history_;
  std::vector<appended> appended_;

  std::vector<std::uint32_t> straight_;    ///< net rows or versions that go straight into the table
  std::vector<std::uint32_t> line_change_; ///< change of each line of the COPY into the temporary table
  struct use {
    std::uint64_t writes = 0, lenient = 0, moves = 0;
  };
  std::vector<use> subsets_; ///< what is staged of each subset
  std::uint64_t erased_ = 0, cleared_ = 0, closed_ = 0;
  std::vector<std::uint32_t> short_; ///< subsets of which an update found fewer rows than it has
  bool duplicates_ = false;
  bool single_ = false; ///< of the last stage()
  straight_copy straight_copy_;
  copy_text text_;
  bool flowing_ = false;
};

} // namespace millrace::actors::load::postgres
