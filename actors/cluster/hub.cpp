#include "actors/cluster/hub.hpp"

#include "actors/cluster/routed_calls.hpp"

namespace millrace::actors::cluster {

void hub::connect(transport& t, const log_sink& log) {
  t.receive(channel::replication, [this, log](const std::string& from, frame f) {
    auto partition = storage::replication::partition_of(f.head);
    if (!partition)
      return log("warn", "link", "a replication frame of node " + from + " is refused: " + partition.error().message);
    // Not for a partition of this node (any more, or not yet): its sender asks again as long as it matters.
    if (auto stage = find(partition.value())) caf::anon_send(stage, replica_frame{from, std::make_shared<frame>(std::move(f))});
  });
  t.receive(channel::admin, [this, log](const std::string& from, frame f) {
    auto call = decode_routed(from, f);
    if (!call) return log("warn", "link", call.error().message);
    if (auto supervisor = node()) caf::anon_send(supervisor, std::move(call).value());
  });
}

} // namespace millrace::actors::cluster
