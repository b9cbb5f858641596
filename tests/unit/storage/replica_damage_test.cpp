// What a crash or a bad disk leaves of a replica: a torn tail is a shorter copy; everything else is refused, and may be
// rejected for a new copy.
#include "tests/unit/storage/replica_fixture.hpp"

#include <fstream>
#include <rocksdb/db.h>

using namespace millrace::storage;
using namespace millrace::storage::test;
namespace fs = std::filesystem;

namespace {

/// The closed store's RocksDB, for changes that the store itself would never make.
void tamper(const fs::path& store,
            const std::function<void(rocksdb::DB&, const std::map<std::string, rocksdb::ColumnFamilyHandle*>&)>& change) {
  const auto path = (store / "rocks").string();
  std::vector<std::string> names;
  BOOST_REQUIRE(rocksdb::DB::ListColumnFamilies({}, path, &names).ok());
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const auto& name : names) families.emplace_back(name, rocksdb::ColumnFamilyOptions{});
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  BOOST_REQUIRE(rocksdb::DB::Open({}, path, families, &handles, &db).ok());
  std::map<std::string, rocksdb::ColumnFamilyHandle*> by_name;
  for (auto* handle : handles) by_name[handle->GetName()] = handle;
  change(*db, by_name);
  for (auto* handle : handles) BOOST_REQUIRE(db->DestroyColumnFamilyHandle(handle).ok());
  BOOST_REQUIRE(db->Close().ok());
  delete db;
}

std::string key_of(std::uint64_t at) {
  std::string key;
  for (int shift = 56; shift >= 0; shift -= 8) key += static_cast<char>(at >> shift);
  return key;
}

struct led : replica {
  led() {
    lead(1);
    for (std::uint64_t i = 0; i < 8; ++i) append(numbered(i * 10, 10));
    must(log->append_quarantine("w", std::vector{test_letter(3)}));
    acknowledge();
    append_state("file", "1"); // brings the watermark to the disk
    append_state("file", "2");
  }
  void rejected_and_copied_again(const replica& from) {
    must(store->reject_replica("orders-1", 0));
    must(store->reject_replica("orders-1", 0)); // repeatable
    const auto both = must(store->open_replica("orders-1", 0, {}));
    log = both.log;
    copy = both.replica;
    letters = must(store->dead_letters("orders-1", 0));
    BOOST_TEST(copy->id().value == 0u);
    BOOST_TEST(end().value == 0u);
    BOOST_TEST(letters->counts("w").total == 0u);
    must(copy->reset(test_log, {0}));
    follow(from);
    acknowledge();
    must_be_equal(from, *this);
  }
};

} // namespace

BOOST_AUTO_TEST_SUITE(replica_damage)

BOOST_AUTO_TEST_CASE(a_torn_tail_is_a_shorter_copy_with_the_state_of_its_watermark) {
  led r;
  std::vector<std::uint64_t> bounds{0};
  for (const auto& e : r.entries()) bounds.push_back(e.end().value);
  const auto files = r.folder.path / "rocks";
  temporary_folder crash;
  fs::create_directories(crash.path / "rocks");
  for (const auto& f : fs::directory_iterator(files))
    if (f.path().filename() != "LOCK") fs::copy_file(f.path(), crash.path / "rocks" / f.path().filename());
  fs::path wal;
  for (const auto& f : fs::directory_iterator(crash.path / "rocks"))
    if (f.path().extension() == ".log") wal = std::max(wal, f.path());
  std::ifstream in(wal, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(in), {}};
  bytes.erase(bytes.find_last_not_of('\0') + 1);
  replica reference;
  std::mt19937_64 random(seed());
  for (int i = 0; i < 12; ++i) {
    temporary_folder torn;
    fs::copy(crash.path, torn.path, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
    fs::resize_file(torn.path / "rocks" / wal.filename(), bytes.size() - random() % (bytes.size() / 2));
    replica cut(false);
    cut.close();
    cut.options.directory = torn.path;
    cut.open();
    BOOST_REQUIRE(std::count(bounds.begin(), bounds.end(), cut.end().value) == 1);
    must(reference.copy->reset(test_log, {0}));
    reference.follow(cut);
    must(reference.copy->advance(cut.copy->high_watermark()));
    BOOST_REQUIRE_EQUAL(cut.visible(), reference.visible());
    cut.follow(r); // and goes on
    must_be_equal(r, cut);
  }
}

BOOST_AUTO_TEST_CASE(a_watermark_above_the_end_is_corrupt_and_the_copy_is_made_anew) {
  led r, source;
  source.copy->end_epoch();
  must(source.copy->reset(test_log, {0}));
  source.follow(r);
  const auto acknowledged = r.copy->high_watermark();
  auto entries = r.entries();
  const auto store = r.copy->store();
  r.close();
  tamper(r.folder.path, [&](rocksdb::DB& db, const auto& families) {
    for (const auto& e : entries)
      if (e.end() >= acknowledged) BOOST_REQUIRE(db.Delete({}, families.at("log/orders-1/0"), key_of(e.base.value)).ok());
  });
  r.open_store();
  must_fail(r.store->open_replica("orders-1", 0, {}), errc::corrupt,
            {"orders-1", "partition 0", "up to " + std::to_string(acknowledged.value) + " were acknowledged"});
  r.rejected_and_copied_again(source);
  BOOST_TEST(r.copy->store() != store);
}

BOOST_AUTO_TEST_CASE(a_damaged_or_missing_entry_above_the_watermark_is_corrupt) {
  for (const bool missing : {true, false}) {
    led r;
    const auto entries = r.entries();
    r.close();
    const auto& victim = entries[entries.size() - (missing ? 2 : 1)];
    tamper(r.folder.path, [&](rocksdb::DB& db, const auto& families) {
      auto* family = families.at("log/orders-1/0");
      if (missing) {
        BOOST_REQUIRE(db.Delete({}, family, key_of(victim.base.value)).ok());
        return;
      }
      std::string bytes(*victim.value);
      bytes[bytes.size() / 2] ^= 1;
      BOOST_REQUIRE(db.Put({}, family, key_of(victim.base.value), bytes).ok());
    });
    r.open_store();
    must_fail(r.store->open_replica("orders-1", 0, {}), errc::corrupt, {"orders-1", "offset"});
  }
}

BOOST_AUTO_TEST_CASE(lost_entries_or_a_lost_table_of_epochs_are_corrupt) {
  led r;
  r.close();
  tamper(r.folder.path, [&](rocksdb::DB& db, const auto& families) {
    BOOST_REQUIRE(db.Delete({}, families.at("meta"), std::string("orders-1\0\0\0\0\0t", 14) + key_of(1)).ok());
  });
  r.open_store();
  must_fail(r.store->open_replica("orders-1", 0, {}), errc::corrupt, {"table of epochs"});
  r.store.reset();
  tamper(r.folder.path,
         [&](rocksdb::DB& db, const auto& families) { BOOST_REQUIRE(db.DropColumnFamily(families.at("log/orders-1/0")).ok()); });
  r.open_store();
  must_fail(r.store->open_replica("orders-1", 0, {}), errc::corrupt, {"its entries are gone"});
  led source;
  r.rejected_and_copied_again(source);
}

BOOST_AUTO_TEST_CASE(a_replica_in_use_is_not_rejected) {
  led r;
  must_fail(r.store->reject_replica("orders-1", 0), errc::conflict, {"in use"});
}

BOOST_AUTO_TEST_SUITE_END()
