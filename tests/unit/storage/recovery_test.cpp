// What a crash or a bad disk leaves: torn tails are cut to whole batches, everything else is named and refused.
#include "tests/unit/storage/storage_fixture.hpp"

#include <fstream>
#include <rocksdb/db.h>
#include <set>

using namespace millrace::storage;
using namespace millrace::storage::test;
namespace fs = std::filesystem;

namespace {

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void write_file(const fs::path& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

struct recovery_fixture : store_fixture {
  std::vector<fs::path> files(const std::string& extension) const {
    std::vector<fs::path> found;
    for (const auto& f : fs::directory_iterator(folder.path / "rocks"))
      if (f.path().extension() == extension && f.file_size() > 0) found.push_back(f.path());
    std::sort(found.begin(), found.end());
    return found;
  }
  /// A copy of the running store's files, as a crash at this moment would leave them.
  void crash_copy(const fs::path& to) const {
    fs::remove_all(to);
    fs::create_directories(to / "rocks");
    for (const auto& f : fs::directory_iterator(folder.path / "rocks"))
      if (f.path().filename() != "LOCK") fs::copy_file(f.path(), to / "rocks" / f.path().filename());
  }
};

/// Makes table files of what the WAL holds: opening a store as it is configured does so only when it must.
void make_files(const fs::path& store) {
  const auto path = (store / "rocks").string();
  std::vector<std::string> names;
  BOOST_REQUIRE(rocksdb::DB::ListColumnFamilies({}, path, &names).ok());
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  rocksdb::ColumnFamilyOptions plain;
  plain.compression = rocksdb::kNoCompression; // the tests look for what they wrote
  for (const auto& name : names) families.emplace_back(name, plain);
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  BOOST_REQUIRE(rocksdb::DB::Open({}, path, families, &handles, &db).ok());
  for (auto* handle : handles) BOOST_REQUIRE(db->DestroyColumnFamilyHandle(handle).ok());
  BOOST_REQUIRE(db->Close().ok());
  delete db;
}
} // namespace

BOOST_FIXTURE_TEST_SUITE(recovery, recovery_fixture)

BOOST_AUTO_TEST_CASE(a_torn_tail_ends_the_log_at_a_whole_batch) {
  open();
  std::vector<std::uint64_t> ends{log->info().next.value};
  for (std::uint64_t i = 0; i < 12; ++i) {
    auto block = numbered(i * 50, 50);
    block.source_state = {{"file", std::to_string(i)}};
    // Two batches an append: both or none come back.
    const std::vector<staged_batch_ptr> group{staged(block, codec::none), staged(numbered(i * 50 + 1'000'000, 5), codec::none)};
    must(log->append(group));
    ends.push_back(log->info().next.value);
  }
  temporary_folder crash;
  crash_copy(crash.path);
  close();
  std::vector<fs::path> wals;
  for (const auto& f : fs::directory_iterator(crash.path / "rocks"))
    if (f.path().extension() == ".log") wals.push_back(f.path());
  BOOST_REQUIRE(!wals.empty());
  const auto wal = *std::max_element(wals.begin(), wals.end()), name = wal.filename();
  auto bytes = read_file(wal);
  bytes.erase(bytes.find_last_not_of('\0') + 1);
  std::mt19937_64 random(seed());
  std::set<std::size_t> cuts{bytes.size(), bytes.size() - 1};
  while (cuts.size() < 40) cuts.insert(bytes.size() / 3 + random() % (bytes.size() - bytes.size() / 3));
  std::uint64_t longest = 0;
  for (const auto cut : cuts) {
    temporary_folder torn;
    fs::copy(crash.path, torn.path, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
    write_file(torn.path / "rocks" / name, bytes.substr(0, cut));
    options.directory = torn.path;
    open();
    const auto end = log->info().next.value - 1; // without this start's own marker
    const auto which = std::find(ends.begin(), ends.end(), end);
    BOOST_REQUIRE_MESSAGE(which != ends.end(), "cut at " << cut << ": ends at " << end << ", not at a whole append");
    const auto appends = which - ends.begin();
    BOOST_TEST(read_all().size() == static_cast<std::size_t>(appends) * 55);
    const auto state = must(log->source_state());
    BOOST_TEST((appends == 0 ? state.empty() : state.at(0).value == std::to_string(appends - 1)));
    longest = std::max(longest, end);
    close();
  }
  BOOST_TEST(longest == ends.back()); // the uncut one
}

BOOST_AUTO_TEST_CASE(a_flipped_bit_inside_of_the_wal_refuses_to_open_and_names_the_file) {
  open();
  for (std::uint64_t i = 0; i < 40; ++i) must(append(numbered(i * 100, 100), codec::none));
  temporary_folder crash;
  crash_copy(crash.path);
  close();
  fs::path wal;
  for (const auto& f : fs::directory_iterator(crash.path / "rocks"))
    if (f.path().extension() == ".log") wal = std::max(wal, f.path());
  auto bytes = read_file(wal);
  bytes[bytes.find_last_not_of('\0') / 2] ^= 4;
  write_file(wal, bytes);
  options.directory = crash.path;
  must_fail(try_open(), errc::corrupt, {crash.path.string(), wal.filename().string()});
}

BOOST_AUTO_TEST_CASE(a_damaged_block_is_named_and_the_rest_stays_readable) {
  options.memory_bytes = 8u << 20;
  open();
  auto other = must(store->open_log("orders-1", 1, {}));
  std::mt19937_64 random(5);
  std::vector<std::string> payloads;
  for (int i = 0; i < 48; ++i) { // 3 files of 2 MiB
    auto block = noise(random, 128u << 10);
    payloads.push_back(block.payloads);
    must(append(block, codec::none));
    const auto batch = staged(numbered(i, 1));
    must(other->append({&batch, 1}));
  }
  BOOST_REQUIRE(eventually([&] { return files(".sst").size() >= 2; }));
  other.reset();
  close();

  // In the middle of the 10th change, wherever its file is.
  const auto needle = payloads[9].substr(40'000, 64);
  bool flipped = false;
  for (const auto& file : files(".sst")) {
    auto bytes = read_file(file);
    const auto at = bytes.find(needle);
    if (at == bytes.npos) continue;
    bytes[at + 7] ^= 1;
    write_file(file, bytes);
    flipped = true;
  }
  BOOST_REQUIRE(flipped);
  open(); // the newest entries are sound
  must_fail(log->read({10}), errc::corrupt, {"orders-1", "partition 0", "offset 10"});
  BOOST_TEST((must(log->read({9}))->payloads() == payloads[8]));
  BOOST_TEST((must(log->read({11}))->payloads() == payloads[10]));
  auto cursor = log->scan({0});
  BOOST_TEST(must(log->seek_time(now())).value == log->info().next.value);
  for (int i = 0; i < 10; ++i) must(cursor->next());
  must_fail(cursor->next(), errc::corrupt, {"offset 10"});
  must_fail(cursor->next(), errc::corrupt, {"offset 10"}); // and does not skip it
  cursor->seek({11});
  BOOST_TEST((must(cursor->next())->payloads() == payloads[10]));
  other = must(store->open_log("orders-1", 1, {}));
  BOOST_TEST(must(other->read({20}))->payload(0) == number_text(19));
}

BOOST_AUTO_TEST_CASE(a_damaged_newest_entry_stops_its_partition_only) {
  open();
  auto other = must(store->open_log("other-1", 0, {}));
  std::mt19937_64 random(6);
  const auto block = noise(random, 64u << 10);
  must(append(numbered(0, 2000), codec::none)); // a block of its own between the marker and the damage
  const auto newest = must(append(block, codec::none));
  other.reset();
  close();
  make_files(folder.path); // without a log opened, no marker follows the data
  bool flipped = false;
  for (const auto& file : files(".sst")) {
    auto bytes = read_file(file);
    const auto at = bytes.find(block.payloads.substr(1000, 64));
    if (at == bytes.npos) continue;
    bytes[at] ^= 1;
    write_file(file, bytes);
    flipped = true;
  }
  BOOST_REQUIRE(flipped);
  must(try_open());
  must_fail(store->open_log("orders-1", 0, {}), errc::corrupt,
            {"orders-1", "partition 0", "offset " + std::to_string(newest.value)});
  BOOST_TEST(must(store->open_log("other-1", 0, {}))->info().next.value == 2u);
}

BOOST_AUTO_TEST_CASE(a_damaged_block_of_small_entries_is_named_with_what_was_asked_for) {
  open();
  must(append(numbered(7'000, 3), codec::none));
  must(append(numbered(8'000, 3), codec::none));
  close();
  make_files(folder.path);
  for (const auto& file : files(".sst")) {
    auto bytes = read_file(file);
    const auto at = bytes.find(number_text(7'001));
    if (at == bytes.npos) continue;
    bytes[at + 1] ^= 1;
    write_file(file, bytes);
  }
  must(try_open());
  // The newest entry shares the block.
  must_fail(store->open_log("orders-1", 0, {}), errc::corrupt, {"orders-1", "offset 4"});
}

BOOST_AUTO_TEST_CASE(a_store_that_lost_its_current_file_is_not_replaced_by_an_empty_one) {
  open();
  must(append(numbered(0, 10)));
  close();
  fs::remove(folder.path / "rocks" / "CURRENT");
  must_fail(try_open(), errc::corrupt, {folder.path.string()});
}

BOOST_AUTO_TEST_CASE(a_log_that_the_catalog_knows_but_the_disk_lost_is_an_error) {
  open();
  close();
  must(try_open());
  // The record of another log under this partition's name, as if the folder were an old copy.
  const auto record = must(store->catalog().get("part/orders-1/0"));
  BOOST_REQUIRE(record);
  must(store->catalog().commit({}, {{"part/orders-2/0", record->value, 0}}));
  must_fail(store->open_log("orders-2", 0, {}), errc::corrupt, {"orders-2", "Acknowledged data was lost"});
  must(store->open_log("orders-1", 0, {}));
}

BOOST_AUTO_TEST_SUITE_END()
