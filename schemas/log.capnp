@0xa887c412a33340f3;
# The log's entries, as they lie in RocksDB and travel between nodes. Append fields, never renumber or retype;
# readers ignore what they do not know. Numbers without a unit count things; *Us is microseconds since 1970 UTC.
using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("millrace::schemas");

enum BatchKind {
  changes @0;       # data: what a source sent
  epochMarker @1;   # control: the first entry of each epoch
  quarantine @2;    # control: a load gave up on changes (design: a decision is final)
  redrive @3;       # control: an operator puts dead letters through the load again
  discard @4;       # control: an operator gives dead letters up
  rewind @5;        # control: an operator moved a load's offset back
  position @6;      # control: nothing but sourceState, of a replicated log, where state must travel with an entry
  outcomes @7;      # control: what a redrive, discard or release will do to dead letters (dead_letter_table::prepare)
  rewound @8;       # control: the destination carried a rewind out
  carried @9;       # control: source state and letters whose entries retention drops, as they are: for replicas that begin later
}
enum Codec { none @0; lz4 @1; zstd @2; }
enum PayloadFormat {
  json @0;
  csv @1;
  pgoutput @2;      # one message of PostgreSQL's logical replication (insert, update, delete, truncate); context: source.capnp
  pgcopy @3;        # one line of COPY ... TO STDOUT in text format, without its newline: a row of a snapshot; context: one table
}
enum Envelope { none @0; debezium @1; }

struct BatchHeader {
  # Value of an entry: u32 length of this header in words (little endian), this message, the body. A message here is the words of
  # its only segment, without the segment table of a stream: one header word less, and a body is one piece whatever its size.
  baseOffset @0 :UInt64;
  count @1 :UInt32;            # offsets this entry takes: [baseOffset, baseOffset + count)
  kind @2 :BatchKind;
  codec @3 :Codec;             # of the body
  epoch @4 :UInt64;
  firstTimeUs @5 :Int64;       # arrival at the stage, never falling along the log
  lastTimeUs @6 :Int64;
  changesBefore @7 :UInt64;    # data changes below baseOffset since the log began: counts without reading
  bodyBytes @8 :UInt32;        # as stored
  rawBytes @9 :UInt32;         # decompressed: a flat Changes or Control message
  prevHashLow @10 :UInt64;     # XXH3-128 of the entry before
  prevHashHigh @11 :UInt64;
  hashLow @12 :UInt64;         # XXH3-128 of this header with both hash fields 0, then the body as stored
  hashHigh @13 :UInt64;
  sourceState @14 :List(StateEntry);  # what ingest must find again: applied to the partition's state with this entry
  bytesBefore @15 :UInt64;     # stored bytes of the entries below baseOffset since the log began: sizes without reading
}

struct StateEntry {
  key @0 :Data;                # chosen by the source: a file's identity, a producer's id
  value @1 :Data;              # empty: forget the key
}

struct Changes {
  # Columns, not records: one allocation a batch, whatever the number of changes.
  payloads @0 :Data;           # raw bytes as they arrived, separators included
  starts @1 :List(UInt32);     # change i is payloads[starts[i], starts[i] + lengths[i])
  lengths @2 :List(UInt32);
  format @3 :PayloadFormat;
  envelope @4 :Envelope;
  origin @5 :Text;             # a file's path, a producer's id: for people and dead letters
  originPosition @6 :UInt64;   # position of payloads[0] in the origin, bytes
  context @7 :Data;            # csv: the header record; pgoutput, pgcopy: a SourceTables message with every table named here
  transactions @8 :List(Transaction);  # of a source that has them, by rising firstChange; empty: it has none
  openEnd @9 :Bool;            # the last transaction goes on in the next entry of changes: nothing of it may become visible yet
}

struct Transaction {
  # A source transaction, or the part of it that is in this entry.
  firstChange @0 :UInt32;      # index of its first change here
  id @1 :UInt64;               # the source's number for it (xid); 0: a snapshot's rows
  position @2 :UInt64;         # where it committed in the source (LSN)
  timeUs @3 :Int64;            # when
  firstIndex @4 :UInt64;       # index within the transaction of its first change here
}

struct Control {
  load @0 :Text;               # the load it speaks to; empty for epoch markers
  offsets @1 :List(UInt64);    # the changes it names
  reasons @2 :List(Text);      # quarantine: parallel to offsets
  to @3 :UInt64;               # rewind: the new offset; outcomes: offset of the order (redrive, discard) they answer
  flag @4 :Bool;               # rewind: truncate; redrive: force
  # Of a replicated log, where every replica's index of dead letters follows from the entries alone:
  letters @5 :Data;            # quarantine, outcomes, carried: a framed Outcomes message (dead_letter.capnp), letters of a quarantine whole
  settledBelow @6 :UInt64;     # what the load's destination was known to have passed: prepared outcomes below it came true
}
