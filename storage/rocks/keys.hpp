#pragma once
// Keys of the meta and dead letter column families. A pipeline's rows are one range, so that dropping it is one delete.
//   meta:    UID 00 PARTITION(be32) TAG ...             TAG: one of meta_tag
//   letters: UID 00 PARTITION(be32) LOAD 00 TABLE ...   TABLE: one of letter_table

#include "storage/bytes_internal.hpp"
#include "storage/result.hpp"

#include <rocksdb/slice.h>

namespace millrace::storage::rocks {

inline std::string_view view(const rocksdb::Slice& s) { return {s.data(), s.size()}; }
inline rocksdb::Slice slice(std::string_view s) { return {s.data(), s.size()}; }

inline std::string pipeline_prefix(std::string_view uid) { return std::string(uid) + '\0'; }
/// First key after all that begin with `prefix`. A prefix never ends in FF here.
inline std::string after_prefix(std::string prefix) {
  prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
  return prefix;
}
inline std::string partition_prefix(std::string_view uid, std::uint32_t partition) {
  auto key = pipeline_prefix(uid);
  append_be32(key, partition);
  return key;
}
/// First key after all of the partition's.
inline std::string after_partition(std::string_view uid, std::uint32_t partition) {
  return partition == ~std::uint32_t{0} ? after_prefix(pipeline_prefix(uid)) : partition_prefix(uid, partition + 1);
}
/// A NUL would end the name inside of a key; a slash, inside of a column family's or a record's name.
inline result<void> check_name(std::string_view name, std::string_view what) {
  if (name.empty() || name.find('\0') != name.npos || name.find('/') != name.npos)
    return failure{errc::invalid, std::string(what) + " '" + std::string(name) + "' must not be empty nor contain '/' or NUL"};
  return success();
}

enum class meta_tag : char {
  store = 's',          ///< be64, random: made when the partition's storage was made
  log_id = 'l',         ///< be64
  seen_epoch = 'e',     ///< be64
  log_start = 'b',      ///< be64 offset, be64 stored bytes below it
  high_watermark = 'h', ///< be64: what was synced before the newest append; of a replica, what is acknowledged and applied
  epoch_table = 't',    ///< be64 epoch in the key; be64 first offset
  source_state = 'v',   ///< the source's key; its value
  replicated = 'r',     ///< be64 1: one of several replicas; source state and letters are as of the high watermark
};
inline std::string meta_key(const std::string& partition_prefix, meta_tag tag) {
  return partition_prefix + static_cast<char>(tag);
}

enum class letter_table : char {
  counts = 'C',   ///< schemas::LetterCounts
  filtered = 'F', ///< be64 first; schemas::FilteredNote
  of_key = 'K',   ///< be64 key hash, be64 offset; empty. Open letters only.
  letter = 'L',   ///< be64 offset; schemas::DeadLetter without payload
  outcomes = 'O', ///< be64 log offset; schemas::Outcomes
  payload = 'P',  ///< be64 offset; the bytes
  rewind = 'R',   ///< schemas::PendingRewind
  state = 'S',    ///< be64 offset; schemas::LetterState
};

} // namespace millrace::storage::rocks
