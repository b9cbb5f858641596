@0xd3c1f0a87b6e4a52;
# Messages between the replicas of one partition (storage/replication). Append fields, never renumber or retype.
# The entries of `data` are not in here: they travel beside the message in parts, as they lie on the disk (log.capnp).
using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("millrace::schemas");

struct ReplicationMessage {
  uid @0 :Text;              # of the pipeline
  partition @1 :UInt32;
  epoch @2 :UInt64;          # the largest one its sender has seen
  node @3 :Text;             # its sender
  run @4 :UInt64;            # random, of the sender's replica since it last started
  store @5 :UInt64;          # identity of the sender's copy
  union {
    attach @6 :Attach;
    attachReply @7 :AttachReply;
    fetch @8 :Fetch;
    data @9 :Data;
    query @10 :Query;
    report @11 :Report;
    stand @12 :Stand;
    refuse @13 :Refuse;
  }

  struct Attach {            # follower -> leader: where my log ends; which of it do you have?
    lastEpoch @0 :UInt64;
    end @1 :UInt64;
    nonce @2 :UInt64;        # of this question: an answer to an earlier one could cut what was appended since
  }
  struct AttachReply {
    nonce @0 :UInt64;
    backEpoch @1 :UInt64;    # the leader's largest epoch <= lastEpoch; 0: it has none
    backEnd @2 :UInt64;      # where that one ends in the leader's log
    logStart @3 :UInt64;     # what retention left
    highWatermark @4 :UInt64;
  }
  struct Fetch {             # follower -> leader: I have this much, send what comes next
    from @0 :UInt64;         # end of what was written
    hashLow @1 :UInt64;      # of the entry before `from`
    hashHigh @2 :UInt64;
    durable @3 :UInt64;      # end of what is synced
    credit @4 :UInt64;       # bytes it takes beyond `from`
    round @5 :UInt64;        # rises when something was lost on the way and the leader must send again from `from`
    empty @6 :Bool;          # the log has no entry: there is no hash
    full @7 :Bool;           # no room on this disk: send nothing, and do not wait for this copy
    unheard @8 :Bool;        # nothing has come from you for longer than you are ever silent
  }
  struct Data {              # leader -> follower
    from @0 :UInt64;
    highWatermark @1 :UInt64;
    logStart @2 :UInt64;
    verified @3 :Bool;       # the run below holds all that could be acknowledged so far
    run @4 :UInt64;          # of the follower, as the leader knows it
    round @5 :UInt64;        # of the fetch that this answers
    entries @6 :UInt32;      # how many there must be in all parts
    perPart @7 :List(UInt32);  # entries in each part; empty: one. A part of several: each with its length before it, u32 little endian
  }
  struct Query {             # candidate -> member: report, and take nothing of older epochs from now on
    targetEpoch @0 :UInt64;
    nonce @1 :UInt64;
  }
  struct Report {
    targetEpoch @0 :UInt64;
    nonce @1 :UInt64;
    lastEpoch @2 :UInt64;
    end @3 :UInt64;
  }
  struct Stand { targetEpoch @0 :UInt64; }   # candidate -> member that is ahead of it: stand for election
  struct Refuse { seenEpoch @0 :UInt64; }    # your epoch is old; or, of the same epoch: you are not attached
}
