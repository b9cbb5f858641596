#include "tests/integration/support/sqlite_file.hpp"

#include <sqlite3.h>
#include <stdexcept>

namespace millrace::testing {

void sqlite_closer::operator()(sqlite3* db) const noexcept { sqlite3_close_v2(db); }

sqlite_file::sqlite_file(const std::filesystem::path& path) {
  sqlite3* db = nullptr;
  const int code = sqlite3_open(path.c_str(), &db);
  db_.reset(db);
  if (code != SQLITE_OK) throw std::runtime_error(path.string() + ": " + sqlite3_errmsg(db));
  sqlite3_busy_timeout(db, 10000);
  // Checkpoints are the node's: one of a second connection beside its writes can damage the file before SQLite 3.51.3.
  sqlite3_wal_autocheckpoint(db, 0);
  sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
}

void sqlite_file::execute(const std::string& sql) {
  if (sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK)
    throw std::runtime_error(std::string(sqlite3_errmsg(db_.get())) + " in: " + sql);
}

std::vector<std::string> sqlite_file::rows(const std::string& sql) {
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v2(db_.get(), sql.c_str(), -1, &raw, nullptr) != SQLITE_OK)
    throw std::runtime_error(std::string(sqlite3_errmsg(db_.get())) + " in: " + sql);
  std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)> statement(raw, sqlite3_finalize);
  std::vector<std::string> rows;
  int code = 0;
  while ((code = sqlite3_step(raw)) == SQLITE_ROW) {
    std::string row;
    for (int column = 0; column < sqlite3_column_count(raw); ++column) {
      if (column) row += '|';
      const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(raw, column));
      row += text ? std::string(text, static_cast<std::size_t>(sqlite3_column_bytes(raw, column))) : "NULL";
    }
    rows.push_back(std::move(row));
  }
  if (code != SQLITE_DONE) throw std::runtime_error(std::string(sqlite3_errmsg(db_.get())) + " in: " + sql);
  return rows;
}

std::string sqlite_file::value(const std::string& sql) {
  const auto all = rows(sql);
  if (all.empty()) throw std::runtime_error("no row from: " + sql);
  return all.front();
}

long long sqlite_file::number(const std::string& sql) { return std::stoll(value(sql)); }

} // namespace millrace::testing
