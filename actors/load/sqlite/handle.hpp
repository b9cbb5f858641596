#pragma once
// SQLite's C handles, wrapped where they are made, and its result codes in our words.

#include "actors/errc.hpp"

#include <memory>
#include <optional>
#include <sqlite3.h>
#include <string>
#include <string_view>

namespace millrace::actors::load {
struct row_error;
}

namespace millrace::actors::load::sqlite {

struct db_closer {
  void operator()(sqlite3* db) const noexcept { sqlite3_close_v2(db); }
};
using db_ptr = std::unique_ptr<sqlite3, db_closer>;

/// Once, before the process uses SQLite: no memory statistics, whose one lock all workers and writers would share.
void configure_library();

/// "na""me": any text but one with a NUL byte is an identifier.
std::string quoted(std::string_view name);

/// What the operator needs to know of a failed call, and whether a retry can help: unavailable (locks, disk, memory, a missing
/// directory) or refused (permissions, damage, another kind of file, SQL that this schema does not take).
failure failure_of(sqlite3* db, int rc, const std::string& path, std::string_view doing);

/// The failure as a verdict about the change's data, if it is one: constraints, datatype mismatches, values that are too big.
/// None: it is about the database and says nothing about the change.
std::optional<row_error> row_error_of(sqlite3* db, int rc, std::string_view table);

} // namespace millrace::actors::load::sqlite
