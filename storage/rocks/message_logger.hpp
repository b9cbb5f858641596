#pragma once
// RocksDB's words to the caller's. Never its default info log: Debian's build aborts the process when that meets a full disk.

#include <rocksdb/env.h>

#include <cstdarg>
#include <cstdio>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

namespace millrace::storage::rocks {

class message_logger final : public rocksdb::Logger {
public:
  explicit message_logger(std::function<void(std::string_view)> on_message)
      : Logger(rocksdb::InfoLogLevel::WARN_LEVEL), on_message_(std::move(on_message)) {}

  using Logger::Logv;
  void LogHeader(const char*, va_list) override {}
  void Logv(const char*, va_list) override {} // without a level: chatter
  void Logv(rocksdb::InfoLogLevel level, const char* format, va_list arguments) override {
    if (level < rocksdb::InfoLogLevel::WARN_LEVEL || level == rocksdb::InfoLogLevel::HEADER_LEVEL) return;
    char text[2048];
    const int size = std::vsnprintf(text, sizeof text, format, arguments);
    if (size <= 0) return;
    std::string line = level == rocksdb::InfoLogLevel::WARN_LEVEL ? "rocksdb: " : "rocksdb error: ";
    line.append(text, std::min<std::size_t>(static_cast<std::size_t>(size), sizeof text - 1));
    while (!line.empty() && line.back() == '\n') line.pop_back();
    if (on_message_) on_message_(line);
    std::lock_guard lock(mutex_);
    if (remembered_.size() < remembered_bytes) remembered_ += (remembered_.empty() ? "" : "; ") + line;
  }

  /// The first warnings: a failed recovery names the damaged file only here, not in its status.
  std::string remembered() const {
    std::lock_guard lock(mutex_);
    return remembered_;
  }

private:
  static constexpr std::size_t remembered_bytes = 1024;
  const std::function<void(std::string_view)> on_message_;
  mutable std::mutex mutex_;
  std::string remembered_;
};

} // namespace millrace::storage::rocks
