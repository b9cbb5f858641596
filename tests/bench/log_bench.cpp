// The log against what it stands on: synced appends against raw RocksDB puts of the same stored bytes with the same options,
// interleaved in one run, and a replay in which every change is visited.
//   log_bench [DIRECTORY] [ROUNDS] [MIB_PER_ROUND]
#include "storage/node_store.hpp"
#include "storage/rocks/database.hpp"

#include <rocksdb/cache.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>

using namespace millrace::storage;
using clock_type = std::chrono::steady_clock;

namespace {

double seconds_since(clock_type::time_point t) { return std::chrono::duration<double>(clock_type::now() - t).count(); }

template <class T>
T must(result<T> r) {
  if (!r) {
    std::fprintf(stderr, "log_bench: %s\n", r.error().message.c_str());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return std::move(r).value();
}

/// About 1 MiB of 200-byte changes that compress like orders do, not like zeros.
change_block block_of_orders(std::mt19937_64& random) {
  change_block block;
  block.origin = "in/orders.ndjson";
  while (block.payloads.size() + 201 <= 1u << 20) {
    char line[256];
    int n = std::snprintf(
        line, sizeof line,
        R"({"id":%llu,"customer":"c-%08llx","sku":"%016llx","qty":%llu,"price":"%llu.%02llu","status":"%s","note":")",
        static_cast<unsigned long long>(random() % 10'000'000), static_cast<unsigned long long>(random() & 0xffffffff),
        static_cast<unsigned long long>(random()), static_cast<unsigned long long>(random() % 9),
        static_cast<unsigned long long>(random() % 1000), static_cast<unsigned long long>(random() % 100),
        random() % 2 == 0 ? "paid" : "shipped");
    while (n < 197) line[n++] = static_cast<char>('a' + random() % 26);
    line[n++] = '"';
    line[n++] = '}';
    line[n++] = '\n';
    block.starts.push_back(static_cast<std::uint32_t>(block.payloads.size()));
    block.lengths.push_back(static_cast<std::uint32_t>(n - 1));
    block.payloads.append(line, static_cast<std::size_t>(n));
  }
  return block;
}

/// Raw RocksDB with the log's own settings.
class raw_rocksdb {
public:
  explicit raw_rocksdb(const std::filesystem::path& folder) {
    const auto plan = rocks::plan_memory(store_options{}.memory_bytes);
    auto settings = rocks::database_settings(plan);
    std::vector<rocksdb::ColumnFamilyDescriptor> families{
        {rocksdb::kDefaultColumnFamilyName, rocks::log_settings(plan, rocksdb::NewLRUCache(plan.block_cache))}};
    rocksdb::DB* db = nullptr;
    if (auto s = rocksdb::DB::Open(settings, folder.string(), families, &handles_, &db); !s.ok()) {
      std::fprintf(stderr, "log_bench: %s\n", s.ToString().c_str());
      std::exit(1);
    }
    db_.reset(db);
  }
  ~raw_rocksdb() {
    for (auto* h : handles_) db_->DestroyColumnFamilyHandle(h);
  }
  void put(const std::string& value) {
    rocksdb::WriteOptions synced;
    synced.sync = true;
    char key[8];
    const auto big = __builtin_bswap64(next_++);
    std::memcpy(key, &big, 8);
    if (auto s = db_->Put(synced, handles_[0], {key, 8}, value); !s.ok()) {
      std::fprintf(stderr, "log_bench: %s\n", s.ToString().c_str());
      std::exit(1);
    }
  }

private:
  std::vector<rocksdb::ColumnFamilyHandle*> handles_;
  std::unique_ptr<rocksdb::DB> db_;
  std::uint64_t next_ = 0;
};

long resident_mib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::atol(line.c_str() + 6) / 1024;
  return 0;
}

} // namespace

