#pragma once
// THE FILE SOURCE: every file that a glob matches, as one stream of blocks. README.md of actors/ingest says which rules it
// follows.
//
//   look_at(pattern) --every second--> files_ (by inode) --order_--> source_file::read --block + state--> ingest actor
//                                        ^ state of the log

#include "actors/ingest/file/directory_look.hpp"
#include "actors/ingest/file/source_file.hpp"
#include "actors/ingest/source_reader.hpp"

#include <memory>
#include <unordered_map>

namespace millrace::actors::ingest::file {

class file_source final : public source_reader {
public:
  explicit file_source(file_options options);

  result<void> open(std::span<const storage::state_entry> state) override;
  result<std::optional<storage::change_block>> poll(std::chrono::milliseconds wait) override;
  void acknowledged(std::span<const storage::state_entry>) override {} // files are never changed or deleted by us
  source_status status() const override;
  std::vector<std::string> take_notices() override { return std::exchange(notices_, {}); }

  /// The next poll() looks at the glob whatever the clock says.
  void look_again() noexcept { next_look_ = {}; }
  /// For tests of the bound.
  std::size_t open_files() const noexcept;

private:
  using time_point = source_file::time_point;
  using block_or_none = std::optional<storage::change_block>;

  struct entry {
    source_file file;
    std::uint64_t order = 0;      ///< a follower serves files in this order
    std::uint64_t turn_end = 0;   ///< its turn ends here: a file that grows all the time must not starve the others
    entry* predecessor = nullptr; ///< had this file's path before (rotation): is read to its end first
    bool present = false;         ///< the last look found it under a name that matches
    bool over = false;            ///< its name is gone and all that we can reach of it was read
    std::string problem;          ///< why it cannot be read now
    explicit entry(source_file f) : file(std::move(f)) {}
  };
  using files_map = std::unordered_map<file_key, std::unique_ptr<entry>>;

  // ---- Looking (file_source_look.cpp)
  void look(time_point now);
  void admit(std::vector<found_file> found, time_point now);
  bool adopt_renumbered(const found_file& f, std::unordered_map<std::uint64_t, entry*>& unseen);
  void check_changed(time_point now);
  void find_missing(time_point now);
  void sort();
  void tell_once(const std::vector<std::string>& before, const std::vector<std::string>& lines);

  // ---- Reading (file_source.cpp)
  result<block_or_none> next_block(time_point now);
  result<block_or_none> next_in_path_order(time_point now);
  result<block_or_none> next_in_turn(time_point now);
  result<block_or_none> read_after_predecessor(entry& e, time_point now);
  result<block_or_none> read(entry& e, time_point now);
  result<void> open_file(entry& e);
  bool may_end(const entry& e, time_point now) const;
  void finish_missing(time_point now);
  void forget(entry& e);
  void note(const entry& e) { changed_[state_key(e.file.key())] = to_entry(e.file.state()).value; }
  block_or_none take_changed_state();
  bool all_read() const;
  std::string waiting() const;

  file_options options_;
  files_map files_;           ///< every file that the log or a look knows
  std::vector<entry*> order_; ///< those that are not over, in the order of reading
  std::vector<entry*> open_;  ///< at most open_files_max
  entry* current_ = nullptr;  ///< whose turn it is
  std::uint64_t next_order_ = 0;
  std::unordered_map<std::string, std::string> changed_; ///< state that no block has carried yet
  std::vector<std::string> notices_;
  std::vector<std::string> problems_, skipped_; ///< of the last look
  time_point next_look_{};
  time_point small_block_at_{};
  bool gathering_ = false; ///< a small block waits for its time
};

} // namespace millrace::actors::ingest::file
