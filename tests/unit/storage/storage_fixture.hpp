#pragma once
// A store in a folder of its own, opened and closed at will; blocks whose bytes tell where they belong.

#include "storage/node_store.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <random>
#include <string>
#include <thread>

namespace millrace::storage::test {

struct temporary_folder {
  std::filesystem::path path;
  temporary_folder() {
    const char* base = std::getenv("TMPDIR");
    auto pattern = (std::filesystem::path(base != nullptr ? base : "/tmp") / "millrace-storage-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make a folder like " + pattern);
    path = pattern;
  }
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;
};

inline std::uint64_t seed() {
  const char* given = std::getenv("MILLRACE_SEED");
  const std::uint64_t value = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::cout << "MILLRACE_SEED=" << value << std::endl;
  return value;
}

/// Until `done` or the deadline; false then.
template <class Condition>
bool eventually(Condition&& done, std::chrono::milliseconds within = std::chrono::seconds(20)) {
  for (const auto end = std::chrono::steady_clock::now() + within; std::chrono::steady_clock::now() < end;
       std::this_thread::sleep_for(std::chrono::milliseconds(2)))
    if (done()) return true;
  return done();
}

template <class T>
T must(result<T> r) {
  if (!r) BOOST_FAIL("failed: " + r.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(r).value();
}

template <class T>
void must_fail(const result<T>& r, errc expected, std::initializer_list<std::string> words = {}) {
  BOOST_REQUIRE_MESSAGE(!r, "must fail with " + make_error_code(expected).message());
  BOOST_TEST(r.error().is(expected), r.error().message);
  for (const auto& word : words)
    BOOST_TEST(r.error().message.find(word) != std::string::npos, "'" + word + "' not in: " + r.error().message);
}

inline change_block block_of(const std::vector<std::string>& changes) {
  change_block block;
  block.origin = "in/test.ndjson";
  for (const auto& c : changes) {
    block.starts.push_back(static_cast<std::uint32_t>(block.payloads.size()));
    block.lengths.push_back(static_cast<std::uint32_t>(c.size()));
    block.payloads += c + '\n';
  }
  return block;
}
/// Changes `{"n":FIRST}`, `{"n":FIRST+1}`, ...
inline change_block numbered(std::uint64_t first, std::uint32_t count) {
  std::vector<std::string> changes;
  for (std::uint32_t i = 0; i < count; ++i) changes.push_back("{\"n\":" + std::to_string(first + i) + "}");
  return block_of(changes);
}
inline std::string number_text(std::uint64_t n) { return "{\"n\":" + std::to_string(n) + "}"; }
/// One change of bytes that do not compress.
inline change_block noise(std::mt19937_64& random, std::size_t bytes) {
  std::string s(bytes, '\0');
  for (std::size_t i = 0; i + 8 <= bytes; i += 8) {
    const auto v = random();
    std::memcpy(s.data() + i, &v, 8);
  }
  return block_of({s});
}

class store_fixture {
public:
  temporary_folder folder;
  store_options options;
  std::shared_ptr<node_store> store;
  std::shared_ptr<partition_log> log;
  std::vector<std::string> messages;

  store_fixture() { options.directory = folder.path; }

  result<void> try_open() {
    auto opened = node_store::open(options);
    if (!opened) return opened.error();
    store = opened.value();
    return success();
  }
  void open(const std::string& uid = "orders-1", partition_options p = {}) {
    must(try_open());
    p.node = "a";
    log = must(store->open_log(uid, 0, p));
  }
  void close() {
    log.reset();
    store.reset();
  }
  void reopen(partition_options p = {}) {
    close();
    open("orders-1", p);
  }

  static staged_batch_ptr staged(const change_block& block, codec c = codec::zstd) { return must(encode(block, c)); }
  result<offset> append(const change_block& block, codec c = codec::zstd) {
    const auto batch = staged(block, c);
    return log->append({&batch, 1});
  }

  /// Reads the whole log and checks that it is dense; gives the data changes' payloads with their offsets.
  std::vector<std::pair<std::uint64_t, std::string>> read_all() {
    std::vector<std::pair<std::uint64_t, std::string>> all;
    auto position = log->info().first;
    auto cursor = log->scan(position);
    for (;;) {
      auto entry = cursor->next();
      if (!entry) {
        BOOST_REQUIRE_MESSAGE(entry.error().is(errc::end_of_log), entry.error().message);
        break;
      }
      BOOST_REQUIRE_EQUAL(entry.value()->base().value, position.value);
      position = entry.value()->end();
      if (entry.value()->kind() != batch_kind::changes) continue;
      for (std::uint32_t i = 0; i < entry.value()->count(); ++i)
        all.emplace_back(entry.value()->base().value + i, std::string(entry.value()->payload(i)));
    }
    BOOST_REQUIRE_EQUAL(position.value, log->info().next.value);
    return all;
  }
};

} // namespace millrace::storage::test
