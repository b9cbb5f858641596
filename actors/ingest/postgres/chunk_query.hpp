#pragma once
// The transaction in which a chunk is read: what it sees, what its rows are called, and the COPY that gives them.

#include "actors/ingest/postgres/chunk_pool.hpp"

namespace millrace::actors::ingest::postgres {

struct begun_chunk {
  bool moved = false; ///< another file or another key than was planned: nothing else is set
  xid_snapshot seen;
  lsn at;                               ///< of the log, after the snapshot was taken
  std::int64_t time_us = 0;             ///< now
  std::string context;                  ///< the table's schema, snapshotting
  std::vector<std::size_t> key_columns; ///< of the window key, among the columns copied
  std::string copy;                     ///< COPY (...) TO STDOUT
};

/// Leaves the transaction open, repeatable read. The tables are locked against a rewrite until its end.
result<begun_chunk> begin_chunk(connection& c, const chunk_job& job);

/// "a", "b" from ONLY "s"."t" where ...
std::string copy_statement(const table_schema& table, const std::string& from, const std::string& condition,
                           const std::string& row_filter);
/// ("k1", "k2") in (('1', 'x'), ...)
result<std::string> key_condition(const connection& c, const std::vector<std::string>& columns,
                                  const std::vector<std::string>& keys);

} // namespace millrace::actors::ingest::postgres
