#include "storage/catalog_mirror.hpp"

#include <algorithm>

namespace millrace::storage {
namespace {
constexpr std::chrono::milliseconds retry_delay_min{50}, retry_delay_max{1000};
}

struct catalog_mirror::handle final : listener {
  handle(catalog_mirror& o, std::shared_ptr<subscription> s) : owner(o), held(std::move(s)) {}
  ~handle() override {
    {
      std::lock_guard lock(owner.mutex_);
      std::erase(owner.listeners_, held);
    }
    std::lock_guard calling(held->calling); // a running call ends first
    held->ended = true;
  }
  catalog_mirror& owner;
  const std::shared_ptr<subscription> held;
};

catalog_mirror::catalog_mirror(catalog& c, std::string prefix, std::function<void(const std::string&)> log)
    : catalog_(c), prefix_(std::move(prefix)), log_(std::move(log)) {
  thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
}

catalog_mirror::~catalog_mirror() = default; // the thread waits on a condition that knows about stopping

std::optional<catalog_entry> catalog_mirror::get(std::string_view key) const {
  std::lock_guard lock(mutex_);
  const auto at = entries_.find(key);
  return at == entries_.end() ? std::nullopt : std::optional(at->second);
}

std::vector<catalog_entry> catalog_mirror::list(std::string_view prefix) const {
  std::lock_guard lock(mutex_);
  std::vector<catalog_entry> all;
  for (auto at = entries_.lower_bound(prefix); at != entries_.end() && at->first.starts_with(prefix); ++at)
    all.push_back(at->second);
  return all;
}

std::uint64_t catalog_mirror::revision() const {
  std::lock_guard lock(mutex_);
  return revision_;
}

bool catalog_mirror::wait_for(std::uint64_t revision, std::chrono::milliseconds within) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, within, [&] { return revision_ >= revision; });
}

std::unique_ptr<catalog_mirror::listener> catalog_mirror::listen(std::string prefix, std::function<void()> on_change) {
  auto made = std::make_shared<subscription>();
  made->prefix = std::move(prefix);
  made->on_change = std::move(on_change);
  std::lock_guard lock(mutex_);
  listeners_.push_back(made);
  return std::make_unique<handle>(*this, std::move(made));
}

void catalog_mirror::tell(std::string_view key) const {
  std::vector<std::shared_ptr<subscription>> all;
  {
    std::lock_guard lock(mutex_);
    all = listeners_;
  }
  for (const auto& s : all) {
    if (!key.empty() && !key.starts_with(s->prefix)) continue;
    std::lock_guard calling(s->calling);
    if (!s->ended) s->on_change();
  }
}

void catalog_mirror::apply(std::uint64_t revision, const std::string& key, const std::optional<std::string>& value) {
  {
    std::lock_guard lock(mutex_);
    const auto at = entries_.find(key);
    if (!value) {
      if (at != entries_.end()) entries_.erase(at);
    } else if (at == entries_.end()) {
      // A watch tells no create revision. It misses nothing, so a key that was not there was created now.
      entries_[key] = {key, *value, revision, revision};
    } else {
      at->second.value = *value;
      at->second.mod_revision = revision;
    }
    revision_ = std::max(revision_, revision);
    changed_.notify_all();
  }
  tell(key);
}

void catalog_mirror::install(catalog_listing listing) {
  {
    std::lock_guard lock(mutex_);
    entries_.clear();
    for (auto& e : listing.entries) entries_.emplace(e.key, std::move(e));
    revision_ = std::max(revision_, listing.revision);
    trimmed_ = false;
    changed_.notify_all();
  }
  tell({});
}

void catalog_mirror::run(std::stop_token stop) {
  auto delay = retry_delay_min;
  bool said = false;
  while (!stop.stop_requested()) {
    std::unique_ptr<catalog::watch_handle> watch;
    auto listing = catalog_.snapshot(prefix_);
    std::string why;
    if (!listing) {
      why = listing.error().message;
    } else {
      const auto from = listing.value().revision;
      install(std::move(listing).value());
      auto made = catalog_.watch(
          prefix_, from, [this](std::uint64_t r, const std::string& key, const auto& value) { apply(r, key, value); },
          [this] {
            std::lock_guard lock(mutex_);
            trimmed_ = true;
            changed_.notify_all();
          });
      if (made)
        watch = std::move(made).value();
      else
        why = made.error().message;
    }
    if (!why.empty() && !said && log_) log_("the catalog cannot be read, what is known of it may be old: " + why);
    if (why.empty() && said && log_) log_("the catalog is read again");
    said = !why.empty();
    std::unique_lock lock(mutex_);
    if (watch) {
      delay = retry_delay_min;
      changed_.wait(lock, stop, [&] { return trimmed_; });
    } else {
      changed_.wait_for(lock, stop, delay, [] { return false; });
      delay = std::min(delay * 2, retry_delay_max);
    }
    lock.unlock(); // the watch ends without it: its call may wait for us
  }
}

} // namespace millrace::storage
