#pragma once
// Rows that go by COPY straight into their table: as binary where every column and value has that form, else as text.

#include "actors/load/postgres/copy_binary.hpp"
#include "actors/load/postgres/merge_text.hpp"

#include <span>

namespace millrace::actors::load::postgres {

/// Why a range of changes did not go in.
struct setback {
  fault why;
  std::optional<std::uint32_t> change; ///< the one to blame, if it was named
  /// Nothing is wrong with the range: a straight COPY met rows that are there, or a binary one a value that it cannot say. The
  /// table remembers it for a while: tried again as it is, the range is merged, or goes as text.
  bool again = false;
};

constexpr std::size_t copy_piece_bytes = 256u << 10; ///< what is encoded before it is sent

/// Owner: the table_part; reused. begin(), row()..., end(). After a setback it is over.
class straight_copy {
public:
  explicit straight_copy(target_table& t) : t_(t) {}
  /// Of the cells that `subset` has. `single`: a range of one change, which goes as text: what is said of a change that cannot be
  /// written must not depend on the rows beside it.
  std::optional<setback> begin(session& s, const layout_plan& plan, std::uint32_t subset, bool single);
  /// `own`: values of the mode's bookkeeping columns, in their order.
  std::optional<setback> row(session& s, const transform::cell* cells, std::span<const transform::cell> own,
                             std::uint32_t change);
  std::optional<setback> end(session& s);

private:
  struct field {
    std::uint32_t cell;
    binary_form form;
    boolean_text boolean;
  };
  setback failed(fault why);
  /// Segments for which the table's rows go as text, after a failed attempt and in ever longer turns.
  void pause() noexcept;
  void push(session& s, copy_buffer& from, bool all);
  std::string doing() const { return "writing table " + t_.name().quoted(); }

  target_table& t_;
  const layout_plan* plan_ = nullptr;
  std::vector<field> fields_;
  std::vector<binary_form> own_;
  bool binary_ = false, flowing_ = false;
  copy_binary bytes_;
  copy_text text_;
  std::vector<std::uint32_t> line_change_; ///< change of each line of the running COPY
};

} // namespace millrace::actors::load::postgres
