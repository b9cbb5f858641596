#include "actors/postgres/conninfo.hpp"

#include <libpq-fe.h>

#include <memory>

namespace millrace::actors::postgres {

namespace {
struct parsed {
  std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> options{nullptr, &PQconninfoFree};
  std::string message;
};
parsed parse(const std::string& conninfo) {
  parsed out;
  char* message = nullptr;
  out.options.reset(PQconninfoParse(conninfo.c_str(), &message));
  if (message) out.message = message;
  PQfreemem(message);
  while (!out.message.empty() && out.message.back() == '\n') out.message.pop_back();
  return out;
}

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_reference(std::string_view text) { return text.starts_with("${env:") || text.starts_with("${file:"); }

/// The end of a password that begins at `at`; YAML may have doubled its quotes.
std::size_t end_of_value(std::string_view text, std::size_t at) {
  if (text.substr(at, 2) == "''") {
    const auto end = text.find("''", at + 2);
    return end == std::string_view::npos ? text.size() : end + 2;
  }
  if (at < text.size() && text[at] == '\'') {
    for (std::size_t i = at + 1; i < text.size(); ++i) {
      if (text[i] == '\\')
        ++i;
      else if (text[i] == '\'')
        return i + 1;
    }
    return text.size();
  }
  while (at < text.size() && !is_space(text[at]) && text[at] != '"' && text[at] != '\'' && text[at] != '&')
    at += text[at] == '\\' && at + 1 < text.size() ? 2 : 1;
  return at < text.size() ? at : text.size();
}
} // namespace

std::string conninfo_mistake(const std::string& conninfo) {
  if (conninfo.find('\0') != std::string::npos) return "found a NUL character";
  const parsed p = parse(conninfo);
  if (p.options) return {};
  // libpq quotes what it stumbled over, which may be the rest of a password with a space in it. Only names are safe to show.
  constexpr std::string_view unknown_option = "invalid connection option \"";
  if (p.message.starts_with(unknown_option) && conninfo.find("://") == std::string::npos) {
    const std::string name =
        p.message.substr(unknown_option.size(), p.message.find('"', unknown_option.size()) - unknown_option.size());
    if (conninfo.find(name + "=") != std::string::npos || conninfo.find(name + " ") != std::string::npos)
      return "found the option \"" + name + "\", which libpq does not know";
  }
  return "expected KEYWORD=VALUE pairs with spaces between them (a value with spaces in single quotes), or postgresql://...";
}

bool has_password(const std::string& conninfo) {
  const parsed p = parse(conninfo);
  if (!p.options) return false;
  for (const PQconninfoOption* o = p.options.get(); o->keyword; ++o)
    if ((std::string_view(o->keyword) == "password" || std::string_view(o->keyword) == "sslpassword") && o->val && *o->val)
      return true;
  return false;
}

std::string without_passwords(std::string_view text) {
  std::string out;
  std::size_t at = 0;
  const auto copy_until = [&](std::size_t end) {
    out += text.substr(at, end - at);
    at = end;
  };
  while (at < text.size()) {
    const auto keyword = text.find("password", at);
    const auto uri = text.find("://", at);
    if (keyword == std::string_view::npos && uri == std::string_view::npos) break;
    if (keyword < uri) {
      std::size_t p = keyword + 8;
      while (p < text.size() && is_space(text[p])) ++p;
      if (p == text.size() || text[p] != '=') {
        copy_until(keyword + 8);
        continue;
      }
      for (++p; p < text.size() && is_space(text[p]);) ++p;
      copy_until(p);
      if (is_reference(text.substr(p))) continue;
      const auto end = end_of_value(text, p);
      if (end > p) out += password_mask;
      at = end;
      continue;
    }
    copy_until(uri + 3);
    if (!text.substr(0, uri).ends_with("postgresql") && !text.substr(0, uri).ends_with("postgres")) continue;
    // user:password@ before the host
    std::size_t p = at;
    while (p < text.size() && !is_space(text[p]) && text[p] != '"' && text[p] != '\'' && text[p] != '/' && text[p] != '@') ++p;
    if (p == text.size() || text[p] != '@') continue;
    const auto colon = text.substr(at, p - at).find(':');
    if (colon == std::string_view::npos) continue;
    copy_until(at + colon + 1);
    if (!is_reference(text.substr(at)) && p > at)
      out += password_mask;
    else
      out += text.substr(at, p - at);
    at = p;
  }
  out += text.substr(at);
  return out;
}

} // namespace millrace::actors::postgres
