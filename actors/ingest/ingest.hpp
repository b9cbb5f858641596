#pragma once
#include "actors/messages.hpp"

#include <deque>

namespace millrace::actors::ingest {

/// INGEST of a source that is read: polls the reader on its own thread, keeps at most ingest_window_bytes unacknowledged, and
/// tells the reader what is durable. After a start, and whenever the stage was restarted, it attaches to the stage and goes on
/// from the state in the log: what was in flight is read again, what was appended is not.
struct ingest_state {
  explicit ingest_state(ingest_actor::stateful_pointer<ingest_state> self) : self(self) {}
  static constexpr const char* name = "ingest";

  ingest_actor::stateful_pointer<ingest_state> self;
  pipeline_context_ptr ctx;
  pipeline_actor supervisor;
  stage_actor stage;
  std::unique_ptr<source_reader> reader;

  struct in_flight {
    std::uint64_t sequence = 0;
    storage::staged_batch_ptr batch;
    std::vector<storage::state_entry> state;
    std::size_t bytes = 0;
    bool acknowledged = false;
  };
  std::deque<in_flight> unacknowledged; ///< in sequence order
  std::size_t unacknowledged_bytes = 0;
  std::uint64_t attempt = 0; ///< counts attachments: answers of earlier ones are void
  std::uint64_t session = 0, next_sequence = 0;
  bool attached = false, stopping = false;
  bool tick_now = false, tick_later = false; ///< on their way; one too many does no harm
  bool resend = false;                       ///< the stage refused: everything unacknowledged is sent again, in order
  std::chrono::steady_clock::time_point resend_at{}, reported_at{}, retry_at{};
  std::string waiting;
  ingest_report last_report;
  caf::typed_response_promise<simple_reply> drained;

  void attach();
  void opened(const attach_reply& reply);
  void tick();
  void send(const in_flight& item);
  void acknowledged(std::uint64_t of_attempt, std::uint64_t sequence, const append_reply& reply);
  void schedule(std::chrono::milliseconds delay);
  void report(bool force = false);
};

ingest_actor::behavior_type ingest(ingest_actor::stateful_pointer<ingest_state> self, pipeline_context_ptr ctx,
                                   pipeline_actor supervisor, stage_actor stage);

} // namespace millrace::actors::ingest
