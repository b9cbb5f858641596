#include "actors/ingest/file/file_source.hpp"

#include <algorithm>
#include <thread>
#include <tuple>

namespace millrace::actors::ingest::file {
namespace {

constexpr std::uint64_t small_bytes = 64u << 10; ///< a follower's block below this is worth waiting for more

} // namespace

file_source::file_source(file_options options) : options_(std::move(options)) {
  if (!options_.sleep) options_.sleep = [](std::chrono::milliseconds t) { std::this_thread::sleep_for(t); };
}

result<void> file_source::open(std::span<const storage::state_entry> state) {
  files_.clear();
  order_.clear();
  open_.clear();
  changed_.clear();
  current_ = nullptr;
  for (const auto& entry_of_log : state) {
    if (!entry_of_log.key.starts_with(state_prefix) || entry_of_log.value.empty()) continue;
    auto known = from_entry(entry_of_log);
    if (!known) return known.error();
    files_[known.value().key] = std::make_unique<entry>(source_file{options_, known.value()});
  }
  look(options_.now());
  return success();
}

result<std::optional<storage::change_block>> file_source::poll(std::chrono::milliseconds wait) {
  const auto deadline = options_.now() + wait;
  for (;;) {
    const auto now = options_.now();
    if (now >= next_look_) look(now);
    gathering_ = false;
    auto block = next_block(now);
    if (block && block.value()) {
      // State that waited rides along. The block's own entries are newer.
      auto& carried = block.value()->source_state;
      for (const auto& own : carried) changed_.erase(own.key);
      for (auto& [key, value] : changed_) carried.push_back({key, value});
      changed_.clear();
      return block;
    }
    finish_missing(now);
    if (auto state = take_changed_state()) return state;
    if (!block && !is(block.error(), errc::unavailable)) return block;
    if (now >= deadline) return block;
    const auto slice = gathering_ ? options_.gather : options_.tail_interval;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - now);
    options_.sleep(std::max(std::chrono::milliseconds{1}, std::min(slice, left)));
  }
}

file_source::block_or_none file_source::take_changed_state() {
  if (changed_.empty()) return {};
  storage::change_block block;
  block.format = options_.format;
  block.envelope = options_.envelope;
  for (auto& [key, value] : changed_) block.source_state.push_back({key, value});
  changed_.clear();
  return block;
}

result<file_source::block_or_none> file_source::next_block(time_point now) {
  auto block = options_.follow ? next_in_turn(now) : next_in_path_order(now);
  if (block && !block.value() && !problems_.empty()) return make_failure(errc::unavailable, problems_.front());
  return block;
}

/// One file after the other, whole: a file's records never come before those of a file that sorts before it, even when that one
/// cannot be read now. (The later file often corrects the earlier.)
result<file_source::block_or_none> file_source::next_in_path_order(time_point now) {
  for (entry* e : order_) {
    if (e->file.unread() == 0 && e->problem.empty()) continue;
    auto block = read(*e, now);
    if (!block || block.value()) return block;
    if (e->file.unread() != 0 && !e->over) return block; // its last line may still be growing
  }
  return block_or_none{};
}

/// Files in turn, each up to the size that it had when its turn began.
result<file_source::block_or_none> file_source::next_in_turn(time_point now) {
  const auto at = std::find(order_.begin(), order_.end(), current_);
  std::size_t index = at == order_.end() ? 0 : static_cast<std::size_t>(at - order_.begin());
  if (at != order_.end() && (current_->file.position() >= current_->turn_end || current_->file.exhausted())) ++index;
  std::optional<failure> problem;
  for (std::size_t tried = 0; tried < order_.size(); ++tried, ++index) {
    entry& e = *order_[index % order_.size()];
    if (!e.file.is_open() && e.file.exhausted() && e.problem.empty()) continue; // the looks tell when it grows
    auto block = read_after_predecessor(e, now);
    if (block && block.value()) return block;
    // One unreadable file does not stop the others: unlike read-once files they are streams of their own.
    if (!block && !is(block.error(), errc::unavailable)) return block;
    if (!block && !problem) problem = block.error();
  }
  if (problem) return *problem;
  return block_or_none{};
}

/// Rotation: what the old file of this path still got comes before the new one's records.
result<file_source::block_or_none> file_source::read_after_predecessor(entry& e, time_point now) {
  if (entry* old = e.predecessor; old && !old->over) {
    auto block = read_after_predecessor(*old, now);
    if (!block || block.value() || !old->file.exhausted()) return block;
  }
  // From here on late lines of the old file come when they come: who writes to both at once has no order to keep.
  e.predecessor = nullptr;
  return read(e, now);
}

