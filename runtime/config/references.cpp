#include "runtime/config/references.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace millrace::runtime::config {
namespace {

constexpr std::streamsize file_bytes_max = 64 << 10;

/// The content, or why there is none.
std::optional<std::string> content_of(const std::string& path, const std::string& base_dir, std::string& why) {
  std::filesystem::path full =
      std::filesystem::path(path).is_absolute() ? std::filesystem::path(path) : std::filesystem::path(base_dir) / path;
  std::error_code ignored;
  if (std::filesystem::exists(full, ignored) && !std::filesystem::is_regular_file(full, ignored)) {
    why = "it is no regular file";
    return std::nullopt;
  }
  errno = 0;
  std::ifstream in(full, std::ios::binary);
  if (!in) {
    why = std::strerror(errno == 0 ? ENOENT : errno);
    return std::nullopt;
  }
  std::string text(static_cast<std::size_t>(file_bytes_max) + 1, '\0');
  in.read(text.data(), file_bytes_max + 1);
  if (in.gcount() > file_bytes_max) {
    why = "it is longer than 64 KiB";
    return std::nullopt;
  }
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (!text.empty() && text.back() == '\n') text.pop_back();
  if (!text.empty() && text.back() == '\r') text.pop_back();
  return text;
}

} // namespace

environment process_environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value ? std::optional<std::string>(value) : std::nullopt;
  };
}

replaced_text replace_references(std::string_view text, const std::string& base_dir, const environment& env) {
  replaced_text out;
  while (!text.empty()) {
    auto at = text.find("${");
    if (at == std::string_view::npos) break;
    if (at > 0 && text[at - 1] == '$') {
      out.text.append(text.substr(0, at - 1)).append("${");
      text.remove_prefix(at + 2);
      continue;
    }
    out.text.append(text.substr(0, at));
    text.remove_prefix(at);
    bool is_env = text.starts_with("${env:"), is_file = text.starts_with("${file:");
    auto end = text.find('}');
    if ((!is_env && !is_file) || end == std::string_view::npos) {
      out.text.append(text.substr(0, 2)); // somebody else's syntax, a shell's or a template's
      text.remove_prefix(2);
      continue;
    }
    std::string reference(text.substr(0, end + 1));
    std::string name(text.substr(is_env ? 6 : 7, end - (is_env ? 6 : 7)));
    text.remove_prefix(end + 1);
    std::string why;
    auto value = name.empty() ? std::nullopt : is_env ? env(name) : content_of(name, base_dir, why);
    if (value) {
      out.secrets.emplace_back(*value, reference);
      out.text += *value;
      continue;
    }
    out.text += reference;
    if (name.empty())
      out.missing.push_back(reference + " names nothing; expected ${env:NAME} or ${file:PATH}");
    else if (is_env)
      out.missing.push_back("environment variable " + name + " is not set; " + reference + " expects it");
    else
      out.missing.push_back("file " + name + " cannot be read: " + why + "; " + reference + " expects it");
  }
  out.text.append(text);
  return out;
}

} // namespace millrace::runtime::config