int main(int argc, char** argv) {
  namespace fs = std::filesystem;
  const char* tmp = std::getenv("TMPDIR");
  std::string folder = (fs::path(argc > 1 ? argv[1] : tmp != nullptr ? tmp : "/var/tmp") / "log_bench-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) {
    std::fprintf(stderr, "log_bench: cannot make a folder like %s\n", folder.c_str());
    return 1;
  }
  struct remover {
    fs::path path;
    ~remover() { fs::remove_all(path); }
  } remove_after{folder};
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 6;
  const int appends = argc > 3 ? std::atoi(argv[3]) : 64;

  std::mt19937_64 random(42);
  std::vector<change_block> blocks;
  for (int i = 0; i < 16; ++i) blocks.push_back(block_of_orders(random));
  const auto changes_per_block = static_cast<double>(blocks[0].starts.size());

  for (const auto& [name, compression] : {std::pair{"none", codec::none}, {"lz4", codec::lz4}, {"zstd", codec::zstd}}) {
    const fs::path mine = fs::path(folder) / name, theirs = fs::path(folder) / (std::string(name) + "-raw");
    fs::create_directories(theirs);
    {
      auto store = must(node_store::open({.directory = mine}));
      auto log = must(store->open_log("bench", 0, {.compression = compression}));
      raw_rocksdb raw(theirs);
      std::vector<staged_batch_ptr> staged;
      std::vector<std::string> values; // as many bytes as ours stores, and as hard to compress
      for (const auto& b : blocks) {
        staged.push_back(must(encode(b, compression)));
        std::string value(staged.back()->stored_bytes() + 150, '\0');
        for (auto& c : value) c = static_cast<char>(random());
        values.push_back(std::move(value));
      }
      double ours = 0, with_encode = 0, baseline = 0, stored = 0;
      std::vector<double> ratios, ratios_with_encode;
      for (int round = 0; round < rounds; ++round) {
        double a = 0, b = 0, e = 0;
        // In turns within a round, so that the disk's moods meet all three.
        for (int i = 0; i < appends; ++i) {
          const auto& batch = staged[static_cast<std::size_t>(i) % staged.size()];
          auto begin = clock_type::now();
          must(log->append({&batch, 1}));
          a += seconds_since(begin);
          begin = clock_type::now();
          raw.put(values[static_cast<std::size_t>(i) % values.size()]);
          b += seconds_since(begin);
          begin = clock_type::now();
          const auto fresh = must(encode(blocks[static_cast<std::size_t>(i) % blocks.size()], compression));
          must(log->append({&fresh, 1}));
          e += seconds_since(begin);
          stored += static_cast<double>(batch->stored_bytes());
        }
        if (round == 0) { // warms both up
          stored = 0;
          continue;
        }
        ours += a;
        baseline += b;
        with_encode += e;
        ratios.push_back(b / a);
        ratios_with_encode.push_back(b / e);
      }
      const double count = static_cast<double>(rounds - 1) * appends;
      std::sort(ratios.begin(), ratios.end());
      std::sort(ratios_with_encode.begin(), ratios_with_encode.end());
      const auto rate = [&](double s) { return count * changes_per_block / s; };
      std::printf(
          "append %-4s             ours %.0f changes/s (%.0f MB/s stored), baseline %.0f, ratio %.2f (median of rounds %.2f)\n",
          name, rate(ours), stored / ours / 1e6, rate(baseline), baseline / ours, ratios[ratios.size() / 2]);
      std::printf("append %-4s with encode ours %.0f changes/s, baseline %.0f, ratio %.2f (median of rounds %.2f)\n", name,
                  rate(with_encode), rate(baseline), baseline / with_encode, ratios_with_encode[ratios_with_encode.size() / 2]);
      std::fflush(stdout);
    }
    auto begin = clock_type::now();
    auto store = must(node_store::open({.directory = mine}));
    auto log = must(store->open_log("bench", 0, {}));
    const double open_s = seconds_since(begin);
    std::uint64_t bytes = 0, changes = 0;
    begin = clock_type::now();
    auto cursor = log->scan({0});
    for (auto entry = cursor->next(); entry; entry = cursor->next()) {
      if (entry.value()->kind() != batch_kind::changes) continue;
      for (std::uint32_t i = 0; i < entry.value()->count(); ++i) {
        const auto payload = entry.value()->payload(i);
        bytes += payload.size() + static_cast<unsigned char>(payload.back());
      }
      changes += entry.value()->count();
    }
    const double scan_s = seconds_since(begin);
    std::printf("replay %-4s             ours %.0f changes/s, baseline 3000000 (goal), ratio %.2f (%llu changes, sum %llu; "
                "opened in %.0f ms)\n",
                name, static_cast<double>(changes) / scan_s, static_cast<double>(changes) / scan_s / 3e6,
                static_cast<unsigned long long>(changes), static_cast<unsigned long long>(bytes), open_s * 1e3);
    std::fflush(stdout);
    cursor.reset();
    log.reset();
    store.reset();
    fs::remove_all(mine);
    fs::remove_all(theirs);
  }
  std::printf("peak resident memory %ld MiB (the baseline's memtables included)\n", resident_mib());
}
