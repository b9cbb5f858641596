#include "runtime/config/document_reader.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <tuple>

namespace millrace::runtime::config {

bool is_name(std::string_view text) {
  auto fine = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
  };
  return !text.empty() && text.size() <= 64 && text.front() != '.' && text.front() != '-' &&
         std::all_of(text.begin(), text.end(), fine);
}

void document_reader::wrong(mark at, std::string message) { mistakes_.push_back({file_, at, std::move(message)}); }

std::vector<mistake> document_reader::take_mistakes() {
  // A compiler of expressions may quote what it was given: show the reference instead. Very short values are left alone:
  // they would be found inside ordinary words, and nobody keeps a secret in three characters.
  for (auto& m : mistakes_)
    for (const auto& [value, reference] : secrets_) {
      if (value.size() < 4) continue;
      for (std::size_t at = 0; (at = m.message.find(value, at)) != std::string::npos; at += reference.size())
        m.message.replace(at, value.size(), reference);
    }
  std::stable_sort(mistakes_.begin(), mistakes_.end(), [](const mistake& a, const mistake& b) {
    return std::tuple(a.at.line, a.at.column) < std::tuple(b.at.line, b.at.column);
  });
  return std::move(mistakes_);
}

std::optional<std::string> document_reader::text(const yaml_node& n, const std::string& what) {
  if (!n.is_scalar()) {
    wrong(n.at, what + " is " + described(n) + "; expected text");
    return std::nullopt;
  }
  if (n.text.find("${") == std::string::npos) return n.text;
  auto replaced = replace_references(n.text, base_dir_, env_);
  secrets_.insert(secrets_.end(), replaced.secrets.begin(), replaced.secrets.end());
  for (auto& m : replaced.missing) mistakes_.push_back({file_, n.at, what + ": " + m, unset_is_warning_});
  if (!replaced.missing.empty()) return std::nullopt;
  return std::move(replaced.text);
}

std::optional<std::string> document_reader::name(const yaml_node& n, const std::string& what) {
  auto value = text(n, what);
  if (!value) return std::nullopt;
  if (is_name(*value)) return value;
  wrong(n.at, what + " is " + described(n) + "; expected " + name_expected);
  return std::nullopt;
}

std::optional<bool> document_reader::boolean(const yaml_node& n, const std::string& what) {
  if (n.is_scalar()) {
    auto value = text(n, what);
    if (!value) return std::nullopt;
    if (*value == "true") return true;
    if (*value == "false") return false;
  }
  wrong(n.at, what + " is " + described(n) + "; expected true or false");
  return std::nullopt;
}

std::optional<std::uint64_t> document_reader::number(const yaml_node& n, const std::string& what, std::uint64_t min,
                                                     std::uint64_t max) {
  if (n.is_scalar()) {
    auto value = text(n, what);
    if (!value) return std::nullopt;
    std::uint64_t out = 0;
    auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), out);
    if (error == std::errc{} && end == value->data() + value->size() && !value->empty() && out >= min && out <= max) return out;
  }
  auto range = max == std::numeric_limits<std::uint64_t>::max() || max == std::numeric_limits<std::uint32_t>::max()
                   ? "of at least " + std::to_string(min)
                   : "from " + std::to_string(min) + " to " + std::to_string(max);
  wrong(n.at, what + " is " + described(n) + "; expected a whole number " + range);
  return std::nullopt;
}

std::optional<std::uint64_t> document_reader::bytes(const yaml_node& n, const std::string& what, std::uint64_t min,
                                                    std::uint64_t max) {
  if (n.is_scalar()) {
    auto value = text(n, what);
    if (!value) return std::nullopt;
    if (auto out = parse_bytes(*value)) {
      if (*out >= min && *out <= max) return out;
      wrong(n.at, what + " is " + described(n) + "; expected " + bytes_text(min) + " to " + bytes_text(max));
      return std::nullopt;
    }
  }
  wrong(n.at, what + " is " + described(n) + "; expected " + bytes_expected);
  return std::nullopt;
}

