#pragma once
#include "actors/messages.hpp"
#include "actors/supervisor/push_router.hpp"

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
  };

  node_actor::stateful_pointer<node_state> self;
  context_ptr ctx;
  std::shared_ptr<push_router> router;
  std::map<std::string, entry> pipelines;
  caf::typed_response_promise<simple_reply> drained;
  std::uint32_t draining = 0;
  std::vector<std::string> deleted; ///< uids whose actors have ended, but may not all be gone

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
};

node_actor::behavior_type node_supervisor(node_actor::stateful_pointer<node_state> self, context_ptr ctx,
                                          std::shared_ptr<push_router> router);

} // namespace millrace::actors::supervisor
