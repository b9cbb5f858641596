@0xc81da34d2c22ea91;
# The admin RPC. A bootstrap capability hands out what the token allows; each kind includes the one before it.
# Documents are UTF-8 JSON with the stable keys that scripts read (README, "JSON that scripts read"): one definition serves
# the command line, scripts and this RPC. Failures come back as `error`, never as a broken call.
using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("millrace::schemas");

struct Failure {
  code @0 :Text;      # not_found, invalid, refused, conflict, unavailable, internal
  message @1 :Text;
  detail @2 :Text;
}
struct Reply {
  union {
    document @0 :Text;
    error @1 :Failure;
  }
}
struct SpecFile {
  name @0 :Text;      # as the user typed it, for messages
  baseDir @1 :Text;   # absolute; relative paths in the spec start here
  text @2 :Text;
}

interface Admin {
  login @0 (token :Text) -> (viewer :Viewer, operator :Operator, admin :Administrator, error :Failure);
  # Capabilities the token does not allow are null. On the Unix socket the file's permissions are the check: an empty token is admin.
}
interface Viewer {
  pipelines @0 () -> (reply :Reply);
  show @1 (pipeline :Text) -> (reply :Reply);
  status @2 (pipeline :Text) -> (reply :Reply);
  logInfo @3 (pipeline :Text) -> (reply :Reply);
  logRead @4 (pipeline :Text, partition :UInt32, from :Text, limit :UInt32, waitMs :UInt32) -> (reply :Reply);
  # Document: {"changes": [...], "next": OFFSET}. Waits up to waitMs for the first change past the end.
  deadLetters @5 (pipeline :Text, filter :Text) -> (reply :Reply);   # filter: JSON {load, reason, id, state, limit, payloads}
  actors @6 (pipeline :Text) -> (reply :Reply);
  cluster @7 () -> (reply :Reply);
}
interface Operator extends(Viewer) {
  apply @0 (files :List(SpecFile)) -> (reply :Reply);      # all or none
  pause @1 (pipeline :Text) -> (reply :Reply);
  resume @2 (pipeline :Text) -> (reply :Reply);
  delete @3 (pipeline :Text) -> (reply :Reply);
  rewind @4 (pipeline :Text, load :Text, to :Text, truncate :Bool) -> (reply :Reply);
  redrive @5 (pipeline :Text, filter :Text, force :Bool) -> (reply :Reply);
  discard @6 (pipeline :Text, filter :Text) -> (reply :Reply);
  verify @8 (pipeline :Text, load :Text, cursor :Text, rowsPerSecond :UInt32) -> (reply :Reply);
  # One step of comparing a load with its source; an empty cursor begins. Document: {"table", "rows", "ranges", "differences":
  # [{"table", "kind": missing|extra|different, "key": {...}}], "unsettled", "cursor", "done"}.
  repair @9 (pipeline :Text, load :Text, differences :Text) -> (reply :Reply);  # JSON as verify gave it: those keys are read again
  snapshot @7 (pipeline :Text, table :Text) -> (reply :Reply);   # reads a table whole again, beside the changes
}
interface Administrator extends(Operator) {
  killActor @0 (actor :Text) -> (reply :Reply);            # for tests of supervision: ends one actor as a bug would
  maintain @1 (action :Text, node :Text, successor :Text, force :Bool) -> (reply :Reply);
  # action: drain, undrain, decommission, replace (node by successor), keep. Works at any node of a cluster.
}
