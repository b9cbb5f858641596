#pragma once
#include "actors/messages.hpp"

#include <map>
#include <set>

namespace millrace::actors::load {

/// DISPATCHER of one load: reads entries in order, hands each to a free worker, passes control entries straight to the writer.
/// It reads ahead as far as load_window_bytes allow: what is read and not yet taken up by a worker is the mailbox depth that
/// the autoscaler looks at. A seek starts a new generation and forgets everything before it.
struct dispatcher_state {
  explicit dispatcher_state(dispatcher_actor::stateful_pointer<dispatcher_state> self) : self(self) {}
  static constexpr const char* name = "dispatcher";

  dispatcher_actor::stateful_pointer<dispatcher_state> self;
  pipeline_context_ptr ctx;
  std::string load;
  pipeline_actor supervisor;
  caf::strong_actor_ptr writer;
  std::unique_ptr<storage::partition_log::cursor> cursor;

  struct flight {
    storage::batch_ptr batch;
    std::uint32_t first = 0;
    std::size_t bytes = 0;
    caf::actor_addr worker; ///< none: waits, or is with the writer
    bool queued = false;
  };
  struct worker_slot {
    worker_actor handle;
    std::uint32_t busy = 0;
    bool retiring = false;
  };
  std::uint64_t generation = 0, next_sequence = 0;
  storage::offset position;
  std::map<std::uint64_t, flight> flights; ///< by sequence; at most load_window_bytes
  std::set<std::uint64_t> queue;           ///< sequences of flights that no worker has taken
  std::uint64_t queued_changes = 0;
  std::size_t window = 0;
  std::vector<worker_slot> workers;
  bool pumping = false, at_end = true;
  std::chrono::steady_clock::time_point reported_at{};
  std::uint64_t reported_depth = ~0ull;

  void seek(const seek_request& request);
  void pump();
  void assign();
  void done(const work_done& w, const caf::actor_addr& from);
  void free_below(const released& r);
  void lost(const caf::actor_addr& worker);
  void wake();
  void report(bool force = false);
};

dispatcher_actor::behavior_type dispatcher(dispatcher_actor::stateful_pointer<dispatcher_state> self, pipeline_context_ptr ctx,
                                           std::string load, pipeline_actor supervisor);

} // namespace millrace::actors::load
