@0xf5e29482f16f77d1;
# Values of the catalog. Keys: pipeline/<name>, part/<uid>/<partition>, store/<uid>/<partition>/<node>, node/<id> (under a lease),
# host/<id> (its last NodeRecord, kept), controller (under a lease), drain/<node>, leave/<node>.
using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("millrace::schemas");

struct PipelineRecord {
  name @0 :Text;
  uid @1 :Text;          # a deleted and re-created pipeline has another one: its log and offsets are its own
  specText @2 :Text;     # as applied, references to the environment not replaced
  specFile @3 :Text;     # where it came from, for messages
  baseDir @4 :Text;      # relative paths in the spec are relative to this
  revision @5 :UInt64;
  paused @6 :Bool;
  pin @7 :Text;          # the node it must run on, because files or a destination lie on its disk; empty: any
  replicas @8 :UInt32;   # copies of its log, and how many must have an entry before it is acknowledged: as resolved at apply
  minInSync @9 :UInt32;
}

struct PartitionRecord {
  logId @0 :UInt64;
  epoch @1 :UInt64;
  leaderNode @2 :Text;
  leaderSession @3 :UInt64;
  isr @4 :List(Member);
  replicas @5 :List(Text);
  minIsr @6 :UInt32;
  struct Member { node @0 :Text; store @1 :UInt64; }
}

struct StoreRecord {
  # That a node has made fresh storage for a partition. The controller fills the first in-sync set from these.
  store @0 :UInt64;
  logId @1 :UInt64;
}

struct NodeRecord {
  # Under the node's lease. The key's create revision is the node's session.
  process @0 :UInt64;          # random per process start: tells our own record, after an answer was lost, from another process's
  linkAddress @1 :Text;
  adminAddress @2 :Text;
  publicKey @3 :Text;          # of the links, as keygen prints it
  labels @4 :List(Label);
  version @5 :Text;
  startedAtUs @6 :Int64;       # microseconds since 1970 UTC by the node's clock: for people
  host @7 :Text;
  httpAddress @8 :Text;
  lease @9 :UInt64;            # under which node/<id> was written
  dataId @10 :UInt64;          # identity of the data directory: its lock is held by one process only
  struct Label { name @0 :Text; value @1 :Text; }
}

struct ControllerRecord {
  node @0 :Text;
  session @1 :UInt64;
}

struct LeaveRecord {
  # What an operator wants for a node that is to hold nothing any more (decommissioned, or gone for good and replaced): its places
  # go to `successor`; empty: to whoever placement picks.
  successor @0 :Text;
}

# Rows of the embedded catalog (etcd keeps the like for itself).
struct CatalogRow {
  value @0 :Data;
  createRevision @1 :UInt64;
  modRevision @2 :UInt64;
  lease @3 :UInt64;           # 0: none; leases end with the process, so do the rows
}
struct CatalogEvents {
  # What one revision changed: recent ones are kept so that a watch can begin in the past.
  list @0 :List(Event);
  struct Event { key @0 :Text; value @1 :Data; deleted @2 :Bool; }
}
