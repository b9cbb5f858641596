#pragma once
// A step of a transform, compiled: works on all rows of a frame at once.

#include "actors/transform/frame.hpp"
#include "actors/transform/transformer.hpp"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::actors::transform {

/// Which columns a step will find, as far as that is known before the changes are.
struct known_column {
  std::string name;
  const field_spec* field = nullptr;
  std::optional<data_type> type = {}; ///< without a declaration: known from the source
};
struct shape {
  std::vector<known_column> columns;
  bool open = false; ///< changes or a script may bring more: an unknown name is NULL, not a mistake
  const known_column* find(std::string_view name) const;
};

/// One run of the transformer: what all frames share.
class run_state {
public:
  run_state(row_set& out, arena& memory) : out_(out), memory_(memory), failed_(out.end - out.first) {}
  const storage::batch& batch() const { return *out_.batch; }
  arena& memory() { return memory_; }
  /// All rows of the change are dead, its failure is kept; the first failure of a change counts.
  void fail(frame& f, frame_row& row, std::string reason, std::string message, std::string step, std::string column);
  /// The same for a change that no row was made of.
  void fail(failed_change f);
  /// Completes the newest failure, which is this change's: its row failed before the row it replaces was read.
  void set_before_key(std::uint32_t change, std::uint64_t hash) {
    if (!out_.failures.empty() && out_.failures.back().change == change) out_.failures.back().before_key_hash = hash;
  }
  bool failed(std::uint32_t change) const { return failed_[change - out_.first]; }
  /// The key's names in the destination's table, for the JSON of a dead letter.
  const std::vector<std::string>* key_names = nullptr;
  std::uint32_t first() const { return out_.first; }

private:
  row_set& out_;
  arena& memory_;
  std::vector<bool> failed_;
};

class step {
public:
  virtual ~step() = default;
  virtual void run(frame& f, run_state& state) = 0;
};
using step_ptr = std::unique_ptr<step>;
/// Why a step may not read a cell that is `missing`.
std::string unknown_value(std::string_view column);

/// What compiling a step needs and leaves: each changes `columns` to what the next step will find.
struct step_compiler {
  const table_spec& table;
  const transform_limits& limits;
  shape columns;
  std::vector<step_error>& errors;
  std::vector<std::string> made; ///< columns that steps assign, for the frame's room
  void error(const transform_step& at, std::string message) { errors.push_back({at.at, std::move(message)}); }
};

/// "transform[2] set", from 1, as in dead letters.
std::string step_name(std::size_t index, step_kind kind);

// Each gives null after it has told the compiler an error. `takes_deletes`: set works on deletes too, because a key depends on
// it.
step_ptr make_where(step_compiler& c, const transform_step& s, std::string name);
step_ptr make_set(step_compiler& c, const transform_step& s, std::string name, bool takes_deletes);
step_ptr make_rename(step_compiler& c, const transform_step& s, std::string name);
step_ptr make_drop(step_compiler& c, const transform_step& s, std::string name);
step_ptr make_mask(step_compiler& c, const transform_step& s, std::string name);
step_ptr make_lua(step_compiler& c, const transform_step& s, std::string name);

} // namespace millrace::actors::transform
