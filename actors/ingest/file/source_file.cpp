#include "actors/ingest/file/source_file.hpp"

#include "actors/ingest/framing.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace millrace::actors::ingest::file {
namespace {

failure io_failure(const char* what, const std::string& path, int error) {
  return make_failure(errc::unavailable, std::string{"cannot "} + what + ' ' + path + ": " + std::strerror(error) + " (errno " +
                                             std::to_string(error) + ")");
}

std::string bytes_text(std::uint64_t n) { return std::to_string(n) + (n == 1 ? " byte" : " bytes"); }

} // namespace

descriptor& descriptor::operator=(descriptor&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void descriptor::reset() noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

source_file::source_file(const file_options& options, file_key key, std::string path, std::int64_t born_ns) : options_(options) {
  state_.key = key;
  state_.path = std::move(path);
  state_.born_ns = born_ns;
}

source_file::source_file(const file_options& options, const file_state& state) : options_(options), state_(state) {
  size_ = state.position;
}

void source_file::begin_anew(std::string why, std::vector<std::string>& notices) {
  notices.push_back(state_.path + ' ' + why + ": reading it from its start");
  state_.position = 0;
  state_.start = {};
  exhausted_at_ = ~std::uint64_t{0};
  header_.reset();
  header_end_ = 0;
  joined_checked_ = false;
}

bool source_file::seen(const std::string& path, const file_facts& facts, time_point now, std::vector<std::string>& notices) {
  const bool changed =
      facts.size != facts_.size || facts.modified_ns != facts_.modified_ns || facts.changed_ns != facts_.changed_ns;
  if (changed) started_ = false;
  if (facts.size > size_ || facts_.key != facts.key) grew_at_ = now;
  const auto size_before = std::max(size_, state_.position);
  state_.path = path;
  facts_ = facts;
  size_ = facts.size;
  const auto known_birth = std::exchange(state_.born_ns, facts.born_ns);
  if (known_birth != 0 && facts.born_ns != 0 && known_birth != facts.born_ns) {
    // The kernel gave the inode of a deleted file to this one. Its start may well be the same (a CSV header).
    close();
    if (state_.position == 0 && state_.start.length == 0) return false;
    begin_anew("is a new file on the inode of one that was read before", notices);
    return true;
  }
  if (facts.size < state_.position) {
    begin_anew("shrank from " + std::to_string(size_before) + " to " + bytes_text(facts.size), notices);
    return true;
  }
  return false;
}

result<void> source_file::open() {
  if (fd_) return success();
  // O_NONBLOCK: should the name lead to a named pipe by now, opening must not wait for its writer.
  descriptor fd{::open(state_.path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)};
  if (!fd) {
    if (errno == ENOENT || errno == ENOTDIR) return make_failure(errc::not_found, state_.path + " is gone");
    return io_failure("open", state_.path, errno);
  }
  const auto facts = facts_of(fd.get());
  if (!facts) return io_failure("look at", state_.path, facts.error().code.value());
  if (facts.value().key != state_.key || !facts.value().regular())
    return make_failure(errc::not_found, state_.path + " leads to another file by now");
  (void)::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_SEQUENTIAL); // doubles the kernel's read-ahead; an advice may fail
  fd_ = std::move(fd);
  started_ = joined_checked_ = false;
  return success();
}

