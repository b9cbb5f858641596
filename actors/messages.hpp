#pragma once
// Every message between the actors of a node, and the handles that take them.
//
//   node supervisor ─call─> pipeline supervisor ─spawns, wires─> stage, ingest, and per load: dispatcher, workers, writer; alerts
//   ingest ─append─> stage ─advanced─> dispatcher ─work─> worker ─transformed─> writer ─quarantine─> stage
//      <──ack───         dispatcher <─seek, released─ writer          writer ─failures─> alerts
//   all children ─report─> pipeline supervisor
//
// Credits: ingest keeps at most ingest_window_bytes unacknowledged; a dispatcher at most load_window_bytes between its read and
// the writer's commit. Both are enough to hide a disk's latency at full speed and small beside the node's memory bound.

#include "actors/cluster/transport.hpp"
#include "actors/context.hpp"
#include "actors/ingest/source_reader.hpp"
#include "actors/transform/row_set.hpp"
#include "storage/replication/replica.hpp"

#include <caf/all.hpp>

#include <map>
#include <variant>

namespace millrace::actors {

inline constexpr std::size_t ingest_window_bytes = 8u << 20;
inline constexpr std::size_t load_window_bytes = 32u << 20;

enum class role : std::uint8_t { stage, ingest, dispatcher, worker, writer, alerts };
const char* to_string(role r) noexcept;

// ---- stage
struct attach_reply {
  bool ok = false;
  failure why;
  std::uint64_t session = 0; ///< belongs in every append; a later attach makes it stale
  std::vector<storage::state_entry> state;
};
/// All of the batches or none. `sequence` counts requests of a session from 0: the stage takes them in that order only, so that
/// a refused one can be sent again without being overtaken.
inline constexpr std::uint64_t append_unordered = ~0ull; ///< as sequence: requests that need no order among themselves (pushes)
struct append_request {
  std::uint64_t session = 0, sequence = 0;
  std::vector<storage::staged_batch_ptr> batches;
};
struct append_reply {
  bool ok = false;
  failure why; ///< log_unavailable: send again later; stale_session: attach again; out of order: conflict, send again
  storage::offset first;
};
struct quarantine_request {
  std::string load;
  std::vector<storage::dead_letter> letters;
};
struct control_request {
  storage::batch_kind kind = storage::batch_kind::redrive;
  std::string load;
  std::vector<storage::offset> offsets;
  storage::offset to; ///< rewind: the target; outcomes: the log offset of the order
  bool flag = false;
  std::vector<storage::outcome> outcomes = {};
};
struct trim_request {
  storage::offset floor;
};

// ---- load
/// From the writer to its dispatcher: read from here; results of older generations are void.
struct seek_request {
  std::uint64_t generation = 0;
  storage::offset from;
  caf::strong_actor_ptr writer; ///< who takes the items; travels with the work, so that nobody else need be told of a new one
};
struct released {
  std::uint64_t generation = 0;
  std::uint64_t below_sequence = 0; ///< items with a smaller sequence are committed: their memory is free
};
struct work {
  std::uint64_t generation = 0, sequence = 0;
  storage::batch_ptr batch;
  std::uint32_t first = 0, end = 0;
  caf::strong_actor_ptr writer;
};
struct work_done {
  std::uint64_t generation = 0, sequence = 0;
};
/// One item of the log for the writer: a transformed batch, or a control entry.
struct load_item {
  std::uint64_t generation = 0, sequence = 0;
  transform::row_set_ptr rows; ///< null for control entries
  storage::batch_ptr batch;
  storage::offset end;
};
/// Moves a load back. Answered after the destination's transaction.
struct rewind_request {
  storage::offset to;
  bool truncate = false;
};
struct simple_reply {
  bool ok = true;
  failure why;
  std::uint64_t value = 0;
};

// ---- alerts
struct failure_report {
  std::string load, reason;
  std::uint64_t count = 0;
  storage::timestamp first, last;
  storage::dead_letter sample;
  std::string text; ///< instead of a sample: an actor that gave up, in its own words
};

// ---- sources that are read
/// Reads a table whole again, or the rows of some keys.
struct snapshot_request {
  std::string table;
  std::vector<std::string> columns; ///< of the key; empty: the whole table
  std::vector<std::vector<std::string>> keys;
};

// ---- push
struct push_message {
  std::shared_ptr<push_request> request;
};

// ---- cluster: what a partition's replica hears from other nodes and of the catalog (actors/cluster/)
struct replica_frame {
  std::string from;
  std::shared_ptr<cluster::frame> frame;
};
struct record_news {
  std::shared_ptr<const storage::partition_record> record; ///< null: the partition was deleted
  bool fresh = false;                                      ///< the answer to a read that this replica asked for
  bool unknown = false;                                    ///< that read failed: the catalog cannot be reached
};
struct members_news {
  std::uint64_t revision = 0;                    ///< of the catalog: what began later may not be in it
  std::map<std::string, std::uint64_t> sessions; ///< of the nodes that are alive
  std::uint64_t own = 0;
};
struct proposal_news {
  std::uint64_t id = 0;
  storage::replication::replica::outcome outcome = storage::replication::replica::outcome::unknown;
  std::uint64_t mod_revision = 0;
};
/// To the registrar, which answers the stage with record_news or proposal_news.
struct catalog_request {
  storage::partition_name partition;
  std::variant<storage::replication::actions::read_record, storage::replication::actions::propose,
               storage::replication::actions::announce_store>
      what;
};
/// An operator's question from another node, or a node's answer to ours.
struct routed_call {
  std::string from;
  std::uint64_t id = 0; ///< the asker's
  admin_call call;
  std::optional<admin_reply> reply; ///< set: an answer
};
/// An answer whose frame did not arrive for sure: to be sent again, for as long as the asker waits.
struct unsent_answer {
  std::string to;
  std::shared_ptr<const cluster::frame> frame;
  std::chrono::steady_clock::time_point until;
};

// ---- reports to the pipeline supervisor; the sender tells which child
struct stage_report {
  bool opened = false;    ///< this node leads and all of its log is acknowledged: the pipeline may run
  bool following = false; ///< another node leads, or none yet: what ran here must end
  std::string role;       ///< in a cluster: leader, follower, candidate, ...: for people
  failure why;            ///< a reason that a restart would not mend (corrupt)
  std::shared_ptr<storage::partition_log> log;
  std::shared_ptr<storage::dead_letter_table> dead_letters;
  std::string waiting; ///< why appends wait; empty: they do not
};
struct ingest_report {
  bool ready = false;
  ingest::source_status source;
  bool idle = false;   ///< nothing unacknowledged
  std::string waiting; ///< the stage's reason
};
struct dispatcher_report {
  bool ready = false;
  std::uint64_t depth = 0; ///< changes read and not yet taken up by a worker
};
struct worker_report {
  bool ready = false;
};
struct writer_report {
  bool ready = false; ///< claimed
  std::string waiting;
  storage::offset next;
  std::uint64_t filtered = 0;
  std::uint64_t dead_below = 0; ///< open and discarded letters below next
  storage::timestamp applied;   ///< arrival of the last change committed
  std::uint64_t queued = 0;     ///< changes transformed and not committed
  double commit_seconds = 0;    ///< of the last transaction; 0: none since the last report
};

} // namespace millrace::actors

