#pragma once
#include "actors/stage/append_queue.hpp"

namespace millrace::actors::stage {

/// STAGE: opens its partition (a new epoch for each process), answers appends once they are synced, tells dispatchers.
/// What waits in its mailbox shares one sync: an append only queues and sends `flush` behind what has arrived meanwhile.
/// Quits with storage::errc::corrupt if the partition cannot be opened: a restart would not mend it.
struct stage_state {
  explicit stage_state(stage_actor::stateful_pointer<stage_state> self) : self(self) {}
  static constexpr const char* name = "stage";

  stage_actor::stateful_pointer<stage_state> self;
  pipeline_context_ptr ctx;
  pipeline_actor supervisor;
  std::shared_ptr<storage::partition_log> log;
  std::shared_ptr<storage::dead_letter_table> dead_letters;

  append_queue waiting;
  bool flush_sent = false;
  std::vector<dispatcher_actor> dispatchers;
  std::string blocked; ///< why appends are refused now

  void open();
  caf::result<attach_reply> attach();
  caf::result<append_reply> append(append_request& request);
  void flush();
  append_reply control(const control_request& request);
  append_reply quarantine(const quarantine_request& request);
  void trim(storage::offset floor);

private:
  append_reply answer(const result<storage::offset>& outcome);
  void advanced();
  void set_blocked(std::string why);
};

stage_actor::behavior_type stage(stage_actor::stateful_pointer<stage_state> self, pipeline_context_ptr ctx,
                                 pipeline_actor supervisor);

} // namespace millrace::actors::stage
