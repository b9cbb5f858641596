#pragma once
// Replicas of one partition, each in a store of its own; entries go from one to the other by hand.

#include "tests/unit/storage/storage_fixture.hpp"

#include <map>
#include <sstream>

namespace millrace::storage::test {

inline constexpr log_id test_log{77};

inline dead_letter test_letter(std::uint64_t at, std::string reason = "parse", std::uint64_t key = 0) {
  dead_letter l;
  l.offset = {at};
  l.reason = std::move(reason);
  l.key_hash = key;
  l.payload = std::string("raw \0 bytes ", 12) + std::to_string(at);
  l.context = "id,name";
  l.message = "no JSON";
  l.first_time = l.last_time = timestamp{std::chrono::microseconds{1000 + at}};
  return l;
}

class replica {
public:
  temporary_folder folder;
  store_options options;
  std::shared_ptr<node_store> store;
  std::shared_ptr<partition_log> log;
  std::shared_ptr<replica_log> copy;
  std::shared_ptr<dead_letter_table> letters;
  std::vector<std::string> messages;

  /// An empty copy of the log, unless `start` is false.
  explicit replica(bool start = true) {
    options.directory = folder.path;
    open();
    if (start) must(copy->reset(test_log, {0}));
  }
  void open_store() { store = must(node_store::open(options)); }
  void open() {
    open_store();
    const auto both = must(store->open_replica("orders-1", 0, {}));
    log = both.log;
    copy = both.replica;
    letters = must(store->dead_letters("orders-1", 0));
  }
  void close() {
    letters.reset();
    log.reset();
    copy.reset();
    store.reset();
  }
  void reopen() {
    close();
    open();
  }
  void lead(std::uint64_t e) {
    must(copy->see_epoch({e}));
    must(copy->begin_epoch({e}));
  }
  offset end() const { return copy->position().end; }
  void acknowledge() { must(copy->advance(end())); }
  offset append(const change_block& block) {
    const auto batch = must(encode(block, codec::zstd));
    return must(log->append({&batch, 1}));
  }
  offset append_state(const std::string& key, const std::string& value) {
    change_block block;
    block.source_state = {{key, value}};
    return append(block);
  }
  /// Everything that `from` has and this one has not, `bytes` at a time.
  void follow(const replica& from, std::size_t bytes = 1u << 20) {
    must(copy->see_epoch(from.copy->seen_epoch()));
    while (end() < from.end()) must(copy->append_raw(must(from.copy->read_raw(end(), bytes))));
  }
  std::vector<raw_entry> entries() const {
    std::vector<raw_entry> all;
    for (auto at = copy->start(); at < end();) {
      all.push_back(must(copy->read_raw(at, 0)).at(0));
      at = all.back().end();
    }
    return all;
  }
  /// What readers and ingest see, as text: states, letters with payloads, counts, pending rewinds.
  std::string visible() const {
    std::ostringstream out;
    auto states = must(log->source_state());
    std::map<std::string, std::string> sorted;
    for (const auto& s : states) sorted[s.key] = s.value;
    for (const auto& [key, value] : sorted) out << "state " << key << '=' << value << '\n';
    for (const std::string load : {"w", "v"}) {
      must(letters->scan(load, {0}, {~std::uint64_t{0}}, true, [&](const dead_letter& l) {
        out << load << ' ' << l.offset.value << ' ' << to_string(l.state) << ' ' << l.reason << " attempts " << l.attempts
            << " first " << l.first_time.time_since_epoch().count() << " payload " << l.payload << " key " << l.key_hash << '\n';
        return true;
      }));
      const auto c = letters->counts(load);
      out << load << " counts " << c.open << ' ' << c.discarded << ' ' << c.redriven << ' ' << c.total << '\n';
      for (const std::uint64_t key : {1, 2, 3}) {
        out << load << " key " << key << ':';
        for (const auto o : must(letters->open_of_key(load, key))) out << ' ' << o.value;
        out << '\n';
      }
      if (const auto r = must(letters->rewind_of(load))) out << load << " rewind " << r->to.value << ' ' << r->truncate << '\n';
    }
    return out.str();
  }
  /// Offsets that a scan from the start gives.
  offset readable() const {
    auto cursor = log->scan(log->info().first);
    auto at = log->info().first;
    for (auto entry = cursor->next();; entry = cursor->next()) {
      if (entry) {
        at = entry.value()->end();
        continue;
      }
      BOOST_REQUIRE_MESSAGE(entry.error().is(errc::end_of_log), entry.error().message);
      return at;
    }
  }
};

inline void must_be_equal(const replica& a, const replica& b) {
  const auto left = a.entries(), right = b.entries();
  BOOST_REQUIRE_EQUAL(left.size(), right.size());
  for (std::size_t i = 0; i < left.size(); ++i) {
    BOOST_REQUIRE((left[i].hash == right[i].hash));
    BOOST_REQUIRE(*left[i].value == *right[i].value);
  }
}

inline outcome test_outcome(std::uint64_t at, dead_letter_state state, std::string reason = "parse", std::uint64_t key = 0) {
  outcome o{test_letter(at, std::move(reason), key)};
  o.letter.state = state;
  o.letter.payload.clear();
  return o;
}

} // namespace millrace::storage::test
