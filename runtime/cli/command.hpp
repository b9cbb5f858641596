#pragma once
// What all commands share: options, the connection to the node, how answers and failures leave.

#include "runtime/admin/admin_client.hpp"
#include "runtime/cli/cli.hpp"
#include "runtime/cli/terminal.hpp"

#include <nlohmann/json.hpp>

#include <functional>
#include <memory>
#include <string>

namespace CLI {
class App;
}

namespace millrace::runtime::cli {

using json = nlohmann::ordered_json;

/// Ends a command; run() prints it and exits with its status. Only inside of cli/.
struct command_failed {
  exit_status status = exit_status::failed;
  std::string code, message, detail;
};

class command_context {
public:
  std::string server, token_file, format = "table";
  terminal screen = terminal::of_stdout();
  /// The chosen command; set while the command line is parsed.
  std::function<exit_status()> action;

  bool as_json() const { return format == "json"; }
  /// Connects at first use. Throws command_failed: unreachable.
  admin::admin_client& node();
  /// The node's answer as JSON. Throws command_failed.
  json ask(const actors::admin_call& call) { return document_of(node().call(call)); }
  json document_of(const actors::admin_reply& reply, exit_status if_invalid = exit_status::failed) const;
  /// Standard output; a reader that went away (`| head`) ends the program quietly.
  void out(std::string_view text) const;
  void out_line(const json& line) const;
  /// Standard error: what a person should know beside the answer. Silent with -o json.
  void note(const std::string& line) const;
  int report(const command_failed& failure) const;

private:
  std::unique_ptr<admin::admin_client> client_;
};

/// A call about one pipeline.
actors::admin_call about(actors::admin_call::method what, const std::string& pipeline);
/// "PIPELINE/LOAD" in two. Throws command_failed: usage.
std::pair<std::string, std::string> split_load(const std::string& text);
/// Throws command_failed (usage) unless `text` is an offset, a time, or one of `words`.
void check_position(const std::string& text, const std::vector<std::string>& words, const std::string& option);
/// The file's content; "-" is standard input. Throws command_failed: usage.
std::string read_text_file(const std::string& path);
/// Absolute folder of a file, where the spec's relative paths start.
std::string folder_of(const std::string& path);
/// A field as text for a table: strings bare, null empty.
std::string field(const json& object, const char* key);
std::uint64_t count(const json& object, const char* key);

void add_node_command(CLI::App& app, command_context& context);
void add_keygen_command(CLI::App& app, command_context& context);
void add_pipeline_commands(CLI::App& app, command_context& context);
void add_status_command(CLI::App& pipeline, command_context& context);
void add_log_commands(CLI::App& app, command_context& context);
void add_dead_letter_commands(CLI::App& app, command_context& context);
void add_verify_command(CLI::App& app, command_context& context);
void add_watch_commands(CLI::App& app, command_context& context);
void add_cluster_commands(CLI::App& app, command_context& context);

/// `pipeline validate`.
exit_status validate(const command_context& context, const std::vector<std::string>& files);
struct dry_run_options {
  std::string file, load, input;
  std::uint64_t limit = 0; ///< changes to read; 0: all
};
/// `pipeline dry-run`: no node; a JSON object a row, {"dead_letter": {...}} for a bad record.
exit_status dry_run(const command_context& context, const dry_run_options& options);

} // namespace millrace::runtime::cli
