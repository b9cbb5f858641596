#pragma once
// What the tests of ingest share: a folder that goes away, a clock that only the test moves, a naive splitter to compare with.

#include "actors/ingest/file/file_source.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace ingest_test {

namespace fs = std::filesystem;
using millrace::storage::change_block;
using millrace::storage::payload_format;
using millrace::storage::state_entry;
using strings = std::vector<std::string>;

class temp_folder {
public:
  temp_folder() {
    std::string name = (fs::temp_directory_path() / "millrace-ingest-XXXXXX").string();
    if (!::mkdtemp(name.data())) throw std::runtime_error("mkdtemp failed");
    path_ = name;
  }
  temp_folder(const temp_folder&) = delete;
  temp_folder& operator=(const temp_folder&) = delete;
  ~temp_folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return path_ + '/' + name; }

private:
  std::string path_;
};

inline void write(const std::string& path, std::string_view bytes) {
  std::ofstream{path, std::ios::binary | std::ios::trunc} << bytes;
}
inline void append(const std::string& path, std::string_view bytes) {
  std::ofstream{path, std::ios::binary | std::ios::app} << bytes;
}

/// MILLRACE_SEED, or a new seed; printed, so that a failure can be run again.
inline std::uint64_t seed() {
  const char* given = std::getenv("MILLRACE_SEED");
  const std::uint64_t s = given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  BOOST_TEST_MESSAGE("MILLRACE_SEED=" << s);
  return s;
}

/// Time goes on only when a reader sleeps or a test says so.
struct test_clock {
  std::chrono::steady_clock::time_point now{std::chrono::hours{1}};
  void advance(std::chrono::milliseconds by) { now += by; }
};

inline millrace::actors::ingest::file::file_options options_for(const std::string& pattern, bool follow, test_clock& clock) {
  millrace::actors::ingest::file::file_options o;
  o.pattern = pattern;
  o.follow = follow;
  o.gather = std::chrono::milliseconds{0};
  o.settle = std::chrono::milliseconds{0};
  o.now = [&clock] { return clock.now; };
  o.sleep = [&clock](std::chrono::milliseconds t) { clock.advance(t); };
  return o;
}

inline strings records(const change_block& b) {
  strings out;
  for (std::size_t i = 0; i < b.starts.size(); ++i) {
    BOOST_REQUIRE_LE(std::size_t{b.starts[i]} + b.lengths[i], b.payloads.size());
    out.push_back(b.payloads.substr(b.starts[i], b.lengths[i]));
  }
  return out;
}

/// What the log would know: the newest value of each key.
class source_log {
public:
  void take(const change_block& b) {
    for (const auto& r : records(b)) records_.push_back(r);
    for (const auto& [key, value] : b.source_state) {
      if (value.empty())
        state_.erase(key);
      else
        state_[key] = value;
    }
    BOOST_TEST(b.starts.size() == b.lengths.size());
    ++blocks_;
  }
  std::vector<state_entry> state() const {
    std::vector<state_entry> out;
    for (const auto& [key, value] : state_) out.push_back({key, value});
    return out;
  }
  const strings& all() const { return records_; }
  std::size_t blocks() const { return blocks_; }
  /// The records since the last call.
  strings fresh() {
    strings out{records_.begin() + static_cast<std::ptrdiff_t>(told_), records_.end()};
    told_ = records_.size();
    return out;
  }

private:
  strings records_;
  std::map<std::string, std::string> state_;
  std::size_t told_ = 0, blocks_ = 0;
};

/// Polls without waiting until nothing comes. The pending error, if any, is returned.
inline millrace::actors::failure drain(millrace::actors::ingest::source_reader& reader, source_log& log) {
  for (;;) {
    auto block = reader.poll(std::chrono::milliseconds{0});
    if (!block) return block.error();
    if (!block.value()) return {};
    log.take(*block.value());
  }
}

/// Looks at the glob at once, then drains.
inline millrace::actors::failure look_and_drain(millrace::actors::ingest::file::file_source& source, source_log& log) {
  source.look_again();
  return drain(source, log);
}

inline strings naive_lines(std::string_view all, bool last_counts) {
  if (all.substr(0, 3) == "\xEF\xBB\xBF") all.remove_prefix(3);
  strings out;
  std::string line;
  const auto end_line = [&](bool lf) {
    if (lf && !line.empty() && line.back() == '\r') line.pop_back();
    if (line.find_first_not_of(" \t\r") != std::string::npos) out.push_back(line);
    line.clear();
  };
  for (const char c : all) {
    if (c == '\n')
      end_line(true);
    else
      line += c;
  }
  if (last_counts) end_line(false);
  return out;
}

/// RFC 4180 character by character; the first record is the header.
inline strings naive_csv(std::string_view all, bool last_counts) {
  if (all.substr(0, 3) == "\xEF\xBB\xBF") all.remove_prefix(3);
  strings out;
  std::string record;
  bool quoted = false, cell_begins = true;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const char c = all[i];
    if (quoted) {
      record += c;
      if (c == '"' && i + 1 < all.size() && all[i + 1] == '"')
        record += all[++i];
      else if (c == '"')
        quoted = false;
      continue;
    }
    if (c == '\n') {
      if (!record.empty() && record.back() == '\r') record.pop_back();
      if (!record.empty()) out.push_back(record);
      record.clear();
      cell_begins = true;
      continue;
    }
    quoted = c == '"' && cell_begins;
    cell_begins = c == ',';
    record += c;
  }
  if (last_counts && !record.empty() && record != "\r") out.push_back(record);
  return out;
}

} // namespace ingest_test
