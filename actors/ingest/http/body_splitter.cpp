#include "actors/ingest/http/body_splitter.hpp"

#include "actors/ingest/framing.hpp"

namespace millrace::actors::ingest::http {

std::string origin_of(const std::string& producer, std::uint64_t sequence, bool has_sequence) {
  return has_sequence ? producer + '/' + std::to_string(sequence) : "http";
}

std::vector<storage::change_block> split_body(std::string body, storage::envelope envelope, const std::string& origin,
                                              std::vector<storage::state_entry> state, std::size_t block_bytes) {
  std::vector<storage::change_block> out;
  const auto new_block = [&]() -> storage::change_block& {
    auto& block = out.emplace_back();
    block.envelope = envelope;
    block.origin = origin;
    return block;
  };
  std::vector<std::uint32_t> starts, lengths;
  frame_lines(body, byte_order_mark(body), true, {starts, lengths});

  if (!starts.empty() && body.size() <= block_bytes) { // the usual push: nothing is copied
    auto& block = new_block();
    block.payloads = std::move(body);
    block.starts = std::move(starts);
    block.lengths = std::move(lengths);
  } else {
    for (std::size_t first = 0; first < starts.size();) {
      const std::uint32_t begin = starts[first];
      std::size_t last = first; // half open below
      while (last < starts.size() && (last == first || starts[last] + lengths[last] - begin <= block_bytes)) ++last;
      auto& block = new_block();
      block.origin_position = begin;
      block.payloads.assign(body, begin, starts[last - 1] + lengths[last - 1] - begin);
      block.lengths.assign(lengths.begin() + static_cast<std::ptrdiff_t>(first),
                           lengths.begin() + static_cast<std::ptrdiff_t>(last));
      block.starts.reserve(last - first);
      for (; first < last; ++first) block.starts.push_back(starts[first] - begin);
    }
  }
  if (out.empty() && !state.empty()) new_block();
  if (!out.empty()) out.back().source_state = std::move(state);
  return out;
}

std::uint64_t changes_in(const std::vector<storage::change_block>& blocks) noexcept {
  std::uint64_t n = 0;
  for (const auto& block : blocks) n += block.starts.size();
  return n;
}

} // namespace millrace::actors::ingest::http