// It never settles on a layout of this list.
// clang-format off
#define MILLRACE_MESSAGES(X)                                                                                                     \
  X(attach_reply) X(append_request) X(append_reply) X(quarantine_request) X(control_request) X(trim_request)                     \
  X(seek_request) X(released) X(work) X(work_done) X(load_item) X(rewind_request) X(simple_reply) X(failure_report)              \
  X(push_message) X(snapshot_request) X(stage_report) X(ingest_report) X(dispatcher_report) X(worker_report) X(writer_report)                        \
  X(admin_call) X(admin_reply) X(push_reply)                                                                                     \
  X(replica_frame) X(record_news) X(members_news) X(proposal_news) X(catalog_request) X(routed_call)              \
  X(unsent_answer)
// clang-format on

// None of these leaves the process: what crosses a link is a frame of schemas/, not a message.
#define MILLRACE_UNSAFE(T) CAF_ALLOW_UNSAFE_MESSAGE_TYPE(millrace::actors::T)
MILLRACE_MESSAGES(MILLRACE_UNSAFE)
#undef MILLRACE_UNSAFE

CAF_BEGIN_TYPE_ID_BLOCK(millrace_actors, caf::first_custom_type_id)
#define MILLRACE_TYPE_ID(T) CAF_ADD_TYPE_ID(millrace_actors, (millrace::actors::T))
MILLRACE_MESSAGES(MILLRACE_TYPE_ID)
#undef MILLRACE_TYPE_ID
CAF_ADD_ATOM(millrace_actors, millrace::actors, attach_atom, "attach")
CAF_ADD_ATOM(millrace_actors, millrace::actors, flush_atom, "flush")
CAF_ADD_ATOM(millrace_actors, millrace::actors, subscribe_atom, "subscribe")
CAF_ADD_ATOM(millrace_actors, millrace::actors, advanced_atom, "advanced")
CAF_ADD_ATOM(millrace_actors, millrace::actors, tick_atom, "tick")
CAF_ADD_ATOM(millrace_actors, millrace::actors, wire_atom, "wire")
CAF_ADD_ATOM(millrace_actors, millrace::actors, retire_atom, "retire")
CAF_ADD_ATOM(millrace_actors, millrace::actors, lost_atom, "lost")
CAF_ADD_ATOM(millrace_actors, millrace::actors, pump_atom, "pump")
CAF_ADD_ATOM(millrace_actors, millrace::actors, commit_atom, "commit")
CAF_ADD_ATOM(millrace_actors, millrace::actors, retry_atom, "retry")
CAF_ADD_ATOM(millrace_actors, millrace::actors, drain_atom, "drain")
CAF_ADD_ATOM(millrace_actors, millrace::actors, restart_atom, "restart")
CAF_ADD_ATOM(millrace_actors, millrace::actors, update_atom, "update")
CAF_ADD_ATOM(millrace_actors, millrace::actors, resign_atom, "resign")
CAF_ADD_ATOM(millrace_actors, millrace::actors, changed_atom, "changed")
CAF_ADD_ATOM(millrace_actors, millrace::actors, status_atom, "status")
CAF_END_TYPE_ID_BLOCK(millrace_actors)

