#pragma once
// Replicas driven by hand: a test carries each message, or does not.

#include "storage/replication/replica.hpp"
#include "tests/simulation/disk.hpp"

#include <boost/test/unit_test.hpp>

namespace millrace::testing {

namespace st = storage;
namespace rp = storage::replication;
using simulation::disk;
using simulation::disk_image;
using simulation::make_entry;

inline constexpr std::uint64_t the_log = 77;

inline std::uint64_t session_of(const std::string& node) { return 100 + static_cast<std::uint64_t>(node[0]); }
inline std::uint64_t store_of(const std::string& node) { return 1000 + static_cast<std::uint64_t>(node[0]); }

/// Entries of one offset each, of these epochs: the same epochs give the same log.
inline disk_image log_of(const std::string& node, const std::vector<std::uint64_t>& epochs, std::uint64_t hw = 0) {
  disk_image image{store_of(node), {the_log}, {epochs.empty() ? 0 : epochs.back()}, {}, {hw}, {}};
  for (const auto e : epochs) {
    const auto prev = image.entries.empty() ? st::hash128{} : image.entries.back().hash;
    image.entries.push_back(make_entry(image.end(), 1, {e}, prev, 0, e));
  }
  return image;
}

inline st::partition_record record_of(std::uint64_t epoch, const std::string& leader, const std::vector<std::string>& isr,
                                      std::uint64_t revision) {
  st::partition_record r;
  r.log_id = {the_log};
  r.epoch = {epoch};
  r.leader_node = leader;
  r.leader_session = leader.empty() ? 0 : session_of(leader);
  for (const auto& n : isr) r.isr.push_back({n, store_of(n)});
  r.replicas = {"a", "b", "c"};
  r.min_in_sync = 2;
  r.mod_revision = revision;
  return r;
}

struct copy {
  std::string name;
  disk storage;
  std::unique_ptr<rp::replica> machine;
  rp::instant now{0};
  std::vector<rp::actions::send> sent;
  std::vector<rp::actions::propose> proposals;
  std::vector<rp::actions::alarm> alarms;
  std::vector<st::offset> acknowledged;
  std::vector<std::uint64_t> announced;
  unsigned reads = 0;
  bool sync = true; ///< false: what is written stays unsynced until the test says synced()
  bool leading = false;
  std::uint64_t unique = 500;

  copy(std::string node, disk_image image, rp::limits limits = {}) : name(std::move(node)) {
    storage.replace(std::move(image));
    machine =
        std::make_unique<rp::replica>(rp::options{name, {"p", 0}, 42 + static_cast<std::uint64_t>(name[0]), limits, {}}, storage);
  }

