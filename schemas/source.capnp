@0xd3f0c1c9a7d5b2e1;
# What a source says about its tables, beside the changes that were made under it. A version of a table's schema is the bytes
# of its SourceTable. Append fields, never renumber or retype; readers ignore what they do not know.
using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("millrace::schemas");

struct SourceTables {
  tables @0 :List(SourceTable);  # each id once
}

struct SourceTable {
  id @0 :UInt32;                 # as the changes name it (PostgreSQL: the relation's oid)
  schema @1 :Text;               # public
  name @2 :Text;                 # orders
  replicaIdentity @3 :Text;      # default | full | index | nothing
  columns @4 :List(SourceColumn);
  snapshotting @5 :Bool;         # rows of it are still to come from a snapshot: an update may meet a row that is not there yet
}

struct SourceColumn {
  name @0 :Text;
  type @1 :Text;                 # as the source writes it, with modifier, its schema named unless built in: numeric(10,2), shop.mood[]
  typeId @2 :UInt32;             # PostgreSQL: the type's oid
  baseTypeId @3 :UInt32;         # of a domain: the oid of what it is made from, else typeId
  typeModifier @4 :Int32;
  identity @5 :Bool;             # part of the replica identity: in the old row of an update or a delete
  key @6 :UInt16;                # place in the primary key, from 1; 0: not in it
  notNull @7 :Bool;
  generated @8 :Bool;            # changes and copied rows have no value for it
  kind @9 :Text;                 # base | enum | domain | composite | range | multirange | array | pseudo
  labels @10 :List(Text);        # of an enum, in its order
}
