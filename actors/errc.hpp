#pragma once
// Why an actor or a connector could not do its work. Retryable and fatal are different codes.

#include "storage/result.hpp"

namespace millrace::actors {

using storage::failure;
using storage::result;
using storage::success;

/// Values may leave the process: append, never renumber.
enum class errc {
  unavailable = 1,   ///< a source or destination cannot be reached or is busy, locked, full: wait and retry; never a dead letter
  refused = 2,       ///< it answered no, and a retry will not help (permissions, another kind of table): the operator must act
  fenced = 3,        ///< a newer owner has claimed the destination: stop, do not restart here
  log_mismatch = 4,  ///< the destination knows another log, or is ahead of ours: stop with an alarm, never skip
  halted = 5,        ///< on_error: halt met a bad change
  stale_session = 6, ///< another ingest has attached to the stage since
  log_unavailable = 7, ///< the stage cannot append now (no space): keep and retry
  invalid = 8,         ///< bad argument from an operator or client
  not_found = 9,
  conflict = 10,
  killed = 11, ///< by an operator's test command
};
const std::error_category& actor_category() noexcept;
inline std::error_code make_error_code(errc e) noexcept { return {static_cast<int>(e), actor_category()}; }
inline failure make_failure(errc e, std::string text) { return failure{make_error_code(e), std::move(text)}; }
inline bool is(const failure& f, errc e) noexcept { return f.code == make_error_code(e); }

} // namespace millrace::actors

template <>
struct std::is_error_code_enum<millrace::actors::errc> : std::true_type {};
