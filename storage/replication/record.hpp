#pragma once
// The records of one partition in the catalog (replication.md section 2): who leads it, whose copies count, who should have one.
//
//   part/UID/PARTITION          partition_record   leader and in-sync set: written by replicas; `replicas`: by the controller
//   store/UID/PARTITION/NODE    store_record       written by the replica on NODE whenever it has made its storage anew
//
// How a partition begins: the controller makes the record with epoch 0, no leader and an empty in-sync set. Each listed replica
// makes its storage (reset(log_id, 0)), then writes its store_record. From these the controller fills `isr`. While the epoch is
// 0 nobody has ever led and so nothing was ever appended: the controller may fill it again if a store was replaced meanwhile
// (guarded by the mod revision of the record, as an election is, so one of the two wins). From epoch 1 on only a leader changes
// `isr`.

#include "storage/result.hpp"
#include "storage/types.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::storage {

struct isr_member {
  std::string node;
  std::uint64_t store = 0;
  friend bool operator==(const isr_member&, const isr_member&) = default;
};

struct partition_record {
  storage::log_id log_id;
  storage::epoch epoch;
  std::string leader_node;          ///< empty: nobody; the epoch is dead
  std::uint64_t leader_session = 0; ///< create revision of the leader's node key
  std::vector<isr_member> isr;
  std::vector<std::string> replicas; ///< wanted; the first one is the preferred leader
  std::uint32_t min_in_sync = 1;
  std::uint64_t mod_revision = 0; ///< the catalog's, as it was read; not part of the value. Guards the next change

  /// The node's place in the in-sync set, or null.
  const isr_member* in_sync(std::string_view node) const {
    const auto at = std::find_if(isr.begin(), isr.end(), [&](const auto& m) { return m.node == node; });
    return at == isr.end() ? nullptr : &*at;
  }
  bool wants(std::string_view node) const { return std::find(replicas.begin(), replicas.end(), node) != replicas.end(); }
  friend bool operator==(const partition_record&, const partition_record&) = default;
};

/// That this node has made fresh storage, with this identity, for this log.
struct store_record {
  std::uint64_t store = 0;
  storage::log_id log_id;
  friend bool operator==(const store_record&, const store_record&) = default;
};

std::string encode_partition_record(const partition_record& r);
/// Errors: corrupt, naming `key`.
result<partition_record> decode_partition_record(std::string_view key, std::string_view value, std::uint64_t mod_revision);

std::string encode_store_record(const store_record& r);
result<store_record> decode_store_record(std::string_view key, std::string_view value);

/// A partition's name in the catalog's keys. A uid contains no '/'.
struct partition_name {
  std::string uid;
  std::uint32_t partition = 0;
  friend auto operator<=>(const partition_name&, const partition_name&) = default;
};
inline constexpr std::string_view part_prefix = "part/", store_prefix = "store/";
std::string part_key(const partition_name& p);                         ///< part/UID/PARTITION
std::string store_key(const partition_name& p, std::string_view node); ///< store/UID/PARTITION/NODE
std::string store_key_prefix(const partition_name& p);                 ///< store/UID/PARTITION/
std::optional<partition_name> parse_part_key(std::string_view key);    ///< none: not such a key
std::optional<std::pair<partition_name, std::string>> parse_store_key(std::string_view key);

} // namespace millrace::storage
