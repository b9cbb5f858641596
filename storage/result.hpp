#pragma once
// Expected failures travel as values. Retryable and fatal are different codes, not different texts.

#include <boost/outcome/std_result.hpp>

#include <string>
#include <system_error>

namespace millrace::storage {

/// Values may leave the process: append, never renumber.
enum class errc {
  io_failed = 1,        ///< the disk refused; the process must end and read back what is there (a sync is never retried)
  corrupt = 2,          ///< checksum or structure wrong; the error's text names partition and offset; not retryable
  trimmed = 3,          ///< retention dropped what was asked for; see partition_log::first_offset()
  fenced = 4,           ///< a newer epoch owns the partition; drop the object
  no_space = 5,         ///< refused before the disk is full; retry when there is room
  not_found = 6,        ///< no such key, pipeline, dead letter
  conflict = 7,         ///< a compare-and-swap lost; read again
  invalid = 8,          ///< the caller's argument; a bug or bad input, not retryable
  end_of_log = 9,       ///< nothing there yet
  stale_session = 10,   ///< another ingest attached after this one; start again from the log's state
  unavailable = 11,     ///< a service that we need cannot be reached; nothing was done; try again later
  unknown_outcome = 12, ///< asked for, but the answer was lost: it was done, or not, or may still be; read again
};

const std::error_category& category() noexcept;
inline std::error_code make_error_code(errc e) noexcept { return {static_cast<int>(e), category()}; }

/// An error code with the words an operator needs: what, where, what was expected.
struct failure {
  std::error_code code;
  std::string message;
  failure() = default;
  failure(errc e, std::string text) : code(make_error_code(e)), message(std::move(text)) {}
  failure(std::error_code c, std::string text) : code(c), message(std::move(text)) {}
  bool is(errc e) const noexcept { return code == make_error_code(e); }
};

/// Asking for the value of a failed result is a bug and ends the process.
template <class T>
using result = boost::outcome_v2::std_result<T, failure, boost::outcome_v2::policy::terminate>;
using boost::outcome_v2::success;

} // namespace millrace::storage

template <>
struct std::is_error_code_enum<millrace::storage::errc> : std::true_type {};