result<file_source::block_or_none> file_source::read(entry& e, time_point now) {
  const auto fails = [&](const failure& f) {
    e.problem = f.message;
    return f;
  };
  for (int attempt = 0; attempt < 3; ++attempt) {
    if (auto opened = open_file(e); !opened) {
      if (!is(opened.error(), errc::not_found)) return fails(opened.error());
      e.problem.clear();
      next_look_ = {}; // renamed or deleted since the last look: see where it is now
      return block_or_none{};
    }
    auto anew = e.file.refresh(now, notices_);
    if (!anew) return fails(anew.error());
    if (anew.value()) note(e);
    gathering_ =
        options_.follow && !e.file.exhausted() && e.file.unread() < small_bytes && now - small_block_at_ < options_.gather;
    if (gathering_) return block_or_none{};

    auto block = e.file.read(false, now, notices_);
    if (block && !block.value() && may_end(e, now)) block = e.file.read(true, now, notices_);
    if (!block && is(block.error(), errc::conflict)) {
      note(e); // its position may have fallen to 0 and may stay there: the log must not keep the old one
      continue;
    }
    if (!block) return fails(block.error());
    e.problem.clear();
    if (block.value()) {
      if (current_ != &e || block.value()->origin_position >= e.turn_end) e.turn_end = e.file.size();
      current_ = &e;
      small_block_at_ = now;
    }
    if (!options_.follow && e.file.unread() == 0) e.file.close();
    return block;
  }
  return fails(make_failure(errc::unavailable, e.file.path() + " is being rewritten again and again while it is read"));
}

/// Opens it within open_files_max: the file that has not grown for longest is closed for it. It is found again by the looks.
result<void> file_source::open_file(entry& e) {
  if (e.file.is_open()) return success();
  std::erase_if(open_, [](const entry* o) { return !o->file.is_open(); });
  while (open_.size() >= options_.open_files_max) {
    // A file without a name cannot be opened again, so it goes last.
    const auto victim = std::min_element(open_.begin(), open_.end(), [](const entry* a, const entry* b) {
      return std::tuple{!a->present, !a->file.exhausted(), a->file.grew_at()} <
             std::tuple{!b->present, !b->file.exhausted(), b->file.grew_at()};
    });
    (*victim)->file.close();
    open_.erase(victim);
  }
  auto opened = e.file.open();
  if (opened) open_.push_back(&e);
  return opened;
}

/// Whether what is left without LF is the file's last record: nobody is going to write its end.
bool file_source::may_end(const entry& e, time_point now) const {
  if (!e.file.exhausted() || e.file.unread() == 0) return false;
  const auto quiet = now - e.file.grew_at();
  if (options_.follow) return !e.present && quiet >= options_.rotated_keep;
  const auto age = std::chrono::system_clock::now().time_since_epoch() - std::chrono::nanoseconds{e.file.modified_ns()};
  return quiet >= options_.settle || age >= options_.settle;
}

/// Lets go of files that have no name any more and nothing left to read.
void file_source::finish_missing(time_point now) {
  for (std::size_t i = 0; i < order_.size(); ++i) {
    entry& e = *order_[i];
    if (e.present || !e.file.is_open() || e.file.unread() != 0) continue;
    if (options_.follow && now - e.file.grew_at() < options_.rotated_keep) continue;
    if (auto anew = e.file.refresh(now, notices_); !anew || e.file.unread() != 0) continue;
    const bool deleted = e.file.links() == 0;
    e.file.close();
    e.over = true;
    order_.erase(order_.begin() + static_cast<std::ptrdiff_t>(i--));
    if (deleted) forget(e);
  }
}

/// Only for a file whose last link is gone: no path will ever lead to it again, so its state can go. A state whose file is merely
/// not seen stays for ever: the file may come back (an unmounted disk), and must not be read again then.
void file_source::forget(entry& gone) {
  if (current_ == &gone) current_ = nullptr;
  std::erase(open_, &gone);
  for (auto& [key, e] : files_)
    if (e->predecessor == &gone) e->predecessor = nullptr;
  const file_key key = gone.file.key();
  changed_[state_key(key)] = {};
  files_.erase(key);
}

bool file_source::all_read() const {
  return std::all_of(order_.begin(), order_.end(), [&](const entry* e) {
    return e->problem.empty() && (e->file.unread() == 0 || (options_.follow && e->file.exhausted()));
  });
}

std::string file_source::waiting() const {
  for (const entry* e : order_)
    if (!e->problem.empty()) return e->problem;
  if (!problems_.empty()) return problems_.front();
  const bool any = std::any_of(order_.begin(), order_.end(), [](const entry* e) { return e->present; });
  if (any) return {};
  std::string text = "no file matches " + options_.pattern;
  if (!skipped_.empty()) text += " (" + skipped_.front() + ')';
  return text;
}

source_status file_source::status() const {
  source_status s;
  s.waiting = waiting();
  std::size_t files_read = 0;
  for (const auto& [key, e] : files_) {
    if (!e->over) s.lag_bytes += e->file.unread();
    s.bytes_total += std::max(e->file.size(), e->file.position());
    s.bytes_read += e->file.position();
    files_read += e->file.unread() == 0 ? 1u : 0u;
  }
  if (current_) s.position = current_->file.path() + ':' + std::to_string(current_->file.position());
  if (files_.size() > 1 || !current_) {
    if (!s.position.empty()) s.position += ' ';
    s.position += '(' + std::to_string(files_read) + " of " + std::to_string(files_.size()) + " files read)";
  }
  // Without any file, now or in the log, nothing was caught up with: the pattern may be mistyped.
  s.caught_up = !files_.empty() && problems_.empty() && all_read();
  return s;
}

std::size_t file_source::open_files() const noexcept {
  return static_cast<std::size_t>(
      std::count_if(files_.begin(), files_.end(), [](const auto& f) { return f.second->file.is_open(); }));
}

} // namespace millrace::actors::ingest::file
