#pragma once
// Changes of one table in order -> one net operation a key. Pure.

#include "actors/load/bulk/key_map.hpp"

#include <deque>
#include <span>
#include <vector>

namespace millrace::actors::load::bulk {

/// What is to happen to one key.
struct net_row {
  enum class kind : std::uint8_t {
    write, ///< the row is there afterwards with these cells; `missing` ones keep their value
    erase, ///< the row is gone afterwards (upsert)
    mark,  ///< soft_delete: a row that is there is marked deleted, and keeps its values
    move,  ///< the row at `before` gets this key and these cells in place; without one it is a write
  };
  kind what = kind::write;
  bool fresh = false;       ///< the key's first operation here is an insert of a whole row: most likely it is not there yet
  bool complete = true;     ///< no relevant cell is missing
  bool inserts = false;     ///< an insert is among them: without a row to keep values it is inserted as it is
  bool erase_first = false; ///< a delete came before the write: columns that it does not name start anew
  bool deleted = false;     ///< soft_delete: the row ends as deleted
  const transform::cell* cells = nullptr;  ///< by the layout; of erase and mark only the key's count
  const transform::cell* before = nullptr; ///< move: the old key by itself
  std::uint32_t change = 0;                ///< the caller's number of the last change that had a part in it
};

/// Applied to any table, the net rows have the effect of the changes one by one, in any order: no two of them name the same key.
/// The cells of rows must outlive the use of net rows; merged ones live here.
class coalescer {
public:
  /// `relevant`: the columns that reach the destination.
  void begin(const transform::table_layout& layout, std::vector<std::uint32_t> relevant, bool soft_delete);
  /// Takes an insert, update or delete of a row of the layout. False: it does not merge with what is here (a key that moved away
  /// and comes again, an update that lacks columns of a row deleted here): the caller applies what is here, begins anew and adds
  /// it again, which then works.
  bool add(const transform::row_set& set, const transform::row& r, std::uint32_t change);
  std::span<const net_row> rows() const noexcept { return rows_; }
  bool empty() const noexcept { return rows_.empty(); }

private:
  bool whole(const transform::cell* cells) const noexcept;
  bool write(const transform::cell* cells, bool insert, std::uint32_t change);
  bool remove(const transform::cell* cells, std::uint32_t change);
  bool move(const transform::cell* before, const transform::cell* cells, std::uint32_t change);
  const transform::cell* merged(const transform::cell* under, const transform::cell* over);

  const transform::table_layout* layout_ = nullptr;
  std::vector<std::uint32_t> relevant_;
  bool soft_ = false;
  key_map keys_; ///< to index into rows_; or gone: the key that a move left
  std::vector<net_row> rows_;
  std::deque<std::vector<transform::cell>> merged_;
};

} // namespace millrace::actors::load::bulk
