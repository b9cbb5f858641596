#pragma once
// The node as runtime/ sees it: start, ask, push, drain. No CAF in this header, so that only actors/ compiles it.

#include "actors/errc.hpp"
#include "actors/spec.hpp"
#include "storage/node_store.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace millrace::actors {

struct node_limits {
  std::uint64_t memory_bytes = 1ull << 30;
  std::uint32_t workers = 2; ///< transform workers a load may have
  std::uint64_t record_bytes = 16u << 20;
  std::uint64_t body_bytes = 64u << 20;
};

/// Parses and validates a stored spec when the node starts (runtime/config stands behind it).
using spec_parser =
    std::function<result<pipeline_spec_ptr>(const std::string& text, const std::string& file, const std::string& base_dir)>;
/// One line for the node's log; level is info, warn or error.
using log_sink = std::function<void(std::string_view level, std::string_view component, std::string_view line)>;

namespace cluster {
struct services;
}

struct node_options {
  std::string name;
  std::shared_ptr<storage::node_store> store;
  std::shared_ptr<cluster::services> cluster; ///< null: a single node
  node_limits limits;
  spec_parser parse;
  log_sink log;

  /// Pipelines and what must outlive a node's disk: the cluster's, or the embedded one.
  storage::catalog& catalog() const;
};

/// What an operator asks. Answers are JSON documents with the keys of interfaces.md.
struct admin_call {
  enum class method : std::uint8_t {
    list,   ///< [{pipeline, state, reason, revision}]
    show,   ///< {pipeline, revision, paused, file, spec}: the text as applied
    status, ///< interfaces.md, `pipeline status`
    apply,  ///< specs; all or none: [{pipeline, change: created|updated|unchanged, revision}]
    pause,
    resume,
    remove,
    log_info, ///< [{partition, first_offset, next_offset, high_watermark, bytes, epoch, log_id}]
    log_read, ///< partition, from, limit, wait_ms: {"changes": [...], "next": OFFSET}
    rewind,   ///< load, to, truncate
    dead_letters,
    redrive,
    discard,    ///< filter: JSON {load, reason, id, state, limit, payloads, all}; force
    actors,     ///< the supervision tree: [{id, role, pipeline, load, state, node, mailbox_depth, restarts, last_error, note}]
    kill_actor, ///< name: an actor's id as `actors` shows it
    cluster,    ///< {nodes: [...], controller, partitions: [...]}
    metrics,    ///< samples for /metrics, see the end of this header
    verify,   ///< load, from (a cursor of an earlier answer, empty at first), limit (rows a second): one step; {"table", "rows",
              ///< "ranges", "differences": [{table, kind, key}], "unsettled", "cursor", "done"}
    repair,   ///< load, filter (JSON: differences as verify gave them): the source reads those keys again
    snapshot, ///< name: a table that the source reads whole again, beside the changes
    ready,    ///< {ready: bool, reasons: [...]}: ready means that changes move or that there are none
    maintain, ///< name: a node; from: drain, undrain, decommission, replace, keep; load: replace's successor; force. {"node",
              ///< "action", "will": what happens now, "notes": [...]}
  };
  method what = method::list;
  std::string pipeline, load, name;
  std::string from;   ///< log_read, rewind: OFFSET | TIME | start | end
  std::string filter; ///< JSON
  std::uint32_t partition = 0, limit = 0, wait_ms = 0;
  bool truncate = false, force = false;
  std::vector<pipeline_spec_ptr> specs;
  bool local = false; ///< in a cluster: of this node only, do not ask the others
};

struct admin_reply {
  bool ok = false;
  std::string document;              ///< JSON, if ok
  std::string code, message, detail; ///< not_found, invalid, refused, conflict, unavailable, internal
};

/// One HTTP request body for an `http` source.
struct push_request {
  std::string pipeline;
  std::string token; ///< what the client sent after "Bearer "; `has_token` false if there was no such header
  bool has_token = false;
  std::string body;     ///< NDJSON as it arrived
  std::string producer; ///< empty with has_sequence false
  std::uint64_t sequence = 0;
  bool has_sequence = false;
};
struct push_reply {
  int status = 503; ///< HTTP: 200, 307, 400, 401, 403, 404, 409, 413, 429, 503
  std::uint64_t accepted = 0;
  std::string message;         ///< why not
  int retry_after_seconds = 0; ///< with 429 and 503
  std::string location = {};   ///< with 307: the path below it is the same
};

/// Owner: runtime/. call() and push() are thread safe; their callbacks come exactly once, on a thread of the actor system.
class node {
public:
  virtual ~node() = default;
  /// Starts the actor system and every pipeline of the catalog. Errors: those of the store.
  static result<std::unique_ptr<node>> start(const node_options& options);
  virtual void call(admin_call what, std::function<void(admin_reply)> done) = 0;
  virtual void push(push_request what, std::function<void(push_reply)> done) = 0;
  /// Checked before a body is read: 0 if a body of so many bytes would be taken now, else the HTTP status (429, 413, 404, 503).
  virtual push_reply may_push(const push_request& head, std::uint64_t bytes) = 0;
  /// Stops intake, lets what is acknowledged become durable, commits what the destinations hold open; false if `limit` ran out.
  virtual bool drain(std::chrono::milliseconds limit) = 0;
  /// Set when the store failed for good: runtime must end the process at once, with exit status 70.
  virtual bool storage_failed() const = 0;
};

/// One sample of /metrics: {"name", "type": counter|gauge|histogram, "help", "labels": {..}, "value"} and, for a histogram,
/// "buckets": [[le, cumulative count], ...], "sum", "count". admin_call::metrics answers an array of them.

} // namespace millrace::actors
