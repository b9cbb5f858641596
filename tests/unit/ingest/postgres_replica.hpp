#pragma once
// A log and a destination in memory for tests of the PostgreSQL source: applies every block as a load with `upsert` would, and
// refuses what a log must never hold (a change twice, out of order, half a transaction followed by another one).

#include "actors/ingest/postgres/pgoutput.hpp"
#include "storage/batch.hpp"

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace postgres_test {

using cells = std::vector<std::optional<std::string>>;

struct table_column {
  std::string name, type;
  std::uint16_t key = 0;
  bool identity = false;
  std::vector<std::string> labels;
};

struct table_shape {
  std::uint32_t id = 0;
  std::string name;
  bool snapshotting = false;
  std::vector<table_column> columns;
};

std::vector<table_shape> read_context(const std::string& context);
/// A line of COPY as cells.
cells read_copy_line(std::string_view line);

/// Rows by key, or a bag of them without one; each row by column name.
struct replica_table {
  using row = std::map<std::string, std::optional<std::string>>;
  std::map<std::vector<std::string>, row> by_key;
  std::multiset<row> bag;
  bool has_key = false;
  std::set<std::vector<std::string>> partial; ///< keys whose row is not whole
};

class replica {
public:
  /// The block is in the log now.
  void append(const millrace::storage::change_block& block);
  std::vector<millrace::storage::state_entry> state() const;

  std::map<std::string, replica_table> tables;
  std::vector<std::string> faults; ///< what must not be
  std::uint64_t changes = 0, snapshot_rows = 0, blocks = 0, open_ends = 0;
  std::vector<std::uint64_t> transaction_sizes;

private:
  void apply(const table_shape& t, std::string_view message);
  void apply_copy(const table_shape& t, std::string_view line);
  void check_order(const millrace::storage::change_block& block);
  std::map<std::string, std::string> state_;
  std::pair<std::uint64_t, std::uint64_t> last_{0, 0}; ///< commit, index
  bool open_ = false;
  std::uint64_t open_id_ = 0;
};

} // namespace postgres_test
