#pragma once
#include "actors/messages.hpp"
#include "actors/supervisor/autoscale_policy.hpp"
#include "actors/supervisor/histogram.hpp"
#include "actors/supervisor/push_router.hpp"
#include "actors/supervisor/restart_policy.hpp"

#include <nlohmann/json.hpp>

#include <map>
#include <random>

namespace millrace::actors::supervisor {

/// PIPELINE SUPERVISOR: spawns and wires the actors of one pipeline, restarts each by itself from durable state, scales the
/// transform workers, answers operators. It never blocks but for short reads of the log's index.
///
///   starting ─stage opened─> running <──resume── paused        any child that a restart cannot mend: `failed`, with the reason;
///                              └──pause, new spec, drain: ingest and writers finish what they hold, then all workload ends
struct pipeline_state {
  explicit pipeline_state(pipeline_actor::stateful_pointer<pipeline_state> self) : self(self), random(std::random_device{}()) {}
  /// However this actor ends, its children end with it. Not by links: a child killed on purpose would take this actor along.
  ~pipeline_state();
  static constexpr const char* name = "pipeline_supervisor";
  using clock = std::chrono::steady_clock;

  enum class child_state : std::uint8_t { starting, running, restarting, failed, stopping };
  struct child {
    std::uint64_t id = 0;
    role what = role::stage;
    int load = -1; ///< index into loads
    caf::strong_actor_ptr handle;
    child_state state = child_state::starting;
    std::uint64_t restarts = 0;
    std::string last_error, waiting;
    restart_policy policy;
    std::optional<clock::time_point> down_at;
    double recovery_seconds = 0; ///< of the last restart
  };
  struct load_runtime {
    std::shared_ptr<const load_spec> spec;
    autoscale_policy scale{autoscale_bounds{}};
    writer_report writer;
    std::uint64_t depth = 0;
    bool writer_ready = false;
    std::string failed; ///< why the load stands; empty: it does not
    storage::offset moved_from;
    clock::time_point moved_at{};
  };
  struct pending_redrive {
    admin_call call;
    std::string load;
    std::vector<storage::offset> letters;
    storage::offset entry; ///< log offset of the last redrive or discard entry
    clock::time_point deadline;
    caf::typed_response_promise<admin_reply> promise;
  };

  /// Came while the log was being opened.
  struct early_call {
    admin_call call;
    caf::typed_response_promise<admin_reply> promise;
    clock::time_point until; ///< then it is refused
  };

  pipeline_actor::stateful_pointer<pipeline_state> self;
  std::shared_ptr<pipeline_context> ctx;
  std::shared_ptr<push_router> router;
  std::mt19937_64 random;

  std::map<std::uint64_t, child> children;
  std::uint64_t next_child = 1;
  std::vector<load_runtime> loads;
  ingest_report source;
  bool opened = false, paused = false, stopping = false, quitting = false;
  bool following = false; ///< in a cluster: another node leads; only the stage and alerts run here
  std::string stage_role; ///< in a cluster: leader, follower, candidate, ...
  std::string stage_failed, ingest_failed, stage_waiting;
  std::uint32_t draining = 0;                 ///< answers of drains that are awaited
  std::shared_ptr<pipeline_context> next_ctx; ///< a new revision, taken once the workload has stopped
  std::vector<caf::typed_response_promise<admin_reply>> on_stopped;
  std::vector<caf::typed_response_promise<simple_reply>> on_quit;
  std::vector<pending_redrive> redrives;
  std::vector<early_call> early;
  histogram recovery;
  std::map<std::string, histogram> batch_seconds;
  std::map<role, std::uint64_t> restarts_by_role;
  std::uint64_t ticks = 0;

  void start();
  void start_workload();
  void start_load(int load);
  /// `at_once`: what is under way is given up; its source and destination keep what they have of it.
  void stop_workload(bool at_once = false);
  void stopped_one();
  void after_stop();
  /// What runs or has failed is on its way out, and everything starts again behind it: its state says nothing any more.
  bool begins_anew() const noexcept { return stopping && !paused && !quitting; }

  child& add(role what, int load);
  void spawn(child& c);
  void wire(child& c);
  child* find(const caf::actor_addr& source);
  child* first(role what, int load = -1);
  template <class Handle>
  Handle handle(role what, int load = -1) {
    auto* c = first(what, load);
    return c && c->handle ? caf::actor_cast<Handle>(c->handle) : Handle{};
  }
  void down(const caf::down_msg& message);
  void give_up(child& c, const std::string& why);
  void restart(std::uint64_t id);
  std::uint64_t progress_of(const child& c) const;
  void ready(child& c);
  void update_route();

  void tick();
  void scale(int load);

  void on_stage(const stage_report& r);
  void on_ingest(const ingest_report& r);
  void on_writer(const writer_report& r);

  caf::result<admin_reply> call(const admin_call& c);
  caf::result<admin_reply> snapshot(const std::string& table);
  caf::result<admin_reply> repair(const admin_call& c);
  caf::result<admin_reply> pause_or_resume(bool pause);
  caf::result<admin_reply> rewind(const admin_call& c);
  caf::result<admin_reply> redrive(const admin_call& c, bool discard);
  void check_redrives();
  void check_early();
  admin_reply kill(const std::string& id);

  // pipeline_status.cpp
  std::pair<std::string, std::string> state() const; ///< state, reason
  nlohmann::ordered_json status() const;
  nlohmann::ordered_json log_info() const;
  nlohmann::ordered_json actor_list() const;
  nlohmann::ordered_json metrics() const;
  nlohmann::ordered_json readiness() const;
  std::string id_of(const child& c) const;
};

pipeline_actor::behavior_type pipeline(pipeline_actor::stateful_pointer<pipeline_state> self,
                                       std::shared_ptr<pipeline_context> ctx, std::shared_ptr<push_router> router, bool paused);

/// Code of a refusal in a cluster: who was asked does not lead the pipeline, and has done nothing. Nodes ask the next leader; no
/// client sees it.
inline constexpr const char* moved = "moved";
/// Reads that may take long (log_read, dead_letters), on a thread of their own.
admin_reply long_read(const admin_call& call, const pipeline_context& ctx);
/// OFFSET | TIME | start | end in this log.
result<storage::offset> resolve_offset(const std::string& text, const storage::partition_log& log);

admin_reply refused(std::string code, std::string message, std::string detail = {});
admin_reply document(const nlohmann::ordered_json& doc);

} // namespace millrace::actors::supervisor
