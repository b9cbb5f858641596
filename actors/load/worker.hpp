#pragma once
#include "actors/messages.hpp"
#include "actors/transform/transformer.hpp"

namespace millrace::actors::load {

/// WORKER: gives batches a schema and runs the load's steps. Stateless: any worker makes the same rows of a batch.
struct worker_state {
  explicit worker_state(worker_actor::stateful_pointer<worker_state> self) : self(self) {}
  static constexpr const char* name = "worker";
  worker_actor::stateful_pointer<worker_state> self;
  std::unique_ptr<transform::transformer> transformer;
};

worker_actor::behavior_type worker(worker_actor::stateful_pointer<worker_state> self, pipeline_context_ptr ctx,
                                   std::shared_ptr<const load_spec> load, pipeline_actor supervisor);

/// The load's transformer under the node's limits; the spec was validated, so a mistake here is a bug.
std::unique_ptr<transform::transformer> make_transformer(const pipeline_context& ctx, const load_spec& load);

} // namespace millrace::actors::load
