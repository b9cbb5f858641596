#pragma once
// Connections that copy a table's rows, a thread each, beside the stream. Rows come out as blocks of about 1 MiB.
//
//   ingest's thread --start(job)--> worker: begin; lock; which transactions are seen, where the log stands; COPY; commit
//                   <--look, take-- run: at first the snapshot, then parts, at last `finished`       (an eventfd wakes the poll)

#include "actors/ingest/postgres/catalog.hpp"
#include "actors/ingest/postgres/xid_snapshot.hpp"
#include "storage/batch.hpp"

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

namespace millrace::actors::ingest::postgres {

struct chunk_job {
  std::string table;                   ///< for messages and the blocks' origin
  std::uint32_t relation = 0;          ///< whose rows they are in the stream
  std::string publication;             ///< whose column list and row filter hold
  std::vector<std::string> window_key; ///< as it was planned; another one now: `moved`
  // Rows of these blocks of a leaf ...
  std::uint32_t leaf = 0, filenode = 0;
  std::uint64_t first_block = 0, end_block = 0; ///< end 0: the whole leaf
  // ... or, if there are any, of these keys (row_key.hpp), of the whole table.
  std::vector<std::string> keys;
  std::string exported_snapshot; ///< to read in; empty: one of its own
};

enum class chunk_state : std::uint8_t {
  reading,
  finished,
  failed, ///< `why`: unavailable: give it out again; refused: the operator
  moved,  ///< the table was rewritten, or its key changed: plan anew
};

struct chunk_part {
  storage::change_block block; ///< format, origin, context set; state empty. May be without rows: the last one.
  bool last = false;
};

/// What the ingest thread may see of a run; a copy.
struct chunk_look {
  chunk_state state = chunk_state::reading;
  std::optional<xid_snapshot> seen; ///< what its rows contain
  lsn at;                           ///< everything seen committed below
  bool parts = false;               ///< some are waiting
  std::vector<std::size_t> key_columns;
  failure why;
};

class chunk_run;
using chunk_run_ptr = std::shared_ptr<chunk_run>;

/// Owner: the ingest actor's thread, which calls everything here. The destructor ends the threads.
class chunk_pool {
public:
  struct options {
    std::string conninfo, application_name;
    std::uint32_t workers = 2;
    std::uint64_t rate = 0;             ///< bytes a second over all; 0: no limit
    std::size_t part_bytes = 1u << 20;  ///< of a block
    std::size_t queue_bytes = 4u << 20; ///< of parts that wait, a run
  };
  explicit chunk_pool(options o);
  ~chunk_pool();
  chunk_pool(const chunk_pool&) = delete;
  chunk_pool& operator=(const chunk_pool&) = delete;

  /// Readable when a run has something new; clear_wake() before looking.
  int wake_fd() const noexcept { return wake_; }
  void clear_wake() noexcept;
  std::size_t idle() const; ///< workers without a job
  chunk_run_ptr start(chunk_job job);
  chunk_look look(const chunk_run_ptr& run) const;
  std::optional<chunk_part> take(const chunk_run_ptr& run);
  /// Its rows are not wanted; the worker stops soon.
  void abandon(const chunk_run_ptr& run);

private:
  struct reader;
  void work(std::stop_token stop);
  void pace(std::size_t bytes, const chunk_run& run, const std::stop_token& stop);

  options options_;
  int wake_ = -1;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<chunk_run_ptr> waiting_;
  std::size_t busy_ = 0;
  std::chrono::steady_clock::time_point paced_until_{};
  std::vector<std::jthread> threads_; ///< last: they use the rest
};

} // namespace millrace::actors::ingest::postgres
