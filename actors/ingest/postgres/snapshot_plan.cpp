#include "actors/ingest/postgres/snapshot_plan.hpp"

#include "actors/ingest/postgres/position.hpp"

#include <algorithm>

namespace millrace::actors::ingest::postgres {

snapshot_plan::snapshot_plan(const std::vector<leaf_table>& leaves, std::uint64_t chunk_rows, std::uint64_t chunk_bytes,
                             bool by_block) {
  for (const auto& l : leaves) {
    leaf made{l.oid, l.filenode, l.blocks, 0};
    if (by_block) {
      const auto bytes = static_cast<double>(chunk_bytes) / std::max(l.bytes_per_block, 1.0);
      const auto rows =
          l.rows_per_block > 0 ? static_cast<double>(chunk_rows) / l.rows_per_block : static_cast<double>(chunk_rows) / 100;
      made.chunk_blocks = static_cast<std::uint64_t>(std::clamp(chunk_rows != 0 ? rows : bytes, 1.0, 1048576.0));
    } else if (l.blocks == 0) {
      made.chunk_blocks = 1; // no block, no chunk
    }
    leaves_.push_back(made);
  }
  count();
}

void snapshot_plan::count() {
  total_ = 0;
  for (const auto& l : leaves_) total_ += l.chunks();
}

snapshot_plan::range snapshot_plan::at(std::uint64_t chunk) const {
  for (const auto& l : leaves_) {
    if (chunk >= l.chunks()) {
      chunk -= l.chunks();
      continue;
    }
    if (l.chunk_blocks == 0) return {l, 0, 0};
    return {l, chunk * l.chunk_blocks, std::min(l.blocks, (chunk + 1) * l.chunk_blocks)};
  }
  return {};
}

std::optional<std::uint64_t> snapshot_plan::give() {
  if (!again_.empty()) {
    const auto chunk = again_.front();
    again_.pop_front();
    return chunk;
  }
  next_ = std::max(next_, prefix_);
  while (next_ < total_ && beyond_.contains(next_)) ++next_;
  if (next_ >= total_) return std::nullopt;
  return next_++;
}

void snapshot_plan::take_back(std::uint64_t chunk) { again_.push_back(chunk); }

void snapshot_plan::done(std::uint64_t chunk) {
  beyond_.insert(chunk);
  while (!beyond_.empty() && *beyond_.begin() == prefix_) {
    beyond_.erase(beyond_.begin());
    ++prefix_;
  }
}

std::string snapshot_plan::text() const {
  auto out = std::to_string(prefix_) + ' ';
  for (const auto c : beyond_) out += std::to_string(c) + ',';
  if (beyond_.empty())
    out += '-';
  else
    out.pop_back();
  for (const auto& l : leaves_)
    out += ' ' + std::to_string(l.oid) + ':' + std::to_string(l.filenode) + ':' + std::to_string(l.blocks) + ':' +
           std::to_string(l.chunk_blocks);
  return out;
}

namespace {
/// "1,2,3" as numbers.
std::optional<std::vector<std::uint64_t>> numbers(std::string_view text, char between) {
  std::vector<std::uint64_t> out;
  while (!text.empty()) {
    const auto end = std::min(text.find(between), text.size());
    const auto n = to_number(text.substr(0, end));
    if (!n) return std::nullopt;
    out.push_back(*n);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}
} // namespace

std::optional<snapshot_plan> snapshot_plan::parse(std::string_view text) {
  word_reader words(text);
  snapshot_plan p;
  const auto prefix = words.number();
  const auto list = words.next();
  const auto beyond = numbers(list == "-" ? "" : list, ',');
  if (!prefix || !beyond) return std::nullopt;
  p.prefix_ = *prefix;
  p.beyond_.insert(beyond->begin(), beyond->end());
  while (!words.empty()) {
    const auto n = numbers(words.next(), ':');
    if (!n || n->size() != 4 || (*n)[0] > UINT32_MAX || (*n)[1] > UINT32_MAX) return std::nullopt;
    p.leaves_.push_back({static_cast<std::uint32_t>((*n)[0]), static_cast<std::uint32_t>((*n)[1]), (*n)[2], (*n)[3]});
  }
  p.count();
  if (p.prefix_ > p.total_ || (!p.beyond_.empty() && *p.beyond_.rbegin() >= p.total_)) return std::nullopt;
  return p;
}

} // namespace millrace::actors::ingest::postgres
