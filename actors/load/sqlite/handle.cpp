#include "actors/load/sqlite/handle.hpp"

#include "actors/load/destination.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace millrace::actors::load::sqlite {

void configure_library() { sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); }

namespace {

std::string parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

/// SQLite says "unable to open database file" for a dozen causes; the file system knows which one.
failure cannot_open(sqlite3* db, const std::string& path, const std::string& said) {
  struct stat info {};
  const auto parent = parent_of(path);
  if (::stat(parent.c_str(), &info) != 0) {
    const int why = errno;
    if (why == ENOENT)
      return make_failure(errc::unavailable,
                          said + ": the directory " + parent + " does not exist; create it, or mount what belongs there");
    return make_failure(errc::refused, said + ": the directory " + parent + " cannot be entered: " + std::strerror(why));
  }
  if (!S_ISDIR(info.st_mode)) return make_failure(errc::refused, said + ": " + parent + " is not a directory");
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode))
    return make_failure(errc::refused, said + ": it is not a regular file");
  // SQLite tries again read-only, so the errno it keeps may be that of the second attempt.
  const bool there = ::access(path.c_str(), F_OK) == 0;
  int os = db ? sqlite3_system_errno(db) : 0;
  if (::faccessat(AT_FDCWD, there ? path.c_str() : parent.c_str(), R_OK | W_OK, AT_EACCESS) != 0 ||
      ::faccessat(AT_FDCWD, parent.c_str(), W_OK, AT_EACCESS) != 0)
    os = errno;
  if (os == EACCES || os == EPERM || os == EROFS)
    return make_failure(errc::refused, said + ": " + std::strerror(os) +
                                           "; the node's user must be able to write the file and its directory " + parent +
                                           " (SQLite keeps -wal and -shm beside the file)");
  return make_failure(errc::unavailable, os ? said + ": " + std::strerror(os) : said);
}

/// The part of "KIND constraint failed: REST" behind the colon.
std::string_view rest_of(std::string_view message) {
  const auto colon = message.find(": ");
  return colon == std::string_view::npos ? std::string_view{} : message.substr(colon + 2);
}

/// "orders.a, orders.b" -> "a, b". Names may hold dots, so only the table's own prefix goes.
std::string without_table(std::string_view columns, std::string_view table) {
  std::string out;
  const std::string prefix = std::string(table) + '.';
  while (!columns.empty()) {
    const auto next = columns.find(", " + prefix);
    auto one = columns.substr(0, next);
    if (one.starts_with(prefix)) one.remove_prefix(prefix.size());
    if (!out.empty()) out += ", ";
    out += one;
    columns = next == std::string_view::npos ? std::string_view{} : columns.substr(next + 2);
  }
  return out;
}

} // namespace

std::string quoted(std::string_view name) {
  std::string out = "\"";
  for (const char c : name) {
    if (c == '"') out += '"';
    out += c;
  }
  return out += '"';
}

failure failure_of(sqlite3* db, int rc, const std::string& path, std::string_view doing) {
  // The handle's last error is not always this call's (a prepare that never reached it): then the code's own text is better.
  const bool same = db && (sqlite3_errcode(db) & 0xff) == (rc & 0xff);
  const int code = same ? sqlite3_extended_errcode(db) : rc;
  std::string said = "sqlite " + path + ": " + std::string(doing) + ": " + (same ? sqlite3_errmsg(db) : sqlite3_errstr(rc)) +
                     " (SQLite code " + std::to_string(code) + ")";
  switch (code & 0xff) {
  case SQLITE_CANTOPEN:
    return cannot_open(db, path, said);
  case SQLITE_BUSY:
  case SQLITE_LOCKED:
    return make_failure(errc::unavailable, said + "; another process holds a lock on it");
  case SQLITE_FULL:
    return make_failure(errc::unavailable, said + "; free space on its file system");
  case SQLITE_IOERR:
  case SQLITE_NOMEM:
  case SQLITE_PROTOCOL:
  case SQLITE_INTERRUPT:
  case SQLITE_ABORT:
    return make_failure(errc::unavailable, std::move(said));
  case SQLITE_READONLY:
    if (code == SQLITE_READONLY_DBMOVED)
      return make_failure(errc::unavailable, said + "; the file was moved or deleted while it was open");
    return make_failure(errc::refused, said + "; give the node's user write permission on the file and its directory");
  case SQLITE_PERM:
  case SQLITE_AUTH:
    return make_failure(errc::refused, said + "; give the node's user write permission on the file and its directory");
  case SQLITE_NOTADB:
    return make_failure(
        errc::refused,
        said + "; expected an SQLite 3 database or a file that does not exist yet: name another path, or move it away");
  case SQLITE_CORRUPT:
    return make_failure(errc::refused,
                        said + "; check it with PRAGMA integrity_check, restore it, or move it away and rewind the load");
  default:
    return make_failure(errc::refused, std::move(said));
  }
}

std::optional<row_error> row_error_of(sqlite3* db, int rc, std::string_view table) {
  const int primary = rc & 0xff;
  if (primary != SQLITE_CONSTRAINT && primary != SQLITE_MISMATCH && primary != SQLITE_TOOBIG) return std::nullopt;
  const int code = sqlite3_extended_errcode(db);
  const std::string_view said = sqlite3_errmsg(db);
  row_error out;
  out.reason = "constraint";
  out.message = "table " + quoted(table) + ": " + std::string(said);
  if (primary == SQLITE_MISMATCH || primary == SQLITE_TOOBIG) {
    out.reason = "type";
    return out;
  }
  switch (code) {
  case SQLITE_CONSTRAINT_NOTNULL:
    out.constraint = "NOT NULL";
    out.column = without_table(rest_of(said), table);
    break;
  case SQLITE_CONSTRAINT_PRIMARYKEY:
  case SQLITE_CONSTRAINT_ROWID:
  case SQLITE_CONSTRAINT_UNIQUE:
    out.constraint = code == SQLITE_CONSTRAINT_UNIQUE ? "UNIQUE" : "PRIMARY KEY";
    if (const auto rest = rest_of(said); rest.starts_with("index '"))
      out.constraint = rest.substr(7, rest.size() - 8);
    else
      out.column = without_table(rest, table);
    break;
  case SQLITE_CONSTRAINT_CHECK:
    out.constraint = rest_of(said);
    break;
  case SQLITE_CONSTRAINT_FOREIGNKEY:
    out.constraint = "FOREIGN KEY";
    break;
  case SQLITE_CONSTRAINT_TRIGGER:
    out.constraint = "TRIGGER";
    break;
  case SQLITE_CONSTRAINT_DATATYPE: // a STRICT table: "cannot store TEXT value in INTEGER column orders.qty"
    out.reason = "type";
    if (const auto at = said.rfind(" column "); at != std::string_view::npos)
      out.column = without_table(said.substr(at + 8), table);
    break;
  default:
    break;
  }
  return out;
}

} // namespace millrace::actors::load::sqlite
