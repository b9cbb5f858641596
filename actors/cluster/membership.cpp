#include "actors/cluster/membership.hpp"

#include <algorithm>
#include <ctime>
#include <random>

namespace millrace::actors::cluster {
namespace {

using namespace std::chrono_literals;
using storage::errc;
using storage::failure;
using state = enum membership_status::state;

std::string key_of(std::string_view prefix, std::string_view node) { return std::string(prefix) + std::string(node); }

std::string when(std::int64_t us) {
  const std::time_t seconds = us / 1'000'000;
  std::tm parts{};
  char out[32] = "";
  if (gmtime_r(&seconds, &parts)) std::strftime(out, sizeof out, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return out;
}

} // namespace

const char* to_string(state s) {
  switch (s) {
  case state::joining:
    return "joining";
  case state::member:
    return "member";
  case state::unreachable:
    return "unreachable";
  case state::refused:
    return "refused";
  }
  return "joining";
}

std::vector<member> members_of(const storage::catalog_mirror& mirror) {
  std::map<std::string, member> all;
  const auto take = [&](std::string_view prefix, bool alive) {
    for (const auto& e : mirror.list(prefix)) {
      auto& m = all[e.key.substr(prefix.size())];
      m.node = e.key.substr(prefix.size());
      if (alive) m.alive = true, m.session = e.create_revision;
      if (auto r = decode_node_record(e.key, e.value)) m.record = std::move(r).value();
    }
  };
  take(host_prefix, false);
  take(node_prefix, true); // newer than what host/ says, if it differs
  for (auto& [node, m] : all) {
    m.draining = mirror.get(key_of(drain_prefix, node)).has_value();
    m.leaving = mirror.get(key_of(leave_prefix, node)).has_value();
  }
  std::vector<member> list;
  for (auto& [node, m] : all) list.push_back(std::move(m));
  return list;
}

membership::membership(storage::catalog& catalog, storage::catalog_mirror& mirror, membership_options options)
    : catalog_(catalog), mirror_(mirror), options_(std::move(options)), key_(key_of(node_prefix, options_.node)) {
  std::random_device random;
  while (options_.record.process == 0) options_.record.process = (std::uint64_t{random()} << 32) | random();
  listener_ = mirror_.listen(key_, [this] { changed_.notify_all(); });
  thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
}

membership::~membership() {
  thread_.request_stop();
  thread_.join();
  listener_.reset();
  if (has_session_ && status_.state == state::member) (void)catalog_.revoke(lease_);
}

void membership::say(const std::string& line) const {
  if (options_.log) options_.log(line);
}

storage::result<std::uint64_t> membership::wait_joined(std::chrono::milliseconds within) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, within, [&] { return has_session_ || status_.state == state::refused; });
  if (has_session_) return status_.session;
  if (status_.state == state::refused) return failure{errc::conflict, status_.reason};
  return failure{errc::unavailable, "node " + options_.node + " could not join within " + std::to_string(within.count()) + " ms" +
                                        (status_.reason.empty() ? "" : ": " + status_.reason)};
}

std::uint64_t membership::session() const {
  std::lock_guard lock(mutex_);
  return has_session_ ? status_.session : 0;
}
std::uint64_t membership::lease() const {
  std::lock_guard lock(mutex_);
  return has_session_ ? lease_ : 0;
}

membership_status membership::status() const {
  std::lock_guard lock(mutex_);
  auto s = status_;
  s.since_alive = std::chrono::duration_cast<std::chrono::milliseconds>(clock::now() - alive_at_);
  return s;
}

void membership::began(std::uint64_t session) {
  {
    std::lock_guard lock(mutex_);
    has_session_ = true;
    status_.state = state::member;
    status_.session = session;
    status_.reason.clear();
    ++status_.sessions;
    alive_at_ = clock::now();
    changed_.notify_all();
  }
  occupant_ = 0;
  say("node " + options_.node + " is a member of the cluster, session " + std::to_string(session));
  if (options_.on_session) options_.on_session(session);
}

void membership::ended(const std::string& why) {
  {
    std::lock_guard lock(mutex_);
    has_session_ = false;
    lease_ = 0;
    status_.state = state::joining;
    status_.reason = why;
  }
  say("node " + options_.node + ": its session " + std::to_string(status_.session) + " is over (" + why +
      "); what it led is elected anew. Taking a new session");
}

void membership::cannot(const failure& why) {
  bool news = false;
  {
    std::lock_guard lock(mutex_);
    ++status_.keepalive_failures;
    news = status_.state != state::unreachable;
    status_.state = state::unreachable;
    status_.reason = why.message;
    changed_.notify_all();
  }
  if (news)
    say("node " + options_.node +
        " cannot reach the catalog and goes on with what it leads; elections and changes of in-sync sets "
        "wait: " +
        why.message);
}

