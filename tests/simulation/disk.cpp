#include "disk.hpp"

#include "scheduler.hpp"

namespace millrace::simulation {

const st::raw_entry* disk_image::at(st::offset base) const {
  const auto* e = covering(base);
  return e && e->base == base ? e : nullptr;
}

const st::raw_entry* disk_image::covering(st::offset o) const {
  auto it = std::upper_bound(entries.begin(), entries.end(), o, [](st::offset at, const auto& e) { return at < e.base; });
  if (it == entries.begin()) return nullptr;
  --it;
  return o < it->end() ? &*it : nullptr;
}

void disk_image::cut(st::offset to) {
  while (!entries.empty() && entries.back().end() > to) {
    if (entries.back().base < to)
      throw broken{"a truncation to offset " + std::to_string(to.value) + " would cut an entry in two"};
    entries.pop_back();
  }
}

void disk::apply(disk_image& to, const operation& o) {
  if (const auto* a = std::get_if<append>(&o)) {
    for (const auto& e : a->entries) {
      if (e.base != to.end())
        throw broken{"an append at offset " + std::to_string(e.base.value) + " to a log that ends at " +
                     std::to_string(to.end().value)};
      if (!to.entries.empty() && !(e.prev == to.entries.back().hash))
        throw broken{"an append whose hash does not continue the log"};
      to.entries.push_back(e);
    }
    to.hw = std::max(to.hw, a->hw);
  } else if (const auto* t = std::get_if<truncate>(&o)) {
    to.cut(t->end);
    to.seen = std::max(to.seen, t->seen);
  } else if (const auto* s = std::get_if<see>(&o)) {
    to.seen = std::max(to.seen, s->epoch);
  } else if (const auto* r = std::get_if<reset>(&o)) {
    to = disk_image{r->store, r->id, to.seen, r->start, {}, {}};
  } else if (const auto* tr = std::get_if<trim>(&o)) {
    auto keep = to.entries.begin();
    while (keep != to.entries.end() && keep->end() <= tr->start) ++keep;
    to.entries.erase(to.entries.begin(), keep);
    to.start = std::max(to.start, tr->start);
  }
}

void disk::write(std::uint64_t ticket, operation o) {
  apply(cache_, o);
  ticket_ = ticket;
  waiting_.emplace_back(ticket, std::move(o));
}

void disk::sync(std::uint64_t ticket) {
  while (!waiting_.empty() && waiting_.front().first <= ticket) {
    apply(durable_, waiting_.front().second);
    waiting_.pop_front();
  }
}

void disk::crash(std::size_t kept) {
  for (; kept > 0 && !waiting_.empty(); --kept) {
    apply(durable_, waiting_.front().second);
    waiting_.pop_front();
  }
  waiting_.clear();
  durable_.hw = std::min(durable_.hw, durable_.end());
  cache_ = durable_;
  ticket_ = 0;
}

void disk::replace(disk_image image) {
  waiting_.clear();
  cache_ = durable_ = std::move(image);
  ticket_ = 0;
}

st::replication::disk_facts disk::facts() const {
  st::replication::disk_facts f{cache_.store, cache_.id, cache_.seen, cache_.start, cache_.hw, {{}, cache_.end(), {}}, {}};
  for (const auto& e : cache_.entries)
    if (f.epochs.empty() || f.epochs.back().epoch < e.epoch) f.epochs.push_back({e.epoch, e.base});
  if (!cache_.entries.empty()) {
    f.position.last_epoch = cache_.entries.back().epoch;
    f.position.hash = cache_.entries.back().hash;
  }
  return f;
}

st::result<std::vector<st::raw_entry>> disk::read_raw(st::offset from, std::size_t bytes) const {
  if (from < cache_.start) return st::failure{st::errc::trimmed, "trimmed"};
  if (from >= cache_.end()) return st::failure{st::errc::end_of_log, "end of the log"};
  const auto* e = cache_.at(from);
  if (!e) return st::failure{st::errc::invalid, "inside of an entry"};
  std::vector<st::raw_entry> out;
  std::size_t total = 0;
  for (const auto* last = cache_.entries.data() + cache_.entries.size(); e != last; ++e) {
    total += e->value->size();
    if (!out.empty() && total > bytes) break;
    out.push_back(*e);
  }
  return out;
}

} // namespace millrace::simulation
