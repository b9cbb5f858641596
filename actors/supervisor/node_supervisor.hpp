#pragma once
#include "actors/messages.hpp"
#include "actors/supervisor/push_router.hpp"
#include "storage/catalog_mirror.hpp"

#include <nlohmann/json.hpp>

#include <map>

namespace millrace::actors::supervisor {

/// NODE SUPERVISOR: keeps the catalog's pipelines running, one pipeline supervisor each; answers operators, asking the pipeline
/// concerned. Detached: the catalog's commits are synced.
struct node_state {
  explicit node_state(node_actor::stateful_pointer<node_state> self) : self(self) {}
  /// However this actor ends, the pipelines end with it.
  ~node_state() {
    for (auto& [name, e] : pipelines)
      if (e.actor) caf::anon_send_exit(e.actor, caf::exit_reason::user_shutdown);
  }
  static constexpr const char* name = "node_supervisor";

  struct entry {
    std::string uid, text, file, base_dir;
    std::uint64_t revision = 1, mod_revision = 0;
    bool paused = false, removing = false;
    pipeline_spec_ptr spec; ///< null: the stored spec no longer parses
    std::string broken;     ///< why
    pipeline_actor actor;
    // In a cluster
    std::string pin;
    std::uint32_t replicas = 1, min_in_sync = 1;
    std::optional<storage::partition_record> record; ///< none: the controller has not made it yet
    std::optional<std::chrono::steady_clock::time_point> resign_since;
    bool ending = false; ///< the replica here is no longer wanted: its actors are on their way out
  };
  struct asked {
    std::string node;
    std::function<void(const admin_reply&)> done;
    std::chrono::steady_clock::time_point deadline;
  };
  /// Waits for the pipeline to have a leader: at a hand-over there is none for a moment.
  static constexpr std::chrono::seconds leader_time{3}; ///< a hand-over takes less; until a lost leader's lease ends, more
  struct held_call {
    std::string pipeline;
    admin_call call;
    caf::typed_response_promise<admin_reply> promise;
    std::chrono::steady_clock::time_point until = std::chrono::steady_clock::now() + leader_time; ///< then it is refused
  };

  node_actor::stateful_pointer<node_state> self;
  context_ptr ctx;
  std::shared_ptr<push_router> router;
  std::map<std::string, entry> pipelines;
  caf::typed_response_promise<simple_reply> drained;
  std::uint32_t draining = 0;
  std::map<std::string, std::uint64_t> removed; ///< revision of each delete here: what the mirror shows of before is old news
  std::vector<std::string> deleted;             ///< uids whose actors have ended, but may not all be gone

  void start();
  void sweep();
  void drop_deleted();
  void spawn(entry& e);
  caf::result<admin_reply> call(const admin_call& c);
  admin_reply apply(const admin_call& c);
  caf::result<admin_reply> remove(const std::string& name);
  caf::result<admin_reply> forward(const admin_call& c, entry& e);
  caf::result<admin_reply> collect(const admin_call& c);
  admin_reply store(const std::string& name, entry& e);
  std::vector<storage::log_id> retired(const std::string& name) const;

  // ---- in a cluster: node_cluster.cpp
  std::map<std::uint64_t, asked> questions; ///< to other nodes
  std::uint64_t next_question = 1;
  std::vector<held_call> held;
  members_news members;
  registrar_actor registrar;
  std::shared_ptr<std::atomic<bool>> asked_to_look = std::make_shared<std::atomic<bool>>(false);
  std::unique_ptr<storage::catalog_mirror::listener> listener;
  bool clustered() const { return ctx->options.cluster != nullptr; }
  void start_cluster();
  void on_catalog();
  void on_members(const members_news& n);
  void take_pipeline(const std::string& name, const storage::catalog_entry& stored);
  void take_record(const std::string& name, entry& e, const storage::partition_record& r);
  void drop_replica(const std::string& name, entry& e);
  /// The node that leads the pipeline; empty: none that is alive.
  std::string leader_of(const entry& e) const;
  /// Fills pin, replicas and min_in_sync of an apply. Errors: what the operator must change.
  result<void> place(const pipeline_spec& spec, entry& e) const;
  std::optional<caf::result<admin_reply>> elsewhere(const admin_call& c, const std::string& name, entry& e);
  void to_leader(held_call h);
  void retry_held();
  /// Why nobody can answer for the pipeline.
  std::string leaderless(const std::string& name, const entry& e) const;
  caf::result<admin_reply> everywhere(const admin_call& c);
  void ask(const std::string& node, const admin_call& c, std::function<void(const admin_reply&)> done);
  void routed(const routed_call& r);
  void send_answer(const unsent_answer& a);
  void expire_questions();
  /// Who leads what, for pushes that come to this node.
  void update_leaders();
  // node_maintenance.cpp
  admin_reply maintain(const admin_call& c);
  // cluster_status.cpp
  nlohmann::ordered_json local_replicas() const;
  nlohmann::ordered_json cluster_samples() const;
  nlohmann::ordered_json cluster_document(const nlohmann::ordered_json& replicas) const;
};

node_actor::behavior_type node_supervisor(node_actor::stateful_pointer<node_state> self, context_ptr ctx,
                                          std::shared_ptr<push_router> router);

} // namespace millrace::actors::supervisor
