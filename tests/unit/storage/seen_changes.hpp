#pragma once
// A watcher that notes what it saw, as KEY=VALUE or KEY=- for a deleted key.

#include "storage/catalog.hpp"

#include <mutex>

namespace millrace::storage::test {

struct seen_changes {
  std::mutex mutex;
  std::vector<std::string> list;
  catalog::watcher watcher() {
    return [this](std::uint64_t, const std::string& key, const std::optional<std::string>& value) {
      std::lock_guard lock(mutex);
      list.push_back(key + '=' + value.value_or("-"));
    };
  }
  std::size_t size() {
    std::lock_guard lock(mutex);
    return list.size();
  }
};
using strings = std::vector<std::string>;

} // namespace millrace::storage::test
