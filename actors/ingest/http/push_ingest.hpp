#pragma once
#include "actors/ingest/http/producer_window.hpp"
#include "actors/messages.hpp"

#include <map>

namespace millrace::actors::ingest {

/// INGEST of an `http` source: stages each body in one append and answers after it is durable. Bodies are bounded by the
/// node's push credit before they get here. After a restart of the stage nobody knows what became of bodies in flight: their
/// clients get 503, repeat, and the window that is read back from the log tells repeats from new ones.
struct push_state {
  explicit push_state(ingest_actor::stateful_pointer<push_state> self) : self(self) {}
  static constexpr const char* name = "push_ingest";

  ingest_actor::stateful_pointer<push_state> self;
  pipeline_context_ptr ctx;
  pipeline_actor supervisor;
  stage_actor stage;
  http::producer_window window;
  std::uint64_t attempt = 0, session = 0, next_ticket = 1;
  bool attached = false, stopping = false;
  std::string waiting;
  std::uint64_t bodies = 0;
  struct waiter {
    caf::typed_response_promise<push_reply> promise;
    std::uint64_t accepted = 0; ///< what the answer says; a repeat's is that of its own body
  };
  std::map<std::uint64_t, waiter> waiters;
  caf::typed_response_promise<simple_reply> drained;

  void attach();
  caf::result<push_reply> push(const push_request& request);
  void settle(const std::vector<std::uint64_t>& tickets, const push_reply& reply);
  void report();
};

ingest_actor::behavior_type push_ingest(ingest_actor::stateful_pointer<push_state> self, pipeline_context_ptr ctx,
                                        pipeline_actor supervisor, stage_actor stage);

} // namespace millrace::actors::ingest
