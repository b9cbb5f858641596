#include "runtime/cli/command.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>

namespace millrace::runtime::cli {

admin::admin_client& command_context::node() {
  if (client_) return *client_;
  std::string token;
  if (!token_file.empty()) {
    token = read_text_file(token_file);
    while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.pop_back();
  }
  auto connected = admin::admin_client::connect(server, token);
  if (!connected) {
    bool refused = actors::is(connected.error(), actors::errc::refused);
    throw command_failed{refused ? exit_status::failed : exit_status::unreachable,
                         refused ? "refused" : "unreachable",
                         connected.error().message,
                         {}};
  }
  client_ = std::move(connected).value();
  return *client_;
}

json command_context::document_of(const actors::admin_reply& reply, exit_status if_invalid) const {
  if (!reply.ok) {
    auto status = reply.code == "unreachable" ? exit_status::unreachable
                  : reply.code == "invalid"   ? if_invalid
                                              : exit_status::failed;
    throw command_failed{status, reply.code, reply.message, reply.detail};
  }
  if (reply.document.empty()) return json::object();
  auto parsed = json::parse(reply.document, nullptr, false);
  if (parsed.is_discarded())
    throw command_failed{exit_status::failed, "internal", "the node's answer is no JSON: it is of another version", {}};
  return parsed;
}

void command_context::out(std::string_view text) const {
  std::fwrite(text.data(), 1, text.size(), stdout);
  // Flushed each time: a follower's lines must not wait in a buffer.
  if (std::fflush(stdout) != 0) ::_exit(0);
}

void command_context::out_line(const json& line) const { out(line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n"); }

void command_context::note(const std::string& line) const {
  if (!as_json()) std::fprintf(stderr, "%s\n", line.c_str());
}

int command_context::report(const command_failed& failure) const {
  if (as_json()) {
    json detail = failure.detail;
    // A detail that is JSON (the mistakes of a spec) stays JSON.
    if (auto parsed = json::parse(failure.detail, nullptr, false); !parsed.is_discarded() && parsed.is_structured())
      detail = parsed;
    json error{{"error", {{"code", failure.code}, {"message", failure.message}, {"detail", detail}}}};
    std::fprintf(stderr, "%s\n", error.dump(-1, ' ', false, json::error_handler_t::replace).c_str());
  } else if (failure.status == exit_status::usage && failure.code == "invalid") {
    std::fprintf(stderr, "%s\n", failure.message.c_str()); // file:line:column lines, as compilers write them
  } else {
    const char* no_color = std::getenv("NO_COLOR");
    bool paint = isatty(STDERR_FILENO) == 1 && !(no_color && *no_color);
    std::fprintf(stderr, "%smillrace:%s %s\n", paint ? "\x1b[31m" : "", paint ? "\x1b[0m" : "", failure.message.c_str());
    bool is_json = failure.detail.starts_with('[') || failure.detail.starts_with('{');
    if (!failure.detail.empty() && !is_json) std::fprintf(stderr, "  %s\n", failure.detail.c_str());
  }
  return static_cast<int>(failure.status);
}

actors::admin_call about(actors::admin_call::method what, const std::string& pipeline) {
  actors::admin_call call;
  call.what = what;
  call.pipeline = pipeline;
  return call;
}

std::pair<std::string, std::string> split_load(const std::string& text) {
  auto slash = text.find('/');
  if (slash == std::string::npos || slash == 0 || slash + 1 == text.size())
    throw command_failed{exit_status::usage, "usage", "'" + text + "' names no load; expected PIPELINE/LOAD", {}};
  return {text.substr(0, slash), text.substr(slash + 1)};
}

void check_position(const std::string& text, const std::vector<std::string>& words, const std::string& option) {
  if (std::find(words.begin(), words.end(), text) != words.end()) return;
  bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos && text.size() <= 20;
  // 2024-05-01, 2024-05-01T10:00, 2024-05-01 10:00:00.5Z, ...: the node knows the details.
  bool time =
      text.size() >= 10 && text[4] == '-' && text[7] == '-' && text.find_first_not_of("0123456789-:.TtZz+ ") == std::string::npos;
  if (digits || time) return;
  std::string expected = "an offset, a time such as 2024-05-01T10:00:00Z";
  for (std::size_t i = 0; i < words.size(); ++i) expected += (i + 1 == words.size() ? " or " : ", ") + words[i];
  throw command_failed{exit_status::usage, "usage", option + " is '" + text + "'; expected " + expected, {}};
}

std::string read_text_file(const std::string& path) {
  if (path == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  std::error_code error;
  if (std::filesystem::is_directory(path, error))
    throw command_failed{exit_status::usage, "usage", path + ": is a folder; expected a file", {}};
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in)
    throw command_failed{
        exit_status::usage, "usage", path + ": cannot be read: " + std::strerror(errno == 0 ? ENOENT : errno), {}};
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string folder_of(const std::string& path) {
  if (path == "-") return std::filesystem::current_path().string();
  return std::filesystem::absolute(path).lexically_normal().parent_path().string();
}

std::string field(const json& object, const char* key) {
  if (!object.is_object()) return {};
  auto at = object.find(key);
  if (at == object.end() || at->is_null()) return {};
  return at->is_string() ? at->get<std::string>() : at->dump(-1, ' ', false, json::error_handler_t::replace);
}

std::uint64_t count(const json& object, const char* key) {
  if (!object.is_object()) return 0;
  auto at = object.find(key);
  return at != object.end() && at->is_number() ? at->get<std::uint64_t>() : 0;
}

} // namespace millrace::runtime::cli
