#include "actors/ingest/postgres/xid_snapshot.hpp"

#include "actors/ingest/postgres/position.hpp"

#include <algorithm>

namespace millrace::actors::ingest::postgres {

std::optional<xid_snapshot> xid_snapshot::parse(std::string_view text) {
  const auto a = text.find(':');
  const auto b = a == std::string_view::npos ? a : text.find(':', a + 1);
  if (b == std::string_view::npos) return std::nullopt;
  const auto xmin = to_number(text.substr(0, a)), xmax = to_number(text.substr(a + 1, b - a - 1));
  if (!xmin || !xmax || *xmin > *xmax) return std::nullopt;
  xid_snapshot s;
  s.xmin_ = *xmin;
  s.xmax_ = *xmax;
  for (auto rest = text.substr(b + 1); !rest.empty();) {
    const auto comma = std::min(rest.find(','), rest.size());
    const auto id = to_number(rest.substr(0, comma));
    if (!id) return std::nullopt;
    s.running_.push_back(*id);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  std::sort(s.running_.begin(), s.running_.end());
  return s;
}

std::string xid_snapshot::text() const {
  auto out = std::to_string(xmin_) + ':' + std::to_string(xmax_) + ':';
  for (const auto id : running_) out += std::to_string(id) + ',';
  if (!running_.empty()) out.pop_back();
  return out;
}

bool xid_snapshot::sees(xid id) const noexcept {
  if (before(id.value, static_cast<std::uint32_t>(xmin_))) return true;
  if (!before(id.value, static_cast<std::uint32_t>(xmax_))) return false;
  const auto whole = xmin_ + (id.value - static_cast<std::uint32_t>(xmin_)); // not before xmin: the distance is small
  return !std::binary_search(running_.begin(), running_.end(), whole);
}

} // namespace millrace::actors::ingest::postgres
