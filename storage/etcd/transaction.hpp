#pragma once
// A guarded transaction that is applied at most once and whose outcome is known, though answers get lost.
//
// An etcd transaction that was sent and not answered was applied, or not, or will be: a stopped server applies it when it goes
// on. Repeating it is right only if the repeat can tell "ours went through before" from "somebody else was faster", and if a
// late original can do no harm. Mod revision guards alone give neither: a commit without guards would be applied twice, one
// guarded by absence could come to life after the key was deleted again, and a value that somebody changed since hides that ours
// was there in between. So each transaction
//   - is guarded by the mod revision of a marker key of its own, PREFIX/.txn/CLIENT/SLOT, and
//   - if its guards hold: writes its nonce there, which makes every copy of it fail from then on;
//     if not, and the marker is not its nonce: writes "void" there, to the same end, and reads what the guards see.
// A marker that carries the nonce when a try fails means that an earlier try went through, at the marker's mod revision. A slot
// serves one transaction at a time. A transaction given up (unknown_outcome) can still be applied until the next one of its slot
// is answered. Markers go with a lease of an hour, made anew in time: without keepalives, and a process that dies leaves nothing
// for ever.

#include "storage/etcd/client.hpp"

namespace millrace::storage::etcd {

/// Thread safe.
class transactions {
public:
  /// `prefix` ends with '/'.
  transactions(client& c, std::string prefix);
  /// As catalog::commit(); keys without the prefix.
  result<std::uint64_t> commit(const std::vector<catalog_guard>& guards, const std::vector<catalog_write>& writes);
  /// Lets the markers go. Best effort.
  void end();

  static constexpr std::string_view reserved = ".txn/";

private:
  struct slot {
    std::string key;
    std::uint64_t marker_revision = 0;
    bool busy = false;
  };
  class hold;

  result<std::uint64_t> marker_lease(bool anew);
  json body(const std::vector<catalog_guard>& guards, const std::vector<catalog_write>& writes, const slot& s,
            const std::string& nonce, std::uint64_t lease) const;
  result<std::uint64_t> run(slot& s, const std::vector<catalog_guard>& guards, const std::vector<catalog_write>& writes);
  result<std::uint64_t> check_only(const std::vector<catalog_guard>& guards);
  json compare(const catalog_guard& guard) const;
  failure conflict(const std::vector<catalog_guard>& guards, const json& answer, std::size_t first) const;
  /// After an error of a repeat: did the first one go through?
  result<std::optional<std::uint64_t>> applied_at(const slot& s, const std::string& nonce);

  client& client_;
  const std::string prefix_, identity_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<slot>> slots_;
  std::uint64_t lease_ = 0;
  std::chrono::steady_clock::time_point lease_made_;
};

} // namespace millrace::storage::etcd
