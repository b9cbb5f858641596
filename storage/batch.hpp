#pragma once
// From ingest to log to load: the block of raw changes, the entry ready to append, the entry as read.

#include "storage/result.hpp"
#include "storage/types.hpp"

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::storage {

enum class batch_kind : std::uint8_t {
  changes,
  epoch_marker,
  quarantine,
  redrive,
  discard,
  rewind,
  position,
  outcomes,
  rewound,
  carried
};
enum class codec : std::uint8_t { none, lz4, zstd };
enum class payload_format : std::uint8_t { json, csv, pgoutput, pgcopy };
enum class envelope : std::uint8_t { none, debezium };

/// What ingest must find again after a restart. The log keeps the newest value of each key of a partition and changes it in
/// the same write as the entry that carries it. An empty value forgets the key.
struct state_entry {
  std::string key;
  std::string value;
  friend bool operator==(const state_entry&, const state_entry&) = default;
};

/// A source transaction, or the part of it that is in one block (schemas/log.capnp, Transaction).
struct source_transaction {
  std::uint32_t first_change = 0; ///< index into the block
  std::uint64_t id = 0;           ///< the source's number for it; 0: rows of a snapshot
  std::uint64_t position = 0;     ///< where it committed in the source (PostgreSQL: LSN of the commit)
  std::int64_t time_us = 0;       ///< when, microseconds since 1970 UTC
  std::uint64_t first_index = 0;  ///< index within the transaction of its first change here
  friend bool operator==(const source_transaction&, const source_transaction&) = default;
};

/// Consecutive changes of one source as they arrived, not parsed. Change i is payloads[starts[i], starts[i] + lengths[i]).
struct change_block {
  std::string payloads; ///< raw bytes, separators included; at most 1 GiB
  std::vector<std::uint32_t> starts;
  std::vector<std::uint32_t> lengths;
  payload_format format = payload_format::json;
  storage::envelope envelope = storage::envelope::none;
  std::string origin;                           ///< a file's path, a producer's id: for people and dead letters
  std::uint64_t origin_position = 0;            ///< position of payloads[0] in the origin, bytes
  std::string context;                          ///< csv: the header record; pgoutput, pgcopy: the words of a SourceTables message
  std::vector<source_transaction> transactions; ///< by rising first_change; empty: the source has none
  bool open_end = false;                        ///< the last transaction goes on in the next block
  std::vector<state_entry> source_state;
};

/// A block encoded and compressed, ready to append; made on the ingest actor's thread so that the log writer only adds the
/// header. A block without changes but with source_state is allowed: it takes no offset and only moves the state.
class staged_batch {
public:
  virtual ~staged_batch() = default;
  virtual std::uint32_t count() const noexcept = 0;
  virtual std::size_t stored_bytes() const noexcept = 0; ///< compressed body
  virtual std::size_t raw_bytes() const noexcept = 0;    ///< memory held
};
using staged_batch_ptr = std::shared_ptr<const staged_batch>;

/// Errors: invalid if the columns disagree or a change lies outside of payloads.
result<staged_batch_ptr> encode(const change_block& block, codec c);

/// An operator's or a load's word in the log (see schemas/log.capnp, Control).
struct control_entry {
  std::string load;
  std::vector<offset> offsets;
  std::vector<std::string> reasons;
  offset to;
  bool flag = false;
  std::string_view letters; ///< a message of dead letters, of a replicated log; of an entry that was read: in its memory
  offset settled_below;
};

/// ONE entry of a log, verified and decompressed. Immutable, shared between threads; owns all memory that its views name.
class batch {
public:
  virtual ~batch() = default;
  virtual batch_kind kind() const noexcept = 0;
  virtual offset base() const noexcept = 0;
  virtual std::uint32_t count() const noexcept = 0;
  offset end() const noexcept { return {base().value + count()}; }
  virtual storage::epoch epoch() const noexcept = 0;
  virtual timestamp first_time() const noexcept = 0;
  virtual timestamp last_time() const noexcept = 0;
  /// Data changes below base() since the log began (control entries do not count).
  virtual std::uint64_t changes_before() const noexcept = 0;
  /// Memory held, bytes.
  virtual std::size_t bytes() const noexcept = 0;

  // kind() == changes: change i has offset base() + i.
  virtual std::string_view payloads() const noexcept = 0;
  virtual std::string_view payload(std::uint32_t i) const noexcept = 0;
  virtual payload_format format() const noexcept = 0;
  virtual storage::envelope envelope() const noexcept = 0;
  virtual std::string_view origin() const noexcept = 0;
  virtual std::string_view context() const noexcept = 0;
  /// By rising first_change, the first at 0; empty: the source has none.
  virtual std::span<const source_transaction> transactions() const noexcept { return {}; }
  /// The last transaction goes on in the next entry of changes: a destination must not show any of it yet.
  virtual bool open_end() const noexcept { return false; }
  /// The transaction that change i belongs to; null: none.
  const source_transaction* transaction_of(std::uint32_t i) const noexcept;
  /// "ORIGIN:BYTE", where change i began in its source; of a transaction "ORIGIN LSN#INDEX".
  virtual std::string source_position(std::uint32_t i) const = 0;

  // any other kind
  virtual const control_entry& control() const noexcept = 0;
};
using batch_ptr = std::shared_ptr<const batch>;

/// "0/16B3748": a PostgreSQL position as its tools write it.
std::string lsn_text(std::uint64_t position);

/// One change outside of a log, for redrives: count() is 1, base() is `at`. All views are copied.
batch_ptr single_change(offset at, timestamp time, std::string_view payload, payload_format format, envelope env,
                        std::string_view origin, std::string_view context);

} // namespace millrace::storage
