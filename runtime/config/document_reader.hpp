#pragma once
// Reads typed values out of a YAML tree and notes every mistake on the way, so that one run finds them all.

#include "runtime/config/references.hpp"
#include "runtime/config/units.hpp"
#include "runtime/config/yaml_tree.hpp"

#include <cstdint>
#include <initializer_list>
#include <limits>

namespace millrace::runtime::config {

/// One document that is being read. Owner: the function that parses; not thread safe.
class document_reader {
public:
  document_reader(std::string file, std::string base_dir, environment env, bool unset_is_warning)
      : file_(std::move(file)), base_dir_(std::move(base_dir)), env_(std::move(env)), unset_is_warning_(unset_is_warning) {}

  void wrong(mark at, std::string message);
  const std::string& file() const { return file_; }
  const std::string& base_dir() const { return base_dir_; }
  bool failed() const { return has_errors(mistakes_); }
  std::size_t mistake_count() const { return mistakes_.size(); }
  /// In the order of their places; values that came from references are shown as their reference.
  std::vector<mistake> take_mistakes();

  // Each gives none after noting a mistake, and also for a value that is an unresolved reference (already noted).
  // `what` names the value in messages: "log.partitions".
  std::optional<std::string> text(const yaml_node& n, const std::string& what);
  std::optional<std::string> name(const yaml_node& n, const std::string& what); ///< letters, digits, _ . - ; at most 64
  std::optional<bool> boolean(const yaml_node& n, const std::string& what);
  std::optional<std::uint64_t> number(const yaml_node& n, const std::string& what, std::uint64_t min, std::uint64_t max);
  std::optional<std::uint64_t> bytes(const yaml_node& n, const std::string& what, std::uint64_t min, std::uint64_t max);
  std::optional<std::chrono::milliseconds> duration(const yaml_node& n, const std::string& what, std::chrono::milliseconds min);
  /// Index into `names`.
  std::optional<std::size_t> choice(const yaml_node& n, const std::string& what, const std::vector<std::string_view>& names);
  /// Absolute and normal; a relative one starts at base_dir.
  std::optional<std::string> path(const yaml_node& n, const std::string& what);
  /// A list of texts; one text stands for a list of one. Places are those of the entries.
  std::vector<std::pair<std::string, mark>> texts(const yaml_node& n, const std::string& what);

private:
  std::string file_, base_dir_;
  environment env_;
  bool unset_is_warning_ = false;
  std::vector<mistake> mistakes_;
  std::vector<std::pair<std::string, std::string>> secrets_;
};

/// One mapping: take() its keys, then finish() reports the keys that nobody took.
class section {
public:
  /// `what` names it in messages ("source"); empty for the top of the file. Notes a mistake if `n` is no mapping.
  section(document_reader& doc, const yaml_node& n, std::string what);
  bool ok() const { return ok_; }
  const yaml_node& node() const { return node_; }
  mark at() const { return node_.at; }
  /// "source.path".
  std::string inside(std::string_view key) const;
  /// The value of `key`, or null if it is absent; a key without a value is a mistake.
  const yaml_node* take(std::string_view key);
  /// take(), and absence is a mistake; `expected` says what should stand there.
  const yaml_node* need(std::string_view key, std::string_view expected);
  bool has(std::string_view key) const;
  /// Where the key stands; the section's own place if it is absent.
  mark key_at(std::string_view key) const;
  /// A key that is known elsewhere but of no use here, with the reason.
  void refuse(std::string_view key, const std::string& why);
  void finish();

private:
  const yaml_entry* find(std::string_view key) const;
  document_reader& doc_;
  const yaml_node& node_;
  std::string what_;
  bool ok_ = false;
  std::vector<std::string> known_;
};

/// [A-Za-z0-9_.-]{1,64}, not beginning with a dot or a dash: safe in paths, URLs, metrics and shells.
bool is_name(std::string_view text);
inline constexpr const char* name_expected = "1 to 64 letters, digits, '_', '.' or '-', beginning with a letter, digit or '_'";

} // namespace millrace::runtime::config
