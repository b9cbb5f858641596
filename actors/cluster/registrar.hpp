#pragma once
#include "actors/cluster/services.hpp"
#include "actors/messages.hpp"

namespace millrace::actors::cluster {

/// REGISTRAR: reads and changes partition records in the catalog for this node's replicas, which must not wait for it. A request
/// that has no definite answer is answered as unknown; the replica repeats it.
struct registrar_state {
  explicit registrar_state(registrar_actor::stateful_pointer<registrar_state> self) : self(self) {}
  static constexpr const char* name = "registrar";

  registrar_actor::stateful_pointer<registrar_state> self;
  context_ptr ctx;

  record_news read(const storage::partition_name& p);
  proposal_news propose(const storage::partition_name& p, const storage::replication::actions::propose& what);
  void announce(const storage::partition_name& p, const storage::replication::actions::announce_store& what);
};

registrar_actor::behavior_type registrar(registrar_actor::stateful_pointer<registrar_state> self, context_ptr ctx);

} // namespace millrace::actors::cluster
