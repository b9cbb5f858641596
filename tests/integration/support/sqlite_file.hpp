#pragma once
// A second, independent look at a destination: its own connection, its own SQL.

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

struct sqlite3;

namespace millrace::testing {

struct sqlite_closer {
  void operator()(sqlite3* db) const noexcept;
};

/// Waits up to 10 s for locks. Throws with SQLite's message.
class sqlite_file {
public:
  explicit sqlite_file(const std::filesystem::path& path);
  void execute(const std::string& sql);
  /// Each row's cells joined by '|'; NULL shows as NULL, so that it differs from ''.
  std::vector<std::string> rows(const std::string& sql);
  /// The first cell of the first row, as text.
  std::string value(const std::string& sql);
  long long number(const std::string& sql);
  sqlite3* handle() const noexcept { return db_.get(); }

private:
  std::unique_ptr<sqlite3, sqlite_closer> db_;
};

} // namespace millrace::testing
