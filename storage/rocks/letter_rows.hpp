#pragma once
// Dead letters as rows: their keys and their messages.

#include "storage/dead_letters.hpp"
#include "storage/rocks/keys.hpp"

namespace millrace::storage::rocks {

/// What changes in a letter's life; see schemas/dead_letter.capnp, LetterState.
struct letter_state {
  dead_letter_state state = dead_letter_state::quarantined;
  std::uint32_t attempts = 1;
  std::uint64_t superseded_by = 0;
  std::uint64_t key_hash = 0, before_key_hash = 0;
  std::string reason;
  bool open() const { return state == dead_letter_state::quarantined; }
};

struct letter_counts {
  dead_letter_counts sums;
  std::vector<std::pair<std::string, std::uint64_t>> open_by_reason;

  void add(const letter_state& s) { count(s, 1); }
  void remove(const letter_state& s) { count(s, -1); }

private:
  void count(const letter_state& s, int by);
};

struct filtered_note {
  offset first, end;
  std::uint64_t before = 0;
  std::string bits;
  /// Filtered ones in [first, min(end, below)).
  std::uint64_t count_below(offset below) const;
};

/// Keys of one load in one partition.
class letter_keys {
public:
  letter_keys(std::string_view uid, std::uint32_t partition, std::string_view load);
  std::string table(letter_table t) const { return prefix_ + static_cast<char>(t); }
  std::string row(letter_table t, offset at) const;
  std::string of_key(std::uint64_t key_hash, offset at) const;
  std::string of_key(std::uint64_t key_hash) const;

private:
  std::string prefix_;
};

std::string to_row(const dead_letter& letter); ///< without payload
std::string to_row(const letter_state& state);
std::string to_row(const letter_counts& counts);
std::string to_row(const filtered_note& note);
std::string to_row(std::span<const outcome> outcomes);
std::string to_row(const dead_letter_table::pending_rewind& rewind);

result<dead_letter> letter_from(std::string_view row, const std::string& where);
result<letter_state> state_from(std::string_view row, const std::string& where);
result<letter_counts> counts_from(std::string_view row, const std::string& where);
result<filtered_note> note_from(offset first, std::string_view row, const std::string& where);
result<std::vector<outcome>> outcomes_from(std::string_view row, const std::string& where);
result<dead_letter_table::pending_rewind> rewind_from(std::string_view row, const std::string& where);

letter_state state_of(const dead_letter& letter);
/// The newer truth of the state row over the letter's own.
void overlay(dead_letter& letter, const letter_state& state);

} // namespace millrace::storage::rocks