/// Fills `buffer` from `have` with up to `want` bytes of the file at `at`; fewer only at the file's end.
result<std::size_t> source_file::read_at(std::string& buffer, std::size_t have, std::uint64_t at, std::size_t want) const {
  buffer.resize(have + want);
  std::size_t got = 0;
  while (got < want) {
    const ssize_t n = ::pread(fd_.get(), buffer.data() + have + got, want - got, static_cast<off_t>(at + got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      return io_failure(("read " + bytes_text(want) + " at byte " + std::to_string(at) + " of").c_str(), state_.path, errno);
    if (n == 0) break;
    got += static_cast<std::size_t>(n);
  }
  buffer.resize(have + got);
  return got;
}

result<bool> source_file::check_start(std::vector<std::string>& notices) {
  std::string bytes;
  if (auto got = read_at(bytes, 0, 0, file_start::start_bytes_max); !got) return got.error();
  const std::string_view view = bytes;
  auto& start = state_.start;
  started_ = true;
  bool anew = false;
  if (view.size() < start.length || start_hash(view.substr(0, start.length)) != start.hash) {
    anew = start.length != 0;
    if (anew) begin_anew("begins with other bytes than the file read before on its inode (rewritten in place)", notices);
  }
  // The start grows with the file, so that a file first seen with three bytes is not known by these three for ever.
  if (view.size() > start.length) start = {static_cast<std::uint32_t>(view.size()), start_hash(view)};
  return anew;
}

result<bool> source_file::refresh(time_point now, std::vector<std::string>& notices) {
  const auto facts = facts_of(fd_.get());
  if (!facts) return io_failure("look at", state_.path, facts.error().code.value());
  const std::string path = state_.path;
  bool anew = seen(path, facts.value(), now, notices);
  if (!started_ && size_ != 0) {
    auto other = check_start(notices);
    if (!other) return other.error();
    anew = anew || other.value();
  }
  return anew;
}

failure source_file::too_long(std::uint64_t at) const {
  return make_failure(errc::refused, state_.path + ": the record at byte " + std::to_string(at) + " is longer than " +
                                         bytes_text(options_.record_bytes_max) + ", the most that a record may have; expected " +
                                         (options_.format == storage::payload_format::csv ? "CSV with every quote closed"
                                                                                          : "lines that end with LF"));
}

/// Reads the first record; false while it is not complete.
result<bool> source_file::read_header(bool at_end) {
  std::string bytes;
  for (std::size_t want = 64u << 10;; want *= 2) {
    want = static_cast<std::size_t>(std::min<std::uint64_t>({want, size_, options_.record_bytes_max + 1}));
    const bool whole = want == size_;
    if (auto got = read_at(bytes, bytes.size(), bytes.size(), want - std::min(want, bytes.size())); !got) return got.error();
    const auto record = first_csv_record(bytes, byte_order_mark(bytes), at_end && whole);
    if (record.end != first_record::npos) {
      header_ = std::string{record.text};
      header_end_ = record.end;
      return true;
    }
    if (bytes.size() > options_.record_bytes_max) return too_long(0);
    if (whole) return false;
  }
}

/// A last line without LF was taken as a record; now the file goes on in its middle. Nothing is lost, but the operator should
/// know why both halves are bad records.
void source_file::notice_joined_line(std::vector<std::string>& notices) {
  if (std::exchange(joined_checked_, true) || state_.position == 0) return;
  std::string two;
  if (auto got = read_at(two, 0, state_.position - 1, 2); !got || got.value() < 2) return;
  if (two[0] != '\n' && two[1] != '\n' && two[1] != '\r')
    notices.push_back(state_.path + " goes on at byte " + std::to_string(state_.position) +
                      " in the middle of a line that was taken as its last: the rest of it is a record of its own");
}

result<std::optional<storage::change_block>> source_file::read(bool at_end, time_point now, std::vector<std::string>& notices) {
  using block_or_none = std::optional<storage::change_block>;
  if (size_ <= state_.position) return block_or_none{};
  if (!at_end && exhausted_at_ != ~std::uint64_t{0} && size_ >= exhausted_at_) {
    // No complete record was there. A long one that comes slowly is not read again for every few bytes.
    const std::uint64_t partial = exhausted_at_ - std::min(exhausted_at_, state_.position), more = size_ - exhausted_at_;
    const bool patient = partial > options_.block_bytes && more < partial / 4 && now - exhausted_time_ < options_.look_interval;
    if (more == 0 || patient) return block_or_none{};
  }
  const auto nothing_complete = [&] {
    exhausted_at_ = size_;
    exhausted_time_ = now;
    return block_or_none{};
  };

  const bool csv = options_.format == storage::payload_format::csv;
  if (csv && !header_) {
    auto known = read_header(at_end);
    if (!known) return known.error();
    if (!known.value() && !at_end) return nothing_complete();
    if (!known.value()) header_end_ = size_; // nothing but empty lines: the header, if any, is still to come behind them
  }
  const std::uint64_t begin = csv ? std::max(state_.position, header_end_) : state_.position;
  notice_joined_line(notices);

  storage::change_block block;
  block.format = options_.format;
  block.envelope = options_.envelope;
  std::string& bytes = block.payloads;
  std::size_t used = 0;
  const std::uint64_t there = size_ > begin ? size_ - begin : 0;
  for (std::size_t want = options_.block_bytes; there > 0; want *= 2) {
    want = static_cast<std::size_t>(std::min<std::uint64_t>({want, there, options_.record_bytes_max + 1}));
    const bool whole = want == there;
    if (auto got = read_at(bytes, bytes.size(), begin + bytes.size(), want - bytes.size()); !got) return got.error();
    if (bytes.size() < want) return make_failure(errc::conflict, state_.path + " shrank while it was read");
    const std::size_t from = begin == 0 ? byte_order_mark(bytes) : 0;
    used = frame(options_.format, bytes, from, at_end && whole, {block.starts, block.lengths});
    if (used == from && !at_end && used < bytes.size()) used = 0; // a byte order mark alone is no progress
    if (used != 0) break;
    if (bytes.size() > options_.record_bytes_max) return too_long(begin);
    if (whole) break;
  }
  // After the bytes: had the file been rewritten before we read them, its start would differ now.
  auto other = check_start(notices);
  if (!other) return other.error();
  if (other.value()) return make_failure(errc::conflict, state_.path + " was rewritten while it was read");

  if (begin + used == state_.position) return nothing_complete();
  bytes.resize(used);
  block.origin = state_.path;
  block.origin_position = begin;
  if (csv && header_) block.context = *header_;
  state_.position = begin + used;
  exhausted_at_ = ~std::uint64_t{0};
  block.source_state.push_back(to_entry(state_));
  return block_or_none{std::move(block)};
}

} // namespace millrace::actors::ingest::file
