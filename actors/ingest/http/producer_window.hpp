#pragma once
// PUSHES, EACH ONCE: what makes a retried push harmless. Pure: no clock, no I/O; the ingest actor asks before it stages a body
// and tells what became of it.
//
//   begin() -> accepted: stage the blocks with `state` in one append -> acknowledged() | failed() -> answer all `tickets`
//           -> in_flight: keep the request; its ticket comes back with the first one's
//           -> repeat (200, stage nothing) | too_old (409) | busy (429) | too_many_producers (429) | bad_producer (400)

#include "actors/errc.hpp"
#include "actors/ingest/http/sequence_window.hpp"
#include "storage/batch.hpp"

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace millrace::actors::ingest::http {

struct producer_limits {
  /// Forgetting the least recently used one would let its retries be staged twice; so new ones are refused instead.
  std::size_t producers_max = 100'000;
  std::size_t producer_bytes_max = 256; ///< of a producer's id
  std::size_t lanes_max = 32;           ///< pushes of one producer in flight at once
  std::size_t waiting_max = 64;         ///< repeats waiting for one push in flight
};

/// Owner: one ingest actor; not thread safe.
/// Source: the log. Each push carries its producer's window as source state in the same append as its changes.
///
/// State keys are "push/LANE/PRODUCER"; a value is a sequence_window. Why lanes: the log keeps the newest value of a key, so two
/// pushes of one producer that are in flight at once must not write the same key: if the value of the second included the
/// first, and only the first append failed, the first would count as staged and its retry would be lost. Each push in flight
/// therefore writes a lane of its own, with what is acknowledged plus itself; the union of the lanes is what is staged.
class producer_window {
public:
  explicit producer_window(producer_limits limits = {}) : limits_(limits) {}

  /// Starts from the log's source state; keys of other sources are left alone. Errors: log_mismatch, with the key.
  result<void> restore(std::span<const storage::state_entry> state);

  enum class verdict : std::uint8_t { accepted, in_flight, repeat, too_old, busy, too_many_producers, bad_producer };
  struct admission {
    verdict what = verdict::accepted;
    std::vector<storage::state_entry> state; ///< accepted: goes into the same append as the changes
    std::string message;                     ///< for the client, unless accepted, in_flight or repeat
  };
  /// `ticket` names the request to its caller.
  admission begin(const std::string& producer, std::uint64_t sequence, std::uint64_t ticket);

  /// The append that began so is durable, or failed for good (nothing of it is in the log). Gives the tickets to answer: the
  /// first request's, then the repeats that waited. An append with an unknown outcome is neither: make a new producer_window
  /// from the log.
  std::vector<std::uint64_t> acknowledged(const std::string& producer, std::uint64_t sequence);
  std::vector<std::uint64_t> failed(const std::string& producer, std::uint64_t sequence);

  std::size_t producers() const noexcept { return producers_.size(); }
  std::size_t in_flight() const noexcept { return in_flight_; }

private:
  struct push {
    std::vector<std::uint64_t> tickets;
    std::vector<std::uint32_t> lanes; ///< which nobody else may write: the first is its own, the others it removes
  };
  struct producer_state {
    std::string window;                    ///< encoded: 100,000 decoded windows would take 125 MB
    std::vector<bool> in_log, busy;        ///< by lane
    std::map<std::uint64_t, push> flights; ///< by sequence
  };
  std::vector<std::uint64_t> settle(const std::string& producer, std::uint64_t sequence, bool durable);

  producer_limits limits_;
  std::unordered_map<std::string, producer_state> producers_;
  std::size_t in_flight_ = 0;
};

} // namespace millrace::actors::ingest::http
