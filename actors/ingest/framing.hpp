#pragma once
// Where records begin and end in raw bytes: newline-delimited lines and CSV records. Nothing is parsed, copied or changed.
// Pure and reentrant; shared by the file source and the push source.

#include "storage/batch.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace millrace::actors::ingest {

/// Record i is data[starts[i], starts[i] + lengths[i]): the columns of a change_block.
struct record_index {
  std::vector<std::uint32_t>& starts;
  std::vector<std::uint32_t>& lengths;
};

/// 3 if `data` begins with a UTF-8 byte order mark, else 0. Only meaningful at the very start of a file or body.
std::size_t byte_order_mark(std::string_view data) noexcept;

/// Adds the records of data[from, data.size()) to `out` and gives the end of the last complete one (behind its separator, and
/// behind blank lines that follow it): the next call begins there. `from` must be the beginning of a record.
/// Lines end at LF; one CR before it is no part of the record; lines of nothing but spaces, tabs and CRs are no records.
/// `at_end`: nothing comes after `data`, so a last line without LF is a record and all of `data` is used up.
/// `data` must be shorter than 4 GiB.
std::size_t frame_lines(std::string_view data, std::size_t from, bool at_end, record_index out);

/// The same for CSV (RFC 4180): between the quotes of a quoted cell LF belongs to the record. A quote opens a cell only as its
/// first character, so that a stray one inside an unquoted cell spoils its own record and no other. Only empty lines are no
/// records: a line of spaces is a cell.
std::size_t frame_csv(std::string_view data, std::size_t from, bool at_end, record_index out);

/// frame_lines or frame_csv.
std::size_t frame(storage::payload_format format, std::string_view data, std::size_t from, bool at_end, record_index out);

/// The first record of `data`, whole, or npos in `end` if it is not complete. Used for a CSV file's header.
struct first_record {
  static constexpr std::size_t npos = ~std::size_t{0};
  std::string_view text;  ///< without its separator
  std::size_t end = npos; ///< behind its separator
};
first_record first_csv_record(std::string_view data, std::size_t from, bool at_end);

} // namespace millrace::actors::ingest