namespace millrace::actors {

/// Reads the log forward for one load and feeds its workers. Detached: a read may wait for the disk.
using dispatcher_actor =
    caf::typed_actor<caf::reacts_to<seek_request>, caf::reacts_to<advanced_atom>, caf::reacts_to<work_done>,
                     caf::reacts_to<released>, caf::reacts_to<wire_atom, caf::strong_actor_ptr>, // a worker to use
                     caf::reacts_to<retire_atom, caf::strong_actor_ptr>,                         // finish, then end it
                     caf::reacts_to<lost_atom, caf::actor_addr>,                                 // a worker died
                     caf::reacts_to<pump_atom>, caf::reacts_to<tick_atom>>;

/// Applies items in order to the destination. Detached: a destination may block.
using writer_actor = caf::typed_actor<caf::reacts_to<load_item>, caf::reacts_to<commit_atom, std::uint64_t>,
                                      caf::reacts_to<retry_atom, std::uint64_t>, caf::reacts_to<wire_atom, dispatcher_actor>,
                                      caf::reacts_to<wire_atom, caf::strong_actor_ptr>, // the stage
                                      caf::replies_to<rewind_request>::with<simple_reply>,
                                      caf::replies_to<drain_atom>::with<simple_reply>, caf::reacts_to<pump_atom>>;

/// Schema-on-read and steps. Detached: a user's script may run for a second.
using worker_actor = caf::typed_actor<caf::reacts_to<work>>;

/// The only one that appends to its partition. Detached: every call may wait for the disk.
using stage_actor =
    caf::typed_actor<caf::replies_to<attach_atom>::with<attach_reply>, caf::replies_to<append_request>::with<append_reply>,
                     caf::replies_to<quarantine_request>::with<append_reply>,
                     caf::replies_to<control_request>::with<append_reply>, caf::reacts_to<flush_atom>,
                     caf::reacts_to<subscribe_atom, dispatcher_actor>, caf::reacts_to<trim_request>,
                     // In a cluster only; a single node's stage ignores them.
                     caf::reacts_to<replica_frame>, caf::reacts_to<record_news>, caf::reacts_to<members_news>,
                     caf::reacts_to<proposal_news>, caf::reacts_to<tick_atom>, caf::reacts_to<resign_atom>>;

/// Does what replicas want of the catalog, which may take seconds. Detached; answers the sender.
using registrar_actor = caf::typed_actor<caf::reacts_to<catalog_request>>;

/// Reads or is pushed a source. `drain` answers once nothing is unacknowledged; nothing is read after it.
using ingest_actor =
    caf::typed_actor<caf::reacts_to<tick_atom>, caf::reacts_to<wire_atom, stage_actor>,
                     caf::replies_to<drain_atom>::with<simple_reply>, caf::replies_to<push_message>::with<push_reply>,
                     caf::replies_to<snapshot_request>::with<simple_reply>>;

/// Groups failures and tells people. Detached: a webhook may be slow.
using alerts_actor = caf::typed_actor<caf::reacts_to<failure_report>, caf::reacts_to<tick_atom>>;

using pipeline_actor =
    caf::typed_actor<caf::reacts_to<stage_report>, caf::reacts_to<ingest_report>, caf::reacts_to<dispatcher_report>,
                     caf::reacts_to<worker_report>, caf::reacts_to<writer_report>, caf::reacts_to<failure_report>,
                     caf::reacts_to<tick_atom>, caf::reacts_to<restart_atom, std::uint64_t>,
                     caf::replies_to<admin_call>::with<admin_reply>,
                     caf::replies_to<drain_atom>::with<simple_reply>,        // all children end in order; then this actor quits
                     caf::reacts_to<update_atom, admin_call, std::uint64_t>, // a new revision of the spec (specs[0])
                     caf::reacts_to<changed_atom, bool>>;                    // paused or not, as the catalog says

using node_actor =
    caf::typed_actor<caf::replies_to<admin_call>::with<admin_reply>, caf::replies_to<push_message>::with<push_reply>,
                     caf::replies_to<drain_atom>::with<simple_reply>, caf::reacts_to<tick_atom>,
                     // In a cluster
                     caf::reacts_to<changed_atom>, caf::reacts_to<routed_call>, caf::reacts_to<unsent_answer>>;

/// Why an actor ended: a code of ours with its text, so that a supervisor can tell.
caf::error quit_reason(const failure& f);
/// The text of any actor's end.
std::string describe(const caf::error& reason, const caf::actor_system& sys);
/// True for the ends that a restart cannot mend.
bool needs_operator(const caf::error& reason);

/// Logs an exception that leaves a handler and makes it the actor's reason.
template <class Self>
void set_crash_handler(Self* self, pipeline_context_ptr ctx, std::string component) {
  self->set_exception_handler([ctx = std::move(ctx), component = std::move(component)](std::exception_ptr& e) -> caf::error {
    std::string what = "unknown exception";
    try {
      std::rethrow_exception(e);
    } catch (const std::exception& x) {
      what = x.what();
    } catch (...) {
    }
    ctx->node->log("error", component, "crashed: " + what);
    return quit_reason(failure{std::make_error_code(std::errc::state_not_recoverable), what});
  });
}

} // namespace millrace::actors
