#include "actors/ingest/file/file_source.hpp"

#include <algorithm>
#include <map>

namespace millrace::actors::ingest::file {
namespace {

std::string directory_of(const std::string& path) {
  return path.substr(0, path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
}

} // namespace

void file_source::look(time_point now) {
  next_look_ = now + options_.look_interval;
  auto found = look_at(options_.pattern);
  tell_once(problems_, found.problems);
  for (auto& line : found.skipped) line += ": skipped, only regular files are read";
  tell_once(skipped_, found.skipped);
  problems_ = std::move(found.problems);
  skipped_ = std::move(found.skipped);
  for (auto& [key, e] : files_) e->present = false;
  admit(std::move(found.files), now);
  find_missing(now);
  check_changed(now);
  sort();
}

void file_source::tell_once(const std::vector<std::string>& before, const std::vector<std::string>& lines) {
  for (const auto& line : lines)
    if (std::find(before.begin(), before.end(), line) == before.end()) notices_.push_back(line);
}

/// Known files first, then new ones; a follower takes each group by age, so that a.log.2 comes before a.log.1 before a.log.
void file_source::admit(std::vector<found_file> found, time_point now) {
  if (options_.follow)
    std::stable_sort(found.begin(), found.end(),
                     [](const found_file& a, const found_file& b) { return a.facts.modified_ns < b.facts.modified_ns; });
  std::unordered_map<std::uint64_t, entry*> unseen; // of the log's files, by inode number
  for (auto& [key, e] : files_)
    if (e->order == 0) unseen.emplace(key.inode, e.get());
  for (const auto& f : found)
    if (files_.contains(f.facts.key)) unseen.erase(f.facts.key.inode);
  const auto new_ones = std::stable_partition(found.begin(), found.end(), [&](const found_file& f) {
    return files_.contains(f.facts.key) || adopt_renumbered(f, unseen);
  });

  std::unordered_map<std::string, entry*> last_at; // who had a path before: by the state of the look before this one
  if (new_ones != found.end())
    for (auto& [key, e] : files_)
      if (auto& last = last_at[e->file.path()]; !last || last->order < e->order) last = e.get();

  for (auto f = found.begin(); f != found.end(); ++f) {
    auto& slot = files_[f->facts.key];
    const bool is_new = !slot;
    if (is_new) {
      slot = std::make_unique<entry>(source_file{options_, f->facts.key, f->path, f->facts.born_ns});
      if (const auto last = last_at.find(f->path); last != last_at.end()) slot->predecessor = last->second;
    }
    entry& e = *slot;
    if (e.order == 0) e.order = ++next_order_;
    e.present = true;
    e.over = false;
    if (e.file.seen(f->path, f->facts, now, notices_)) note(e);
  }
}

/// After a reboot the kernel may number the same file system differently; then every file on it would be new and would be read
/// twice. The same inode number with the same birth time, to the nanosecond, is the same file.
bool file_source::adopt_renumbered(const found_file& f, std::unordered_map<std::uint64_t, entry*>& unseen) {
  const auto known = unseen.find(f.facts.key.inode);
  if (f.facts.born_ns == 0 || known == unseen.end() || known->second->file.state().born_ns != f.facts.born_ns) return false;
  file_state state = known->second->file.state();
  unseen.erase(known);
  const file_key old_key = std::exchange(state.key, f.facts.key);
  notices_.push_back(f.path + " is the file that was read up to byte " + std::to_string(state.position) +
                     " before its device changed its number from " + std::to_string(old_key.device) + " to " +
                     std::to_string(state.key.device) + ": going on there");
  changed_[state_key(old_key)] = {};
  files_.erase(old_key);
  files_[state.key] = std::make_unique<entry>(source_file{options_, state});
  note(*files_[state.key]);
  return true;
}

/// A changed file may have another content: compare its start before anybody believes that it was read.
void file_source::check_changed(time_point now) {
  for (auto& [key, e] : files_) {
    if (e->over || !e->file.unchecked()) continue;
    if (auto opened = open_file(*e); !opened) {
      if (is(opened.error(), errc::unavailable)) e->problem = opened.error().message;
      continue; // gone: the next look tells
    }
    auto anew = e->file.refresh(now, notices_);
    e->problem = anew ? std::string{} : anew.error().message;
    if (anew && anew.value()) note(*e);
    if (!options_.follow && e->file.exhausted()) e->file.close();
  }
}

/// Files whose name no longer matches. What is open is read to its end; the others may have been renamed within their directory.
void file_source::find_missing(time_point now) {
  std::map<std::string, std::unordered_set<file_key>> missing;
  for (auto& [key, e] : files_)
    if (!e->present && !e->over && !e->file.is_open() && matches(options_.pattern, e->file.path()))
      missing[directory_of(e->file.path())].insert(key);
  for (auto& [key, e] : files_)
    if (!e->present && !e->file.is_open()) e->problem.clear();
  for (const auto& [directory, keys] : missing) {
    auto named = find_by_inode(directory, keys);
    for (const auto& f : named) {
      entry& e = *files_.at(f.facts.key);
      if (e.order == 0) e.order = ++next_order_;
      const std::string name_before = e.file.path();
      if (e.file.seen(f.path, f.facts, now, notices_)) note(e);
      if (e.file.unread() != 0) notices_.push_back(name_before + " is now " + f.path + ": reading the rest of it there");
      if (auto opened = open_file(e); !opened && is(opened.error(), errc::unavailable)) e.problem = opened.error().message;
    }
  }
  for (auto& [key, e] : files_) {
    if (e->present || e->over || e->file.is_open() || !e->problem.empty()) continue;
    if (e->file.unread() != 0)
      notices_.push_back(e->file.path() + " is gone, and with it " + std::to_string(e->file.unread()) + " bytes after byte " +
                         std::to_string(e->file.position()) + " that were not read");
    e->over = true;
  }
}

void file_source::sort() {
  order_.clear();
  for (auto& [key, e] : files_)
    if (!e->over) order_.push_back(e.get());
  if (options_.follow)
    std::sort(order_.begin(), order_.end(), [](const entry* a, const entry* b) { return a->order < b->order; });
  else
    std::sort(order_.begin(), order_.end(), [](const entry* a, const entry* b) { return a->file.path() < b->file.path(); });
}

} // namespace millrace::actors::ingest::file
