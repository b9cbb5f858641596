#include "runtime/cli/cli.hpp"

#include "runtime/cli/command.hpp"
#include "runtime/config/mistakes.hpp"
#include "runtime/version.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <string_view>

namespace millrace::runtime::cli {
namespace {

/// Before anything is parsed: an error of the parsing itself must already be JSON if JSON was asked for.
bool asks_for_json(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    std::string_view arg = argv[i];
    if (arg == "-ojson" || arg == "--output=json") return true;
    if ((arg == "-o" || arg == "--output") && i + 1 < argc && std::string_view(argv[i + 1]) == "json") return true;
  }
  return false;
}

/// The word that is no command, if that is what was wrong: CLI11 only says that one is missing.
std::string unknown_command(const CLI::App& app, int argc, char** argv) {
  const CLI::App* at = &app;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    if (word == "-o" || word == "--output" || word == "--server" || word == "--token-file") {
      ++i;
      continue;
    }
    if (word.starts_with('-')) continue;
    auto commands = at->get_subcommands([](const CLI::App* c) { return !c->get_group().empty(); });
    if (commands.empty()) return {};
    auto found = std::find_if(commands.begin(), commands.end(), [&](const CLI::App* c) { return c->get_name() == word; });
    if (found != commands.end()) {
      at = *found;
      continue;
    }
    std::vector<std::string> names;
    for (const auto* c : commands) names.push_back(c->get_name());
    std::vector<std::string_view> views(names.begin(), names.end());
    return "unknown command '" + word + "'; expected " + config::listed(views) + config::suggestion(word, views);
  }
  return {};
}

/// What CLI11 says instead of it: that the words which it was not are missing.
std::string unknown_option(const CLI::App& app) {
  for (const auto& word : app.remaining(true))
    if (word.size() > 1 && word.front() == '-') return "unknown option '" + word + "'; see --help";
  return {};
}

} // namespace

int run(int argc, char** argv) {
  command_context context;
  if (asks_for_json(argc, argv)) context.format = "json";

  CLI::App app{"Millrace carries every change of a source into a destination, in order, exactly once."};
  app.name("millrace");
  app.set_version_flag("--version", std::string("millrace ") + version);
  app.fallthrough(); // --server, -o and --token-file may stand behind the command too
  app.require_subcommand(1);
  context.server = "./millrace-data/admin.sock";
  app.add_option("--server", context.server, "Address of the node: its admin socket's path")
      ->envname("MILLRACE_SERVER")
      ->capture_default_str();
  app.add_option("--token-file", context.token_file, "File with the token to log in with");
  app.add_option("-o,--output", context.format, "table or json")->check(CLI::IsMember({"table", "json"}));
  app.footer("Exit status: 0 done; 1 refused or failed; 2 wrong usage or an invalid file; 3 the node cannot be reached;\n"
             "4 a --wait ran out of time.");
  add_node_command(app, context);
  add_keygen_command(app, context);
  add_pipeline_commands(app, context);
  add_log_commands(app, context);
  add_dead_letter_commands(app, context);
  add_verify_command(app, context);
  add_watch_commands(app, context);
  add_cluster_commands(app, context);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e); // --help, --version
    std::string unknown;
    if (dynamic_cast<const CLI::RequiredError*>(&e) || dynamic_cast<const CLI::ExtrasError*>(&e)) {
      unknown = unknown_command(app, argc, argv);
      if (unknown.empty()) unknown = unknown_option(app);
    }
    return context.report({exit_status::usage, "usage", unknown.empty() ? std::string(e.what()) + "; see --help" : unknown, {}});
  }
  try {
    return static_cast<int>(context.action());
  } catch (const command_failed& failure) {
    return context.report(failure);
  } catch (const std::exception& e) {
    return context.report({exit_status::failed, "internal", e.what(), {}});
  }
}

} // namespace millrace::runtime::cli
