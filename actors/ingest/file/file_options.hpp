#pragma once
// What a file source is told: the spec's part and the numbers behind it.

#include "storage/batch.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

namespace millrace::actors::ingest::file {

struct file_options {
  std::string pattern; ///< absolute glob(7)
  storage::payload_format format = storage::payload_format::json;
  storage::envelope envelope = storage::envelope::none;
  bool follow = false;

  /// A block ends behind the last record that fits; a longer record gets a block of its own.
  std::size_t block_bytes = 1u << 20;
  /// A record above this is refused. Far above max_record_bytes (16 MiB), whose dead letter needs the record whole; it only
  /// keeps a file without line ends from taking all memory.
  std::size_t record_bytes_max = 256u << 20;
  /// How often the glob is looked at (interfaces.md: every second).
  std::chrono::milliseconds look_interval{1000};
  /// How often the open files are asked for more bytes while poll() waits.
  std::chrono::milliseconds tail_interval{10};
  /// A follower's small blocks come at most this often, so that a writer of single lines does not cost an append a line.
  std::chrono::milliseconds gather{5};
  /// follow false: a last line without LF is a record once its file has not grown for so long. Else a file that is still
  /// being written would have its last line cut in two.
  std::chrono::milliseconds settle{1000};
  /// follow true: a file whose name is gone is kept open until it has not grown for so long; then what is left is taken.
  std::chrono::milliseconds rotated_keep{60000};
  std::size_t open_files_max = 64;

  /// A test's clock. `sleep` must let `now` go on.
  std::function<std::chrono::steady_clock::time_point()> now = &std::chrono::steady_clock::now;
  std::function<void(std::chrono::milliseconds)> sleep;
};

} // namespace millrace::actors::ingest::file
