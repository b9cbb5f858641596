#include "actors/cluster/controller.hpp"

#include <algorithm>

namespace millrace::actors::cluster {
namespace {

using namespace std::chrono_literals;
using storage::catalog_guard;
using storage::errc;

constexpr auto look_every = 1s;

std::string key_of(std::string_view prefix, std::string_view node) { return std::string(prefix) + std::string(node); }

std::mt19937_64 seeded() {
  std::random_device device;
  std::seed_seq words{device(), device(), device(), device()};
  return std::mt19937_64(words);
}

} // namespace

controller::controller(storage::catalog& catalog, storage::catalog_mirror& mirror, const membership& self,
                       controller_options options, shape_reader shape, std::function<void(const std::string&)> log)
    : catalog_(catalog), mirror_(mirror), self_(self), options_(std::move(options)), shape_(std::move(shape)),
      log_(std::move(log)), random_(seeded()) {
  listener_ = mirror_.listen({}, [this] {
    std::lock_guard lock(mutex_);
    news_ = true;
    changed_.notify_all();
  });
  thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
}

controller::~controller() {
  thread_.request_stop();
  thread_.join();
  listener_.reset();
  if (term_ != 0)
    (void)catalog_.commit({catalog_guard::created_at(std::string(controller_key), term_)},
                          {{std::string(controller_key), std::nullopt, 0}});
}

controller_status controller::status() const {
  std::lock_guard lock(mutex_);
  return status_;
}

std::uint64_t controller::elect() {
  const auto session = self_.session(), lease = self_.lease();
  const auto there = mirror_.get(controller_key);
  if (there) {
    const auto r = decode_controller_record(there->value);
    const bool ours = r && session != 0 && r.value().node == self_.node() && r.value().session == session;
    std::lock_guard lock(mutex_);
    status_.node = r ? r.value().node : std::string{};
    return ours ? there->create_revision : 0;
  }
  if (session == 0 || lease == 0 || mirror_.revision() == 0) return 0;
  const std::string key(controller_key);
  auto won = catalog_.commit({{key, 0}, catalog_guard::created_at(key_of(node_prefix, self_.node()), session)},
                             {{key, encode_controller_record({self_.node(), session}), lease}});
  if (!won) return 0; // somebody else was faster, or the lease ended; the mirror will tell
  mirror_.wait_for(won.value(), look_every);
  if (log_) log_("node " + self_.node() + " is the controller of the cluster");
  std::lock_guard lock(mutex_);
  status_.node = self_.node();
  return won.value();
}

view_times controller::times(const cluster_view& view) {
  const auto now = clock::now();
  view_times out;
  std::map<std::string, clock::time_point> down;
  for (const auto& m : view.members) {
    if (m.alive) continue;
    const auto since = down_since_.contains(m.node) ? down_since_[m.node] : now;
    down[m.node] = since;
    out.down[m.node] = std::chrono::duration_cast<std::chrono::milliseconds>(now - since);
  }
  down_since_ = std::move(down);
  std::map<storage::partition_name, clock::time_point> waiting;
  for (const auto& [name, record] : view.parts) {
    if (record.epoch.value != 0) continue;
    const auto since = waiting_since_.contains(name) ? waiting_since_[name] : now;
    waiting[name] = since;
    out.waited[name] = std::chrono::duration_cast<std::chrono::milliseconds>(now - since);
  }
  waiting_since_ = std::move(waiting);
  return out;
}

void controller::step(std::uint64_t term) {
  const auto view = read_view(mirror_, shape_);
  const auto plan = decide(view, times(view), options_, [&] { return random_() | 1; });
  std::uint64_t newest = 0, conflicts = 0, done = 0;
  for (auto d : plan.decisions) {
    d.guards.push_back(catalog_guard::created_at(std::string(controller_key), term));
    auto written = catalog_.commit(d.guards, d.writes);
    if (written) {
      newest = written.value();
      ++done;
      if (log_) log_(d.what);
    } else if (written.error().is(errc::conflict)) {
      ++conflicts; // a leader or an operator was faster: decided anew from what they wrote
    } else {
      if (log_) log_(d.what + ": cannot be written, tried again: " + written.error().message);
      break;
    }
  }
  if (newest != 0) mirror_.wait_for(newest, look_every); // else the next step would decide the same again
  std::lock_guard lock(mutex_);
  if (log_)
    for (const auto& s : plan.shortages)
      if (std::find(status_.shortages.begin(), status_.shortages.end(), s) == status_.shortages.end()) log_(s);
  status_.shortages = plan.shortages;
  status_.decisions += done;
  status_.conflicts += conflicts;
  news_ |= conflicts != 0;
}

void controller::run(std::stop_token stop) {
  while (!stop.stop_requested()) {
    term_ = elect();
    {
      std::lock_guard lock(mutex_);
      status_.active = term_ != 0;
      if (term_ == 0) status_.shortages.clear();
    }
    if (term_ != 0)
      step(term_);
    else
      down_since_.clear(), waiting_since_.clear();
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, stop, look_every, [&] { return news_; });
    if (news_ && !stop.stop_requested()) { // changes come in swarms: one look for many
      news_ = false;
      changed_.wait_for(lock, stop, 20ms, [] { return false; });
    }
  }
}

} // namespace millrace::actors::cluster
