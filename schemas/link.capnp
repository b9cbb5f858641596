@0xd2b1f5c9a7e04c31;
# The first part of every message between two nodes (runtime/link). Append fields and kinds, never renumber or retype; what a node
# may send is settled by the version that both name in their hello. Limits on reading: runtime/link/link_header.hpp.
using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("millrace::schemas");

struct LinkHeader {
  # A ZeroMQ message is this header, and for `data` the frame's head and its parts behind it, each a message part of its own.
  union {
    hello @0 :LinkHello;            # sender -> receiver, the first message of a session
    helloReply @1 :LinkHelloReply;  # receiver -> sender, its answer
    data @2 :LinkData;              # sender -> receiver: one frame
    ack @3 :LinkAck;                # receiver -> sender
    goodbye @4 :LinkGoodbye;        # either way: the session is over
  }
}

struct LinkHello {
  versionMin @0 :UInt16;    # the versions of this protocol that the sender speaks: [versionMin, versionMax], both included
  versionMax @1 :UInt16;
  cluster @2 :Text;         # cluster.id of the node's configuration
  node @3 :Text;            # who says hello; must be the name that the peers file gives to its key
  target @4 :Text;          # whom it means to talk to
  run @5 :UInt64;           # random, one for each start of the sender's process
  session @6 :UInt64;       # counts the hellos of a run, from 1: an older one is a replay
  windowBytes @7 :UInt64;   # what the sender is willing to have unacknowledged
  maxFrameBytes @8 :UInt64; # the largest frame that it sends: head and parts together
}

enum LinkRefusal {
  none @0;             # accepted
  cluster @1;          # another cluster
  node @2;             # the key belongs to another node
  target @3;           # this is not the node that was meant
  version @4;          # no version that both speak
  replayed @5;         # a session that this run has used before
}

struct LinkHelloReply {
  version @0 :UInt16;       # the highest that both speak; 0 if refused
  refusal @1 :LinkRefusal;
  reason @2 :Text;          # for people: what was expected
  node @3 :Text;            # who answers
  run @4 :UInt64;           # of the receiver's process
  session @5 :UInt64;       # of the hello that this answers
  windowBytes @6 :UInt64;   # what the receiver lets be unacknowledged
  maxFrameBytes @7 :UInt64; # the largest frame that it takes
}

struct LinkData {
  session @0 :UInt64;
  sequence @1 :UInt64;      # counts the frames of a session, from 1
  channel @2 :UInt8;        # actors/cluster/transport.hpp
  headBytes @3 :UInt32;     # sizes of the message parts behind this one
  partBytes @4 :List(UInt32);
}

struct LinkAck {
  session @0 :UInt64;
  next @1 :UInt64;          # every sequence below it was taken by the receiver's handler
  creditBytes @2 :UInt64;   # what the receiver lets be unacknowledged from now on
}

struct LinkGoodbye {
  session @0 :UInt64;       # 0: whichever there is
  reason @1 :Text;          # for people
}