/// The key is there and not ours.
std::chrono::milliseconds membership::occupied(const storage::catalog_entry& entry) {
  const auto other = decode_node_record(entry.key, entry.value);
  if (other && options_.record.data_id != 0 && other.value().data_id == options_.record.data_id &&
      other.value().process != options_.record.process) {
    // Our own data directory, whose lock we hold: that process is dead, though its lease is not.
    (void)catalog_.commit({{key_, entry.mod_revision}}, {{key_, std::nullopt, 0}});
    return 0ms;
  }
  const auto now = clock::now();
  if (occupant_ != entry.create_revision) {
    occupant_ = entry.create_revision;
    occupied_since_ = now;
    say("node " + options_.node + ": its key is held by an earlier process or by another one; waiting for the end of that lease");
  }
  if (now - occupied_since_ < options_.lease + std::max<std::chrono::milliseconds>(options_.lease / 2, 2s)) return 100ms;
  std::string who = "another process";
  if (other)
    who += " on host " + other.value().host + " (link " + other.value().link_address + ", started " +
           when(other.value().started_at_us) + ")";
  bool news = false;
  {
    std::lock_guard lock(mutex_);
    news = status_.state != state::refused;
    status_.state = state::refused;
    status_.reason = "node id '" + options_.node + "' is in use by " + who +
                     ", which is alive: ids must differ. Stop it, or give this node another `node:` in its configuration";
    changed_.notify_all();
  }
  if (news) say(status_.reason);
  return std::max<std::chrono::milliseconds>(options_.lease / 3, 100ms);
}

std::chrono::milliseconds membership::join(std::stop_token stop) {
  const auto retry = std::clamp<std::chrono::milliseconds>(options_.lease / 10, 50ms, 500ms);
  if (stop.stop_requested()) return retry;
  // Looked at first, so that waiting for somebody else's lease makes none of ours.
  auto there = catalog_.get(key_);
  if (!there) return cannot(there.error()), retry;
  if (there.value()) {
    const auto r = decode_node_record(key_, there.value()->value);
    // Ours: the commit went through, its answer was lost.
    if (r && r.value().process == options_.record.process && lease_ != 0 && r.value().lease == lease_)
      return began(there.value()->create_revision), 0ms;
    return occupied(*there.value());
  }
  if (lease_ == 0) {
    auto granted = catalog_.grant_lease(options_.lease);
    if (!granted) return cannot(granted.error()), retry;
    std::lock_guard lock(mutex_);
    lease_ = granted.value();
  }
  options_.record.lease = lease_;
  const auto value = encode_node_record(options_.record);
  auto done = catalog_.commit({{key_, 0}}, {{key_, value, lease_}, {key_of(host_prefix, options_.node), value, 0}});
  if (done) return began(done.value()), options_.lease / 3;
  if (done.error().is(errc::not_found)) { // the lease ended while we tried
    std::lock_guard lock(mutex_);
    lease_ = 0;
    return 0ms;
  }
  if (!done.error().is(errc::conflict)) cannot(done.error());
  return done.error().is(errc::conflict) ? 0ms : retry;
}

std::chrono::milliseconds membership::keep_alive() {
  auto kept = catalog_.keep_alive(lease_);
  if (!kept && kept.error().is(errc::not_found)) return ended("its lease has ended"), 0ms;
  if (!kept) return cannot(kept.error()), std::clamp<std::chrono::milliseconds>(options_.lease / 10, 50ms, 500ms);
  bool back = false;
  {
    std::lock_guard lock(mutex_);
    back = status_.state == state::unreachable;
    status_.state = state::member;
    status_.reason.clear();
    alive_at_ = clock::now();
  }
  if (back) say("node " + options_.node + " reaches the catalog again, in the same session " + std::to_string(status_.session));
  return options_.lease / 3;
}

void membership::run(std::stop_token stop) {
  std::chrono::milliseconds wait = 0ms;
  while (!stop.stop_requested()) {
    if (has_session_) {
      // Somebody deleted the key: an operator, or a successor that holds our data directory's lock.
      const auto gone = [&] {
        if (mirror_.revision() <= status_.session) return false; // it may be taking in that very commit
        const auto mine = mirror_.get(key_);
        return !mine || mine->create_revision != status_.session;
      };
      if (gone()) {
        (void)catalog_.revoke(lease_);
        ended("its key " + key_ + " was deleted");
        wait = 0ms;
        continue;
      }
      wait = keep_alive();
    } else {
      wait = join(stop);
    }
    std::unique_lock lock(mutex_);
    const auto session = status_.session;
    changed_.wait_for(lock, stop, std::max(wait, 1ms), [&] {
      if (!has_session_) return false;
      lock.unlock();
      const auto mine = mirror_.get(key_);
      const bool gone = mirror_.revision() > session && (!mine || mine->create_revision != session);
      lock.lock();
      return gone;
    });
  }
}

} // namespace millrace::actors::cluster
