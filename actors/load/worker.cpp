#include "actors/load/worker.hpp"

#include <stdexcept>

namespace millrace::actors::load {

std::unique_ptr<transform::transformer> make_transformer(const pipeline_context& ctx, const load_spec& load) {
  transform::transform_limits limits;
  limits.max_record_bytes = ctx.spec->source.max_record_bytes;
  std::vector<transform::step_error> errors;
  auto made = transform::transformer::make(load, limits, errors);
  if (!made)
    throw std::runtime_error("the load's steps do not compile: " + (errors.empty() ? "no reason" : errors.front().message));
  return made;
}

worker_actor::behavior_type worker(worker_actor::stateful_pointer<worker_state> self, pipeline_context_ptr ctx,
                                   std::shared_ptr<const load_spec> load, pipeline_actor supervisor) {
  set_crash_handler(self, ctx, ctx->component("worker", load->name));
  self->state.transformer = make_transformer(*ctx, *load);
  self->send(supervisor, worker_report{true});
  return {
      [self](const work& w) {
        auto rows = self->state.transformer->run(w.batch, w.first, w.end);
        const storage::offset end{w.batch->base().value + w.end};
        self->send(caf::actor_cast<writer_actor>(w.writer), load_item{w.generation, w.sequence, std::move(rows), w.batch, end});
        if (auto from = caf::actor_cast<dispatcher_actor>(self->current_sender()))
          self->send(from, work_done{w.generation, w.sequence});
      },
  };
}

} // namespace millrace::actors::load
