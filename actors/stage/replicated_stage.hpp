#pragma once
#include "actors/stage/append_queue.hpp"

#include <deque>

namespace millrace::actors::stage {

/// STAGE of a replicated partition: drives this node's replica (storage/replication/replica.hpp) and, while it leads, takes
/// appends.
///
///   following: entries from the leader ──> disk          leading: appends ──> followers and disk ──> high watermark ──> answers
///
/// An append is answered when the high watermark has passed it: until then it may still be lost. The pipeline runs here from the
/// moment that everything in the log of a new leader is acknowledged, its own epoch marker included, until it leads no more.
struct replicated_stage_state {
  explicit replicated_stage_state(stage_actor::stateful_pointer<replicated_stage_state> self) : self(self) {}
  ~replicated_stage_state();
  static constexpr const char* name = "stage";
  using clock = std::chrono::steady_clock;
  using machine = storage::replication::replica;

  stage_actor::stateful_pointer<replicated_stage_state> self;
  pipeline_context_ptr ctx;
  pipeline_actor supervisor;
  storage::partition_name partition;
  registrar_actor registrar;

  std::shared_ptr<storage::partition_log> log;
  std::shared_ptr<storage::replica_log> copy;
  std::shared_ptr<storage::dead_letter_table> dead_letters;
  std::unique_ptr<storage::replication::replica_storage> disk;
  std::unique_ptr<machine> replica;

  struct unacknowledged {
    storage::offset end; ///< the high watermark that answers it
    append_reply reply;
    caf::typed_response_promise<append_reply> promise;
  };
  append_queue waiting;
  std::deque<unacknowledged> sent; ///< by rising end
  std::vector<caf::typed_response_promise<attach_reply>> attaching;
  std::vector<dispatcher_actor> dispatchers;
  bool flush_sent = false, acting = false;
  bool leading = false; ///< and all of the log is acknowledged
  bool reading = false; ///< an answer of the registrar is awaited
  std::optional<std::uint64_t> proposing;
  std::string blocked; ///< why appends are refused now
  bool full = false;   ///< the disk took the last one no more
  std::map<storage::replication::alarm_kind, std::string> alarms;

  void open();
  void on_frame(const replica_frame& f);
  void on_record(const record_news& n);
  void on_proposal(const proposal_news& n);
  void on_members(const members_news& n);
  void tick();
  void resign();

  caf::result<attach_reply> attach();
  caf::result<append_reply> append(append_request& request);
  caf::result<append_reply> control(const control_request& request);
  caf::result<append_reply> quarantine(const quarantine_request& request);
  void flush();
  void trim(storage::offset floor);

private:
  void act();
  void perform(storage::replication::actions::send& a);
  void perform(storage::replication::actions::append_raw& a);
  void perform(storage::replication::actions::truncate& a);
  void perform(storage::replication::actions::see_epoch& a);
  void perform(storage::replication::actions::reset& a);
  void perform(storage::replication::actions::begin_epoch& a);
  void perform(storage::replication::actions::end_epoch& a);
  void perform(storage::replication::actions::advance& a);
  void perform(storage::replication::actions::acknowledged& a);
  void perform(storage::replication::actions::trim& a);
  void perform(storage::replication::actions::propose& a);
  void perform(storage::replication::actions::read_record& a);
  void perform(storage::replication::actions::announce_store& a);
  void perform(storage::replication::actions::role_changed& a);
  void perform(storage::replication::actions::alarm& a);

  void disk_failed(const failure& why, const char* what);
  void lost_leadership(const std::string& why);
  void review();
  void answer_attaching();
  caf::result<append_reply> decided(const result<storage::offset>& outcome);
  append_reply refusal(const failure& why);
  void report();
  void set_blocked(std::string why);
  void out_of_room(const failure& why);
  void look_for_room();
  storage::replication::instant now() const;
  void reopen(const std::string& why);
  storage::replication::instant shown_at{}, looked_at{};
};

stage_actor::behavior_type replicated_stage(stage_actor::stateful_pointer<replicated_stage_state> self, pipeline_context_ptr ctx,
                                            pipeline_actor supervisor, registrar_actor registrar);

} // namespace millrace::actors::stage