std::optional<std::chrono::milliseconds> document_reader::duration(const yaml_node& n, const std::string& what,
                                                                   std::chrono::milliseconds min) {
  if (n.is_scalar()) {
    auto value = text(n, what);
    if (!value) return std::nullopt;
    if (auto out = parse_duration(*value)) {
      if (*out >= min) return out;
      wrong(n.at, what + " is " + described(n) + "; expected at least " + std::to_string(min.count()) + "ms");
      return std::nullopt;
    }
  }
  wrong(n.at, what + " is " + described(n) + "; expected " + duration_expected);
  return std::nullopt;
}

std::optional<std::size_t> document_reader::choice(const yaml_node& n, const std::string& what,
                                                   const std::vector<std::string_view>& names) {
  std::string hint;
  if (n.is_scalar()) {
    auto value = text(n, what);
    if (!value) return std::nullopt;
    auto found = std::find(names.begin(), names.end(), *value);
    if (found != names.end()) return static_cast<std::size_t>(found - names.begin());
    hint = suggestion(*value, names);
  }
  wrong(n.at, what + " is " + described(n) + "; expected " + listed(names) + hint);
  return std::nullopt;
}

std::optional<std::string> document_reader::path(const yaml_node& n, const std::string& what) {
  auto value = text(n, what);
  if (!value) return std::nullopt;
  if (value->empty() || value->find('\0') != std::string::npos) {
    wrong(n.at, what + " is " + described(n) + "; expected the path of a file");
    return std::nullopt;
  }
  std::filesystem::path p(*value);
  if (p.is_relative()) p = std::filesystem::path(base_dir_) / p;
  return p.lexically_normal().string();
}

std::vector<std::pair<std::string, mark>> document_reader::texts(const yaml_node& n, const std::string& what) {
  std::vector<std::pair<std::string, mark>> out;
  if (n.is_scalar()) {
    if (auto value = text(n, what)) out.emplace_back(*value, n.at);
    return out;
  }
  if (!n.is_sequence()) {
    wrong(n.at, what + " is " + described(n) + "; expected a list of names");
    return out;
  }
  for (std::size_t i = 0; i < n.items.size(); ++i) {
    auto entry = what + "[" + std::to_string(i) + "]";
    if (auto value = text(*n.items[i], entry)) out.emplace_back(*value, n.items[i]->at);
  }
  return out;
}

section::section(document_reader& doc, const yaml_node& n, std::string what)
    : doc_(doc), node_(n), what_(std::move(what)), ok_(n.is_mapping()) {
  if (!ok_)
    doc_.wrong(n.at, (what_.empty() ? std::string("the document") : what_) + " is " + described(n) + "; expected a mapping");
}

std::string section::inside(std::string_view key) const {
  return what_.empty() ? std::string(key) : what_ + "." + std::string(key);
}

const yaml_entry* section::find(std::string_view key) const {
  for (const auto& e : node_.entries)
    if (e.key == key) return &e;
  return nullptr;
}

bool section::has(std::string_view key) const { return find(key) != nullptr; }

mark section::key_at(std::string_view key) const {
  auto* e = find(key);
  return e ? e->at : node_.at;
}

const yaml_node* section::take(std::string_view key) {
  known_.emplace_back(key);
  auto* e = find(key);
  if (!e) return nullptr;
  if (e->value->is_null()) {
    doc_.wrong(e->at, inside(key) + " has no value; expected one, or the key left out");
    return nullptr;
  }
  return e->value.get();
}

const yaml_node* section::need(std::string_view key, std::string_view expected) {
  if (ok_ && !has(key))
    doc_.wrong(node_.at, "key '" + std::string(key) + "' is missing" + (what_.empty() ? "" : " in " + what_) + "; expected " +
                             std::string(expected));
  return take(key);
}

void section::refuse(std::string_view key, const std::string& why) {
  known_.emplace_back(key);
  if (auto* e = find(key)) doc_.wrong(e->at, inside(key) + " " + why);
}

void section::finish() {
  std::vector<std::string_view> names(known_.begin(), known_.end());
  std::sort(names.begin(), names.end());
  for (const auto& e : node_.entries)
    if (std::find(names.begin(), names.end(), e.key) == names.end())
      doc_.wrong(e.at, "unknown key '" + e.key.substr(0, 60) + "'" + (what_.empty() ? "" : " in " + what_) + "; expected " +
                           listed(names) + suggestion(e.key, names));
}

} // namespace millrace::runtime::config
