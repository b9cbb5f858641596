#pragma once
// ONE file of a file source: what it is, how far it was read, and its next block.

#include "actors/ingest/file/file_identity.hpp"
#include "actors/ingest/file/file_options.hpp"

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace millrace::actors::ingest::file {

/// A file descriptor that closes itself.
class descriptor {
public:
  descriptor() = default;
  explicit descriptor(int fd) noexcept : fd_(fd) {}
  descriptor(descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  descriptor& operator=(descriptor&& other) noexcept;
  ~descriptor() { reset(); }
  void reset() noexcept;
  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }

private:
  int fd_ = -1;
};

/// Owner: one file_source. Reads only; not thread safe.
/// Invariant: position() is the beginning of a record (or the file's end); everything before it was handed out.
class source_file {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// A file never read before, or one that the log knows.
  source_file(const file_options& options, file_key key, std::string path, std::int64_t born_ns);
  source_file(const file_options& options, const file_state& state);

  // ---- What is known of it
  file_key key() const noexcept { return state_.key; }
  const std::string& path() const noexcept { return state_.path; }
  std::uint64_t position() const noexcept { return state_.position; }
  std::uint64_t size() const noexcept { return size_; }
  std::uint64_t unread() const noexcept { return size_ > state_.position ? size_ - state_.position : 0; }
  /// All of size() was looked at: what may be unread is a last line that waits for its end.
  bool exhausted() const noexcept { return size_ <= state_.position || exhausted_at_ == size_; }
  bool is_open() const noexcept { return static_cast<bool>(fd_); }
  std::int64_t modified_ns() const noexcept { return facts_.modified_ns; }
  /// Its content may be another one than the log knows: open() and refresh() it.
  bool unchecked() const noexcept { return !started_ && size_ != 0 && state_.start.length != 0; }
  std::uint32_t links() const noexcept { return facts_.links; }
  time_point grew_at() const noexcept { return grew_at_; }
  const file_state& state() const noexcept { return state_; }

  // ---- Looking. What they notice is told by `notices`, in order; a file that began anew has position() 0 afterwards.
  /// Takes what a look found at `path`. True if position() fell to 0, which the log should hear of at once.
  bool seen(const std::string& path, const file_facts& facts, time_point now, std::vector<std::string>& notices);
  /// Opens it if it is not open. Errors: unavailable with file and errno; not_found if the path leads to another file by now.
  result<void> open();
  void close() noexcept { fd_.reset(); }
  /// Compares the start of the open file with what is known. True if it is another content: position() is 0 now.
  /// Errors: unavailable.
  result<bool> check_start(std::vector<std::string>& notices);
  /// Asks the open file for its size. True if position() fell to 0. Errors: unavailable.
  result<bool> refresh(time_point now, std::vector<std::string>& notices);

  // ---- Reading
  /// The next block of the open file, refresh()ed before; none if there is no complete record beyond position(). Blocks without
  /// changes (blank lines only) move the position too. `at_end`: the last line needs no LF.
  /// Errors: unavailable; refused if a record is longer than record_bytes_max; conflict if the file was cut or rewritten
  /// meanwhile: refresh() and read again.
  result<std::optional<storage::change_block>> read(bool at_end, time_point now, std::vector<std::string>& notices);

private:
  result<std::size_t> read_at(std::string& buffer, std::size_t have, std::uint64_t at, std::size_t want) const;
  result<bool> read_header(bool at_end);
  void begin_anew(std::string why, std::vector<std::string>& notices);
  failure too_long(std::uint64_t at) const;
  void notice_joined_line(std::vector<std::string>& notices);

  const file_options& options_;
  file_state state_;
  file_facts facts_;
  descriptor fd_;
  std::uint64_t size_ = 0;
  std::uint64_t exhausted_at_ = ~std::uint64_t{0}; ///< size at which no complete record was left
  time_point exhausted_time_{};
  time_point grew_at_{};
  bool started_ = false; ///< the start was compared since the last change of facts
  bool joined_checked_ = false;
  std::optional<std::string> header_; ///< csv
  std::uint64_t header_end_ = 0;
};

} // namespace millrace::actors::ingest::file
