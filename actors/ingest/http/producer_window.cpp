#include "actors/ingest/http/producer_window.hpp"

#include <algorithm>
#include <charconv>

namespace millrace::actors::ingest::http {
namespace {

constexpr std::string_view prefix = "push/";

std::string lane_key(std::size_t lane, const std::string& producer) {
  return std::string{prefix} + std::to_string(lane) + '/' + producer;
}

void grow(std::vector<bool>& flags, std::size_t size) {
  if (flags.size() < size) flags.resize(size);
}

} // namespace

result<void> producer_window::restore(std::span<const storage::state_entry> state) {
  producers_.clear();
  in_flight_ = 0;
  for (const auto& [key, value] : state) {
    if (!key.starts_with(prefix) || value.empty()) continue;
    const auto bad = [&] {
      return make_failure(errc::log_mismatch, "the log's source state has the key \"" + key + "\" with " +
                                                  std::to_string(value.size()) +
                                                  " bytes, expected push/LANE/PRODUCER with a window of sequence numbers");
    };
    const char* const end = key.data() + key.size();
    std::uint32_t lane = 0;
    const auto [slash, problem] = std::from_chars(key.data() + prefix.size(), end, lane);
    if (problem != std::errc{} || slash == end || *slash != '/' || lane >= 1u << 16) return bad();
    const auto window = sequence_window::decode(value);
    if (!window) return bad();
    auto& known = producers_[std::string{slash + 1, end}];
    auto merged = sequence_window::decode(known.window);
    merged->merge(*window);
    known.window = merged->encode();
    grow(known.in_log, lane + 1);
    known.in_log[lane] = true;
  }
  return success();
}

producer_window::admission producer_window::begin(const std::string& producer, std::uint64_t sequence, std::uint64_t ticket) {
  const auto refuse = [](verdict v, std::string why) { return admission{v, {}, std::move(why)}; };
  if (producer.empty() || producer.size() > limits_.producer_bytes_max)
    return refuse(verdict::bad_producer, "Producer-Id has " + std::to_string(producer.size()) + " bytes, expected 1 to " +
                                             std::to_string(limits_.producer_bytes_max));
  auto at = producers_.find(producer);
  if (at == producers_.end()) {
    if (producers_.size() >= limits_.producers_max)
      return refuse(verdict::too_many_producers, "this pipeline knows " + std::to_string(producers_.size()) +
                                                     " producers, the most it may; use a Producer-Id that it knows");
    at = producers_.try_emplace(producer).first;
  }
  auto& p = at->second;
  if (const auto same = p.flights.find(sequence); same != p.flights.end()) {
    if (same->second.tickets.size() > limits_.waiting_max)
      return refuse(verdict::busy, "too many repeats of sequence " + std::to_string(sequence) + " wait for the first one");
    same->second.tickets.push_back(ticket);
    return {verdict::in_flight, {}, {}};
  }
  auto window = *sequence_window::decode(p.window);
  switch (window.of(sequence)) {
  case sequence_window::standing::staged:
    return {verdict::repeat, {}, {}};
  case sequence_window::standing::too_old:
    return refuse(verdict::too_old, "sequence " + std::to_string(sequence) + " is more than " +
                                        std::to_string(sequence_window::reach) + " below " + std::to_string(window.highest()) +
                                        ", the highest of producer " + producer + ", and not known as staged");
  case sequence_window::standing::fresh:
    break;
  }
  if (p.flights.size() >= limits_.lanes_max)
    return refuse(verdict::busy,
                  "producer " + producer + " has " + std::to_string(p.flights.size()) + " pushes in flight, the most it may");

  const auto lane = static_cast<std::size_t>(std::find(p.busy.begin(), p.busy.end(), false) - p.busy.begin());
  grow(p.busy, std::max(lane + 1, p.in_log.size()));
  grow(p.in_log, p.busy.size());
  window.add(sequence);
  admission out;
  push flight{{ticket}, {static_cast<std::uint32_t>(lane)}};
  out.state.push_back({lane_key(lane, producer), window.encode()});
  // Idle lanes say nothing that this value does not say: they go with the same append, and stay ours until it is settled, so
  // that no later push writes one that this one removes.
  for (std::size_t idle = 0; idle < p.busy.size(); ++idle) {
    if (idle == lane || p.busy[idle] || !p.in_log[idle]) continue;
    flight.lanes.push_back(static_cast<std::uint32_t>(idle));
    out.state.push_back({lane_key(idle, producer), {}});
  }
  for (const auto l : flight.lanes) p.busy[l] = true;
  p.flights.emplace(sequence, std::move(flight));
  ++in_flight_;
  return out;
}

std::vector<std::uint64_t> producer_window::settle(const std::string& producer, std::uint64_t sequence, bool durable) {
  const auto at = producers_.find(producer);
  if (at == producers_.end()) return {};
  auto& p = at->second;
  const auto found = p.flights.find(sequence);
  if (found == p.flights.end()) return {};
  const push done = std::move(found->second);
  p.flights.erase(found);
  --in_flight_;
  for (const auto lane : done.lanes) {
    p.busy[lane] = false;
    if (durable) p.in_log[lane] = lane == done.lanes.front();
  }
  if (durable) {
    auto window = *sequence_window::decode(p.window);
    window.add(sequence);
    p.window = window.encode();
  } else if (p.window.empty() && p.flights.empty()) {
    producers_.erase(at); // never staged anything
  }
  return done.tickets;
}

std::vector<std::uint64_t> producer_window::acknowledged(const std::string& producer, std::uint64_t sequence) {
  return settle(producer, sequence, true);
}

std::vector<std::uint64_t> producer_window::failed(const std::string& producer, std::uint64_t sequence) {
  return settle(producer, sequence, false);
}

} // namespace millrace::actors::ingest::http