  void drain() {
    for (;;) {
      auto actions = machine->take_actions();
      if (actions.empty()) break;
      for (auto& a : actions) carry_out(a);
    }
    if (sync && storage.unsynced() > 0) synced();
  }
  void synced() {
    storage.sync(storage.written());
    machine->synced(storage.written());
    drain();
  }
  void carry_out(rp::action& a) {
    const auto next = storage.written() + 1;
    if (auto* s = std::get_if<rp::actions::send>(&a)) sent.push_back(std::move(*s));
    if (auto* p = std::get_if<rp::actions::propose>(&a)) proposals.push_back(*p);
    if (auto* al = std::get_if<rp::actions::alarm>(&a)) alarms.push_back(*al);
    if (auto* k = std::get_if<rp::actions::acknowledged>(&a)) acknowledged.push_back(k->high_watermark);
    if (auto* an = std::get_if<rp::actions::announce_store>(&a)) announced.push_back(an->store);
    if (std::get_if<rp::actions::read_record>(&a)) ++reads;
    if (auto* ap = std::get_if<rp::actions::append_raw>(&a)) storage.write(next, disk::append{std::move(ap->entries), {}});
    if (auto* t = std::get_if<rp::actions::truncate>(&a)) storage.write(next, disk::truncate{t->end, t->seen});
    if (auto* e = std::get_if<rp::actions::see_epoch>(&a)) storage.write(next, disk::see{e->epoch});
    if (auto* r = std::get_if<rp::actions::reset>(&a))
      storage.write(next, disk::reset{storage.cache().store + 10000, r->id, r->start});
    if (auto* v = std::get_if<rp::actions::advance>(&a)) storage.set_hw(v->high_watermark);
    if (std::get_if<rp::actions::end_epoch>(&a)) leading = false;
    if (std::get_if<rp::actions::begin_epoch>(&a)) {
      leading = true;
      append();
    }
  }
  /// As ingest does, on a leader.
  void append() {
    const auto& log = storage.cache();
    const st::raw_entry entries[] = {
        make_entry(log.end(), 1, machine->epoch(), log.entries.empty() ? st::hash128{} : log.entries.back().hash, 0, ++unique)};
    const auto ticket = machine->appending(entries);
    storage.write(ticket, disk::append{{entries[0]}, {}});
    drain();
  }
  /// Started, with the record read and everybody in `alive` known.
  void begin(const st::partition_record& r, const std::vector<std::string>& alive = {"a", "b", "c"}) {
    machine->start(now);
    members(alive, r.mod_revision);
    machine->on_record(r, true);
    drain();
  }
  void members(const std::vector<std::string>& alive, std::uint64_t revision) {
    std::map<std::string, std::uint64_t> m;
    for (const auto& n : alive) m[n] = session_of(n);
    machine->on_members(m, std::max<std::uint64_t>(revision, 1000), session_of(name));
  }
  void record(const st::partition_record& r, bool fresh = false) {
    machine->on_record(r, fresh);
    drain();
  }
  void pass(rp::instant time) {
    for (const auto end = now + time; now < end;) {
      now += rp::instant{50};
      machine->tick(now);
      drain();
    }
  }
  void answer(rp::replica::outcome o, std::uint64_t revision = 0) {
    BOOST_REQUIRE(!proposals.empty());
    machine->proposed(proposals.back().id, o, revision);
    drain();
  }
  void hear(const std::string& from, rp::message m) {
    machine->on_message(from, std::move(m));
    drain();
  }
  /// A message from another node, of this replica's epoch unless said otherwise.
  template <class Body>
  void hear(const std::string& from, Body body, std::uint64_t run = 9, std::optional<std::uint64_t> epoch = {}) {
    hear(from, rp::message{{"p", 0}, epoch ? st::epoch{*epoch} : machine->epoch(), from, run, store_of(from), std::move(body)});
  }
  /// The last message of this kind that was sent, to `to` if given; null: none.
  template <class Body>
  const Body* last(const std::string& to = {}) const {
    for (auto it = sent.rbegin(); it != sent.rend(); ++it)
      if (to.empty() || it->to == to)
        if (const auto* b = std::get_if<Body>(&it->what.body)) return b;
    return nullptr;
  }
  bool alarmed(rp::alarm_kind k) const {
    return std::any_of(alarms.begin(), alarms.end(), [k](const auto& a) { return a.kind == k && a.raised; });
  }
  /// A follower that says it has everything up to `end`, with the right hash.
  void attach_follower(const std::string& node, std::uint64_t end, std::uint64_t run = 9) {
    const auto* before = end == 0 ? nullptr : storage.cache().covering({end - 1});
    hear(node, rp::attach{before ? before->epoch : st::epoch{}, {end}, 5}, run);
    fetched(node, end, run);
  }
  void fetched(const std::string& node, std::uint64_t end, std::uint64_t run = 9, std::uint64_t round = 1, bool full = false,
               bool unheard = false) {
    const auto* before = end == 0 ? nullptr : storage.cache().covering({end - 1});
    hear(node, rp::fetch{{end}, before ? before->hash : st::hash128{}, {end}, 1 << 20, round, end == 0, full, unheard}, run);
  }
};

/// Carries messages between the replicas until all is quiet.
inline void exchange(std::vector<copy*> copies) {
  for (bool any = true; any;) {
    any = false;
    for (auto* from : copies)
      for (auto& s : std::exchange(from->sent, {}))
        for (auto* to : copies)
          if (to->name == s.to) {
            any = true;
            to->hear(from->name, s.what);
          }
  }
}

/// `node` leads epoch `epoch` + 1 after winning an election over this log.
inline copy leader_of(const std::string& node, const std::vector<std::uint64_t>& log, const std::vector<std::string>& isr,
                      rp::limits limits = {}) {
  copy c(node, log_of(node, log), limits);
  const auto epoch = log.empty() ? 0 : log.back();
  c.begin(record_of(epoch, "", isr, 10));
  c.pass(rp::instant{400});
  for (const auto& n : isr)
    if (n != node) {
      const auto* q = c.last<rp::query>(n);
      BOOST_REQUIRE(q);
      c.hear(n, rp::report{q->target, q->nonce, {}, {}});
    }
  c.answer(rp::replica::outcome::stored, 11);
  BOOST_REQUIRE(c.machine->role() == rp::role::leader);
  return c;
}

} // namespace millrace::testing
