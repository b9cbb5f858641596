@0x80d0094ec78754d9;
# A change in quarantine, whole: the log may drop the change by retention, this keeps it.
# Rows of the dead letter index are framed messages (with their segment table); storage/README.md lists the rows.
using Cxx = import "/capnp/c++.capnp";
using Log = import "/schemas/log.capnp";
$Cxx.namespace("millrace::schemas");

enum DeadLetterState {
  quarantined @0;
  redriven @1;
  discarded @2;
  replaced @3;   # a rewind voided it; the replay will decide anew. Not shown by default.
}

struct DeadLetter {
  offset @0 :UInt64;
  sourcePosition @1 :Text;
  transaction @2 :Text;
  table @3 :Text;
  key @4 :Text;               # JSON object of the key's columns; empty if it could not be read
  keyHash @5 :UInt64;         # 0: no key
  op @6 :Text;
  payload @7 :Data;
  reason @8 :Text;            # parse, schema, transform, constraint, type, too_large, held
  message @9 :Text;
  sqlstate @10 :Text;
  constraint @11 :Text;
  column @12 :Text;
  step @13 :Text;
  node @14 :Text;
  revision @15 :UInt64;
  attempts @16 :UInt32;
  firstTimeUs @17 :Int64;
  lastTimeUs @18 :Int64;
  state @19 :DeadLetterState;
  supersededBy @20 :UInt64;   # offset + 1 of a later delivered change of the same key; 0: none
  format @21 :Log.PayloadFormat;
  envelope @22 :Log.Envelope;
  context @23 :Data;
  arrivalUs @24 :Int64;       # of the change
  beforeKeyHash @25 :UInt64;  # key before a key-changing update; 0: none
  origin @26 :Text;
}

struct Outcome {
  # What a redrive or discard entry at one log offset did to one dead letter; settled once the destination committed past it.
  offset @0 :UInt64;
  state @1 :DeadLetterState;  # quarantined: it failed again, and letter has the new reason
  letter @2 :DeadLetter;      # without payload
}
struct Outcomes { list @0 :List(Outcome); }

struct LetterState {
  # What changes in a letter's life, and what is looked up for many at once; newer than the same fields of DeadLetter.
  state @0 :DeadLetterState;
  attempts @1 :UInt32;
  supersededBy @2 :UInt64;    # offset + 1; 0: none
  keyHash @3 :UInt64;         # 0: no key
  beforeKeyHash @4 :UInt64;   # 0: none
  reason @5 :Text;
}

struct LetterCounts {
  # Of one load in one partition; written with every change of a letter's state.
  open @0 :UInt64;
  discarded @1 :UInt64;
  redriven @2 :UInt64;
  total @3 :UInt64;           # distinct changes ever quarantined; never falls
  openByReason @4 :List(ReasonCount);
}
struct ReasonCount { reason @0 :Text; count @1 :UInt64; }

struct FilteredNote {
  # Which changes of [first, end) a load filtered; first is in the row's key.
  end @0 :UInt64;
  before @1 :UInt64;          # filtered ones below first
  bits @2 :Data;              # bit i: offset first + i; empty: none
}

struct PendingRewind { to @0 :UInt64; truncate @1 :Bool; }
