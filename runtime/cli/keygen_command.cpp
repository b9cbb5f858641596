#include "runtime/cli/command.hpp"
#include "runtime/link/curve_keys.hpp"

#include <CLI/CLI.hpp>

namespace millrace::runtime::cli {
namespace {

exit_status keygen(const command_context& context, const std::filesystem::path& name) {
  auto folder = name.parent_path();
  auto keys = link::make_key_files(folder, name.filename().string());
  if (!keys) {
    bool usage = keys.error().is(storage::errc::invalid);
    throw command_failed{usage ? exit_status::usage : exit_status::failed,
                         keys.error().is(storage::errc::conflict) ? "exists"
                         : usage                                  ? "usage"
                                                                  : "io_failed",
                         keys.error().message,
                         {}};
  }
  auto key_file = name.string() + ".key", pub_file = name.string() + ".pub";
  if (context.as_json()) {
    context.out_line({{"node", name.filename().string()},
                      {"key_file", key_file},
                      {"pub_file", pub_file},
                      {"public_key", keys.value().public_key}});
    return exit_status::done;
  }
  context.out(key_file + "  the secret key: cluster.link.key of node '" + name.filename().string() + "', and of no other\n" +
              pub_file + "  the public key: append this line to the peers file of every node\n");
  return exit_status::done;
}

} // namespace

void add_keygen_command(CLI::App& app, command_context& context) {
  auto name = std::make_shared<std::string>();
  auto* command = app.add_subcommand("keygen", "Make a key pair for the links between nodes: NAME.key and NAME.pub");
  command->add_option("NAME", *name, "The node's name; with a folder before it, the files go there")->required();
  command->callback([&context, name] { context.action = [&context, name] { return keygen(context, *name); }; });
}

} // namespace millrace::runtime::cli
