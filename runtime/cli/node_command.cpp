#include "runtime/cli/command.hpp"
#include "runtime/node_process.hpp"

#include <CLI/CLI.hpp>

namespace millrace::runtime::cli {

void add_node_command(CLI::App& app, command_context& context) {
  auto* node = app.add_subcommand("node", "Run a node; SIGTERM drains it and exits 0");
  auto file = std::make_shared<std::string>();
  node->add_option("--config", *file, "The node's configuration; without one, embedded defaults below ./millrace-data");
  node->callback([&context, file] {
    context.action = [&context, file] {
      auto config = config::default_node_config();
      if (!file->empty()) {
        auto parsed = config::parse_node_config(read_text_file(*file), *file);
        if (config::has_errors(parsed.mistakes)) {
          auto detail = json::array();
          for (const auto& m : parsed.mistakes)
            detail.push_back({{"file", m.file}, {"line", m.at.line}, {"column", m.at.column}, {"message", m.message}});
          throw command_failed{exit_status::usage, "invalid", config::to_text(parsed.mistakes), detail.dump()};
        }
        config = parsed.config;
      }
      return static_cast<exit_status>(run_node(config));
    };
  });
}

} // namespace millrace::runtime::cli
