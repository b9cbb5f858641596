#pragma once
// Schema-on-read and the steps of a load: raw changes in, typed rows out. Pure: no I/O, no clock, no actor.

#include "actors/errc.hpp"
#include "actors/transform/row_set.hpp"

#include <cstdint>
#include <memory>

namespace millrace::actors::transform {

struct transform_limits {
  std::uint64_t max_record_bytes = 16u << 20;  ///< a longer change is a dead letter (too_large)
  std::uint64_t lua_instructions = 10'000'000; ///< a change
  std::size_t lua_memory_bytes = 64u << 20;
  std::chrono::milliseconds lua_time{1000};
  std::uint64_t sql_progress_ops = 100'000'000; ///< virtual machine steps of SQLite a change
};

/// A step that does not compile, with its place in the spec.
struct step_error {
  mark where;
  std::string message;
};

/// Owner: one worker (or the writer, for redrives); not thread safe, no state from one run to the next but caches: any number
/// of workers give the same rows. Bad data never throws and never stops the run: it is in row_set::failures.
class transformer {
public:
  virtual ~transformer() = default;
  /// Compiles every expression and script. `errors` gets all mistakes; null if there are any.
  static std::unique_ptr<transformer> make(const load_spec& load, const transform_limits& limits,
                                           std::vector<step_error>& errors);
  /// Transforms changes [first, end) of a batch whose kind is `changes`.
  virtual row_set_ptr run(const storage::batch_ptr& batch, std::uint32_t first, std::uint32_t end) = 0;
};

/// What a person wants to know of a change that no schema was applied to yet (`log read`, dead letters).
struct change_summary {
  storage::operation op = storage::operation::insert;
  std::string table;
  std::string key;         ///< JSON object; empty: not known without a load
  std::string transaction; ///< debezium: source.txId where it is; a database's own number; empty for a snapshot's rows
};
change_summary summarize(const storage::batch& batch, std::uint32_t change);
/// A change whose payload is no text for people, as a JSON object {"new": {...}, "old": {...}} by the source's columns: booleans,
/// integers and finite floats as such, everything else as the source's text, long texts cut; `old` and `new` only where the
/// change has them, "unchanged": [...] names columns that the source did not send. Empty: the payload is text, or cannot be read.
std::string readable(const storage::batch& batch, std::uint32_t change);

} // namespace millrace::actors::transform
