#pragma once
// A source that is read (not pushed to): files now, databases later. The ingest actor drives one on its own thread.

#include "actors/errc.hpp"
#include "actors/spec.hpp"
#include "storage/batch.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace millrace::actors::ingest {

struct source_status {
  std::string position;        ///< for people
  std::uint64_t lag_bytes = 0; ///< known to be in the source and not read yet
  bool caught_up = false;      ///< file, follow false: all files read; else: all that was there at the last look
  std::string waiting;         ///< why nothing can be read now ("no file matches ..."); empty: nothing is wrong
  std::uint64_t bytes_total = 0, bytes_read = 0; ///< for progress
  struct table_snapshot {
    std::string table;
    std::uint64_t rows = 0, rows_estimate = 0; ///< read so far; what the source's statistics say there are
    bool done = false;
  };
  std::vector<table_snapshot> snapshots; ///< tables that are being read whole, or were since the start
  bool snapshotting = false;             ///< one of them is not done
};

/// Owner: one detached ingest actor; not thread safe.
class source_reader {
public:
  virtual ~source_reader() = default;
  /// Starts from what the log knows. Errors: log_mismatch if the source cannot go on from there; unavailable; refused.
  virtual result<void> open(std::span<const storage::state_entry> state) = 0;
  /// The next block (about 1 MiB or what came within a few milliseconds), or none after at most `wait`. A block carries the
  /// state that makes a restart go on right behind it. Blocks are in the source's order.
  /// Errors: unavailable (status().waiting says why; try again), refused (needs the operator).
  virtual result<std::optional<storage::change_block>> poll(std::chrono::milliseconds wait) = 0;
  /// Called about every 100 ms instead of poll() while the log takes no more: keeps the source's connection alive without
  /// reading.
  virtual void idle() {}
  /// Everything up to this state is durable: the source may forget it.
  virtual void acknowledged(std::span<const storage::state_entry> state) = 0;
  virtual source_status status() const = 0;
  /// Reads a table whole again beside the changes. Errors: invalid (no such table, a source without snapshots).
  virtual result<void> snapshot(std::string_view table) {
    static_cast<void>(table);
    return make_failure(errc::invalid, "this source takes no snapshots");
  }
  /// Reads the rows of some keys of a table again, in order with the changes; a key that the source does not have becomes a
  /// delete. Values as text, in the order of `columns`. Errors as snapshot()'s.
  virtual result<void> reread(std::string_view table, std::span<const std::string> columns,
                              std::span<const std::vector<std::string>> keys) {
    static_cast<void>(columns);
    static_cast<void>(keys);
    return snapshot(table);
  }
  /// The pipeline was deleted: gives back what the source keeps for it (a replication slot). Without open(); may be repeated.
  virtual result<void> retire() { return success(); }
  /// What an operator should find in the log and nothing has to be done about ("in/a.log shrank from 123 to 5 bytes: reading it
  /// from its start"), each once, oldest first. To be asked for after each poll().
  virtual std::vector<std::string> take_notices() { return {}; }
};

/// Errors: invalid if the source is no reader (`http` is pushed to) or its spec is not usable.
result<std::unique_ptr<source_reader>> make_source_reader(const source_spec& source);

} // namespace millrace::actors::ingest
