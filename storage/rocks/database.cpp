#include "storage/rocks/database.hpp"

#include "storage/rocks/keys.hpp"
#include "storage/rocks/message_logger.hpp"

#include <rocksdb/cache.h>

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace millrace::storage::rocks {
namespace {

constexpr std::string_view format_key = "format";
constexpr std::uint64_t format_version = 1;

/// A new folder is durable only once the folder that holds it is synced.
void sync_folder(const std::filesystem::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

result<void> make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  auto missing = std::filesystem::absolute(folder, error);
  std::vector<std::filesystem::path> parents;
  for (; !error && !std::filesystem::exists(missing, error); missing = missing.parent_path())
    parents.push_back(missing.parent_path());
  error.clear();
  std::filesystem::create_directories(folder, error);
  if (error) return failure{errc::io_failed, "cannot make the folder " + folder.string() + ": " + error.message()};
  for (const auto& parent : parents) sync_folder(parent);
  return success();
}

failure open_failure(const rocksdb::Status& status, const std::filesystem::path& directory, const std::string& said = {}) {
  const auto text = status.ToString() + (said.empty() ? "" : " (" + said + ")");
  if (status.IsCorruption() || status.IsPathNotFound() || status.IsNotFound())
    return {errc::corrupt, "the store in " + directory.string() + " is damaged: " + text +
                               ". It was not opened, so that nothing acknowledged is dropped silently. Put back a copy of the "
                               "folder, or move it away to begin anew: sources then send again what they still have."};
  if (text.find("/LOCK:") != text.npos || text.find("lock ") != text.npos)
    return {errc::io_failed, "the store in " + directory.string() + " is in use by another process: " + text};
  return {errc::io_failed, "cannot open the store in " + directory.string() + ": " + text};
}

std::string mebibytes(std::uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

} // namespace

failure read_failure(const rocksdb::Status& status, std::string_view where) {
  if (status.IsCorruption() || status.IsPathNotFound())
    return {errc::corrupt, std::string(where) + ": stored data is damaged: " + status.ToString()};
  return {errc::io_failed, std::string(where) + ": " + status.ToString()};
}

std::string log_family_name(std::string_view uid, std::uint32_t partition) {
  return "log/" + std::string(uid) + '/' + std::to_string(partition);
}

result<std::shared_ptr<database>> database::open(const store_options& options) {
  std::shared_ptr<database> self(new database);
  self->directory_ = options.directory / "rocks";
  self->on_message_ = options.on_message;
  self->memory_ = plan_memory(options.memory_bytes);
  // A start after a kill may have to write one memtable of a log before anything else.
  if (options.disk_reserve_bytes != 0)
    self->reserve_bytes_ =
        std::max<std::uint64_t>(options.disk_reserve_bytes, self->memory_.log_memtable + (std::size_t{16} << 20));
  if (auto ok = make_folder(self->directory_); !ok) return ok.error();
  self->cache_ = rocksdb::NewLRUCache(self->memory_.block_cache, 2);

  auto settings = database_settings(self->memory_);
  const auto logger = std::make_shared<message_logger>(options.on_message);
  settings.info_log = logger;
  self->damage_ = std::make_shared<damage_listener>();
  settings.listeners.push_back(self->damage_);
  const auto logs = log_settings(self->memory_, self->cache_);
  const auto tables = table_settings(self->cache_);

  std::vector<std::string> names;
  const auto path = self->directory_.string();
  if (auto status = rocksdb::DB::ListColumnFamilies(settings, path, &names); !status.ok()) {
    // Only a folder that never held a store has no CURRENT file: a store that lost it must not be replaced by an empty one.
    std::error_code error;
    const bool fresh = !std::filesystem::exists(self->directory_ / "CURRENT", error) &&
                       std::none_of(std::filesystem::directory_iterator(self->directory_, error), {}, [](const auto& file) {
                         return file.path().extension() == ".sst" || file.path().filename().string().starts_with("MANIFEST-");
                       });
    if (error) return failure{errc::io_failed, "cannot read the folder " + path + ": " + error.message()};
    if (!fresh) return open_failure(status, self->directory_);
    names = {rocksdb::kDefaultColumnFamilyName};
  }
  for (const char* needed : {"meta", "letters", "catalog"})
    if (std::find(names.begin(), names.end(), needed) == names.end()) names.emplace_back(needed);

  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const auto& name : names) families.emplace_back(name, name.starts_with("log/") ? logs : tables);
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  if (auto status = rocksdb::DB::Open(settings, path, families, &handles, &db); !status.ok())
    return open_failure(status, self->directory_, logger->remembered());
  self->db_.reset(db);
  for (auto* handle : handles) {
    const auto& name = handle->GetName();
    if (name == "meta")
      self->meta_ = handle;
    else if (name == "letters")
      self->letters_ = handle;
    else if (name == "catalog")
      self->catalog_ = handle;
    else if (name == rocksdb::kDefaultColumnFamilyName)
      self->default_ = handle;
    else
      self->logs_[name] = handle;
  }
  sync_folder(options.directory);

  std::string stored;
  auto status = self->db_->Get({}, self->default_, slice(format_key), &stored);
  if (status.IsNotFound()) {
    rocksdb::WriteBatch first;
    std::string value;
    append_be64(value, format_version);
    first.Put(self->default_, slice(format_key), value);
    if (auto ok = self->write(first, durability::synced, "the store's format"); !ok) return ok.error();
  } else if (!status.ok()) {
    return open_failure(status, self->directory_);
  } else if (stored.size() != 8 || read_be64(stored.data()) != format_version) {
    return failure{errc::corrupt, "the store in " + path + " has format " +
                                      (stored.size() == 8 ? std::to_string(read_be64(stored.data())) : "'" + stored + "'") +
                                      ", this version reads format " + std::to_string(format_version)};
  }
  return self;
}

database::~database() {
  if (!db_) return;
  for (auto& [name, handle] : logs_) db_->DestroyColumnFamilyHandle(handle);
  for (auto* handle : {default_, meta_, letters_, catalog_})
    if (handle != nullptr) db_->DestroyColumnFamilyHandle(handle);
  if (auto status = db_->Close(); !status.ok()) say("closing the store: " + status.ToString());
}

rocksdb::ColumnFamilyHandle* database::log_family(const std::string& name) const {
  std::lock_guard lock(families_mutex_);
  const auto found = logs_.find(name);
  return found == logs_.end() ? nullptr : found->second;
}

std::vector<std::string> database::log_families() const {
  std::lock_guard lock(families_mutex_);
  std::vector<std::string> names;
  for (const auto& [name, handle] : logs_) names.push_back(name);
  return names;
}

result<rocksdb::ColumnFamilyHandle*> database::create_log_family(const std::string& name) {
  if (auto ok = refuse_if_failed(); !ok) return ok.error();
  rocksdb::ColumnFamilyHandle* handle = nullptr;
  if (auto status = db_->CreateColumnFamily(log_settings(memory_, cache_), name, &handle); !status.ok())
    return failed_write(status, "making column family " + name);
  std::lock_guard lock(families_mutex_);
  logs_[name] = handle;
  return handle;
}

result<void> database::drop_log_family(const std::string& name) {
  if (auto ok = refuse_if_failed(); !ok) return ok.error();
  std::lock_guard lock(families_mutex_);
  const auto found = logs_.find(name);
  if (found == logs_.end()) return success();
  if (auto status = db_->DropColumnFamily(found->second); !status.ok())
    return failed_write(status, "dropping column family " + name);
  db_->DestroyColumnFamilyHandle(found->second);
  logs_.erase(found);
  return success();
}

result<void> database::write(rocksdb::WriteBatch& batch, durability d, std::string_view what) {
  if (auto ok = refuse_if_failed(); !ok) return ok.error();
  if (damage_->take()) settle_damage();
  rocksdb::WriteOptions options;
  options.sync = d == durability::synced;
  if (auto status = db_->Write(options, &batch); !status.ok()) return failed_write(status, what);
  return success();
}

result<void> database::flush(rocksdb::ColumnFamilyHandle* family, std::string_view what) {
  if (auto ok = refuse_if_failed(); !ok) return ok.error();
  if (auto status = db_->Flush({}, family); !status.ok()) return failed_write(status, what);
  return success();
}

result<void> database::refuse_if_failed() const {
  if (!failed_.load(std::memory_order_acquire)) return success();
  std::lock_guard lock(failure_mutex_);
  return failure{errc::io_failed, "the store takes no writes since one failed; restart the node. It was: " + first_failure_};
}

void database::settle_damage() {
  say("a compaction met a damaged block; the logs' files stay where they are until the next start. Readers of the damaged offset "
      "are told");
  std::lock_guard lock(families_mutex_);
  for (auto& [name, handle] : logs_)
    if (auto status = db_->SetOptions(handle, {{"disable_auto_compactions", "true"}}); !status.ok())
      say("cannot stop the compaction of " + name + ": " + status.ToString());
}

failure database::failed_write(const rocksdb::Status& status, std::string_view what) {
  failure f{errc::io_failed, "cannot write " + std::string(what) + " in " + directory_.string() + ": " + status.ToString()};
  {
    std::lock_guard lock(failure_mutex_);
    if (first_failure_.empty()) first_failure_ = f.message;
  }
  failed_.store(true, std::memory_order_release);
  return f;
}

node_store::disk_space database::space() const {
  struct statvfs fs {};
  node_store::disk_space s;
  if (::statvfs(directory_.c_str(), &fs) != 0) {
    say("cannot ask for the free space of " + directory_.string() + ": " + std::strerror(errno));
    return s;
  }
  s.free_bytes = std::uint64_t{fs.f_bavail} * fs.f_frsize;
  s.total_bytes = std::uint64_t{fs.f_blocks} * fs.f_frsize;
  const auto floor = memory_.log_memtable + (std::size_t{16} << 20);
  s.reserve_bytes = reserve_bytes_ != 0
                        ? reserve_bytes_
                        : std::max<std::uint64_t>(floor, std::min<std::uint64_t>(std::uint64_t{512} << 20, s.total_bytes / 20));
  return s;
}

result<void> database::check_space(use u, std::uint64_t bytes, std::string_view what) const {
  const auto s = space();
  if (s.total_bytes == 0) return success(); // could not ask: the write itself will tell
  const auto keep = u == use::data ? s.reserve_bytes : s.reserve_bytes / 8;
  // Twice: once in the WAL, once in a file, before the WAL goes.
  if (s.free_bytes >= keep && s.free_bytes - keep >= 2 * bytes) return success();
  return failure{errc::no_space, std::string(what) + " needs " + mebibytes(2 * bytes + ((1u << 20) - 1)) + ", but " +
                                     directory_.string() + " has " + mebibytes(s.free_bytes) + " free of " +
                                     mebibytes(s.total_bytes) + ", and " + mebibytes(keep) + " are kept in reserve"};
}

void database::say(std::string_view line) const {
  if (on_message_) on_message_(line);
}

} // namespace millrace::storage::rocks
