#pragma once
// What a stage was asked to append and has not written yet.

#include "actors/messages.hpp"

namespace millrace::actors::stage {

/// One session at a time, whose requests are numbered: one that was refused can be sent again without being overtaken.
/// Owner: a stage.
class append_queue {
public:
  struct request {
    append_request what;
    caf::typed_response_promise<append_reply> promise;
  };
  /// Written at once, all of it or nothing.
  struct group {
    std::vector<storage::staged_batch_ptr> batches;
    std::vector<request> requests;
    std::uint64_t numbered = 0;
  };

  bool empty() const noexcept { return waiting_.empty(); }
  void push(request r) { waiting_.push_back(std::move(r)); }
  /// Larger than any before, of an earlier process too if the clock has not gone back.
  std::uint64_t new_session();
  /// All that waits; what does not continue the session is answered: stale_session, conflict.
  group take();
  /// Nothing of it was written: the session goes on before it.
  void not_written(const group& g) noexcept { expected_ -= g.numbered; }
  /// All that waits, of whatever session.
  std::vector<request> abandon() { return std::exchange(waiting_, {}); }

private:
  std::vector<request> waiting_;
  std::uint64_t session_ = 0, expected_ = 0;
};

} // namespace millrace::actors::stage
