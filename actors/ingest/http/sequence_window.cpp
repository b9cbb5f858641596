#include "actors/ingest/http/sequence_window.hpp"

#include <algorithm>

namespace millrace::actors::ingest::http {
namespace {

enum class form : char { runs = 'r', bitmap = 'b' };

void put(std::string& out, std::uint64_t v) {
  for (; v >= 0x80; v >>= 7) out.push_back(static_cast<char>(v | 0x80));
  out.push_back(static_cast<char>(v));
}

bool take(std::string_view& in, std::uint64_t& v) {
  v = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (in.empty()) return false;
    const auto byte = static_cast<unsigned char>(in.front());
    in.remove_prefix(1);
    if (shift == 63 && byte > 1) return false;
    v |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

} // namespace

sequence_window::standing sequence_window::of(std::uint64_t sequence) const noexcept {
  if (empty_ || sequence > highest_) return standing::fresh;
  const std::uint64_t distance = highest_ - sequence;
  if (distance <= reach) return bit(distance) ? standing::staged : standing::fresh;
  return distance - reach <= below_ ? standing::staged : standing::too_old;
}

/// Moves the window up. What leaves it joins the run below if it is connected to the window's new lower end.
void sequence_window::raise(std::uint64_t to) noexcept {
  const std::uint64_t by = to - highest_;
  std::uint64_t run = 0;
  if (by <= bits) {
    // In distances from the old highest, the first number below the new window is `bits - by`.
    std::uint64_t distance = bits - by;
    while (distance < bits && bit(distance)) {
      ++distance;
      ++run;
    }
    if (distance == bits) run += below_;
  }
  below_ = run;
  if (by >= bits) {
    seen_.fill(0);
  } else {
    const std::size_t words = by / 64, shift = by % 64;
    for (std::size_t i = seen_.size(); i-- > 0;) {
      std::uint64_t word = i >= words ? seen_[i - words] << shift : 0;
      if (shift != 0 && i > words) word |= seen_[i - words - 1] >> (64 - shift);
      seen_[i] = word;
    }
    seen_.back() &= (std::uint64_t{1} << (bits % 64)) - 1;
  }
  highest_ = to;
}
static_assert((sequence_window::reach + 1) % 64 != 0, "raise() masks the last word");

void sequence_window::add(std::uint64_t sequence) noexcept {
  if (empty_) {
    empty_ = false;
    highest_ = sequence;
  } else if (sequence > highest_) {
    raise(sequence);
  }
  const std::uint64_t distance = highest_ - sequence;
  if (distance <= reach) set(distance);
}

void sequence_window::merge(const sequence_window& other) {
  if (other.empty_) return;
  if (empty_) {
    *this = other;
    return;
  }
  sequence_window low = other;
  if (other.highest_ > highest_) std::swap(low, *this);
  // Bring the older one to the same window; then both are bit by bit comparable.
  if (low.highest_ < highest_) low.raise(highest_);
  for (std::size_t i = 0; i < seen_.size(); ++i) seen_[i] |= low.seen_[i];
  below_ = std::max(below_, low.below_);
}

std::string sequence_window::encode() const {
  std::string out;
  if (empty_) return out;
  put(out, highest_);
  put(out, below_);
  std::string runs; // lengths of staged and missing runs in turn, from the highest down; what follows the last is missing
  bool staged = true;
  std::uint64_t length = 0;
  for (std::uint64_t d = 0; d < bits; ++d) {
    if (bit(d) == staged) {
      ++length;
      continue;
    }
    put(runs, length);
    staged = !staged;
    length = 1;
  }
  if (staged) put(runs, length);
  if (runs.size() < seen_.size() * 8) {
    out.push_back(static_cast<char>(form::runs));
    return out + runs;
  }
  out.push_back(static_cast<char>(form::bitmap));
  for (const std::uint64_t word : seen_)
    for (int i = 0; i < 8; ++i) out.push_back(static_cast<char>(word >> (8 * i)));
  return out;
}

std::optional<sequence_window> sequence_window::decode(std::string_view in) {
  sequence_window w;
  if (in.empty()) return w;
  w.empty_ = false;
  if (!take(in, w.highest_) || !take(in, w.below_) || in.empty()) return {};
  const char kind = in.front();
  in.remove_prefix(1);
  if (kind == static_cast<char>(form::runs)) {
    std::uint64_t at = 0;
    for (bool staged = true; !in.empty(); staged = !staged) {
      std::uint64_t length = 0;
      if (!take(in, length) || length > bits - at) return {};
      for (; length > 0; --length, ++at)
        if (staged) w.set(at);
    }
    return w;
  }
  if (kind != static_cast<char>(form::bitmap) || in.size() != w.seen_.size() * 8) return {};
  for (auto& word : w.seen_) {
    for (int i = 0; i < 8; ++i)
      word |= static_cast<std::uint64_t>(static_cast<unsigned char>(in[static_cast<std::size_t>(i)])) << (8 * i);
    in.remove_prefix(8);
  }
  return w;
}

} // namespace millrace::actors::ingest::http
