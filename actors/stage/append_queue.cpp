#include "actors/stage/append_queue.hpp"

#include <algorithm>

namespace millrace::actors::stage {

std::uint64_t append_queue::new_session() {
  expected_ = 0;
  return session_ = std::max(session_ + 1, static_cast<std::uint64_t>(storage::now().time_since_epoch().count()));
}

append_queue::group append_queue::take() {
  group g;
  for (auto& r : std::exchange(waiting_, {})) {
    append_reply refused;
    if (r.what.session != session_)
      refused.why = make_failure(errc::stale_session, "another ingest has attached to the stage");
    else if (r.what.sequence != expected_ && r.what.sequence != append_unordered)
      refused.why = make_failure(errc::conflict, "an earlier append of this session was refused");
    else {
      if (r.what.sequence != append_unordered) ++expected_, ++g.numbered;
      g.batches.insert(g.batches.end(), r.what.batches.begin(), r.what.batches.end());
      g.requests.push_back(std::move(r));
      continue;
    }
    r.promise.deliver(refused);
  }
  return g;
}

} // namespace millrace::actors::stage
