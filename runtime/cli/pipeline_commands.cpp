#include "runtime/cli/command.hpp"
#include "runtime/config/postgres_parser.hpp"
#include "runtime/config/spec_parser.hpp"

#include <CLI/CLI.hpp>

namespace millrace::runtime::cli {
namespace {

using method = actors::admin_call::method;

exit_status apply_files(command_context& context, const std::vector<std::string>& files) {
  std::vector<config::spec_file> specs;
  for (const auto& file : files) specs.push_back({file == "-" ? "<stdin>" : file, folder_of(file), read_text_file(file)});
  auto answer = context.document_of(context.node().apply(specs), exit_status::usage);
  if (context.as_json()) return context.out_line(answer), exit_status::done;
  for (const auto& p : answer)
    context.out("pipeline " + printable(field(p, "pipeline")) + " " + field(p, "change") + " (revision " + field(p, "revision") +
                ")\n");
  return exit_status::done;
}

exit_status list(command_context& context) {
  actors::admin_call call;
  call.what = method::list;
  auto answer = context.ask(call);
  if (context.as_json()) return context.out_line(answer), exit_status::done;
  table t({{"PIPELINE"}, {"STATE"}, {"REVISION", true}, {"REASON"}});
  for (const auto& p : answer) {
    auto state = field(p, "state");
    t.row({field(p, "pipeline"), {state, colour_of_state(state)}, field(p, "revision"), field(p, "reason")});
  }
  context.out(t.text(context.screen));
  return exit_status::done;
}

exit_status show(command_context& context, const std::string& pipeline) {
  auto answer = context.ask(about(method::show, pipeline));
  if (context.as_json()) return context.out_line(answer), exit_status::done;
  auto spec = field(answer, "spec");
  if (!spec.empty() && spec.back() != '\n') spec += '\n';
  context.out(spec); // as it was applied: what is shown can be applied again
  return exit_status::done;
}

exit_status change(command_context& context, method what, const std::string& pipeline, const char* done) {
  auto answer = context.ask(about(what, pipeline));
  if (context.as_json()) return context.out_line(answer), exit_status::done;
  context.out("pipeline " + pipeline + " " + done + "\n");
  if (const auto warning = field(answer, "warning"); !warning.empty()) context.note("warning: " + printable(warning));
  return exit_status::done;
}

exit_status snapshot(command_context& context, const std::string& pipeline, const std::string& table) {
  auto call = about(method::snapshot, pipeline);
  call.name = config::qualified(table); // as sources name their tables
  auto answer = context.ask(call);
  if (context.as_json()) return context.out_line(answer), exit_status::done;
  context.out("pipeline " + pipeline + " reads " + printable(call.name) +
              " whole again, beside its changes; `millrace pipeline status " + pipeline + "` shows how far it is\n");
  return exit_status::done;
}

} // namespace

exit_status validate(const command_context& context, const std::vector<std::string>& files) {
  std::vector<config::spec_file> specs;
  for (const auto& file : files) specs.push_back({file == "-" ? "<stdin>" : file, folder_of(file), read_text_file(file)});
  config::spec_options options;
  options.unset_is_warning = true;
  auto parsed = config::parse_files(specs, options);
  bool failed = config::has_errors(parsed.mistakes);
  if (context.as_json()) {
    auto mistakes = json::array();
    for (const auto& m : parsed.mistakes)
      mistakes.push_back({{"file", m.file},
                          {"line", m.at.line},
                          {"column", m.at.column},
                          {"message", m.message},
                          {"severity", m.warning ? "warning" : "error"}});
    if (failed) throw command_failed{exit_status::usage, "invalid", config::to_text(parsed.mistakes), mistakes.dump()};
    auto pipelines = json::array();
    for (const auto& s : parsed.specs) pipelines.push_back(s->name);
    context.out_line({{"valid", true}, {"pipelines", pipelines}, {"warnings", mistakes}});
    return exit_status::done;
  }
  if (failed) throw command_failed{exit_status::usage, "invalid", config::to_text(parsed.mistakes), {}};
  if (!parsed.mistakes.empty()) context.note(config::to_text(parsed.mistakes));
  for (const auto& s : parsed.specs) context.out(s->file + ": pipeline " + s->name + " is valid\n");
  return exit_status::done;
}

void add_pipeline_commands(CLI::App& app, command_context& context) {
  auto* pipeline = app.add_subcommand("pipeline", "Check, apply and look after pipelines")->require_subcommand(1);
  auto files = std::make_shared<std::vector<std::string>>();
  auto name = std::make_shared<std::string>();

  auto* validate_command = pipeline->add_subcommand("validate", "Check specs without a node: every mistake as file:line:column");
  validate_command->add_option("FILE", *files, "Specs; - is standard input")->required();
  validate_command->callback([&context, files] { context.action = [&context, files] { return validate(context, *files); }; });

  auto options = std::make_shared<dry_run_options>();
  auto* dry = pipeline->add_subcommand("dry-run", "Read, transform, print what would be written; writes nothing, needs no node");
  dry->add_option("FILE", options->file, "The spec")->required();
  dry->add_option("--limit", options->limit, "Changes to read; all without it")->check(CLI::PositiveNumber);
  dry->add_option("--load", options->load, "Only this load");
  dry->add_option("--input", options->input, "Read this file instead of the spec's source (for a push source)");
  dry->callback([&context, options] { context.action = [&context, options] { return dry_run(context, *options); }; });

  auto* apply_command = pipeline->add_subcommand("apply", "Create or update pipelines, all or none; idempotent");
  apply_command->add_option("FILE", *files, "Specs; - is standard input")->required();
  apply_command->callback([&context, files] { context.action = [&context, files] { return apply_files(context, *files); }; });

  pipeline->add_subcommand("list", "All pipelines and their states")->callback([&context] {
    context.action = [&context] { return list(context); };
  });

  auto* show_command = pipeline->add_subcommand("show", "The spec as it was applied; references, never their values");
  show_command->add_option("NAME", *name, "The pipeline")->required();
  show_command->callback([&context, name] { context.action = [&context, name] { return show(context, *name); }; });

  struct simple {
    const char* command;
    method what;
    const char* done;
    const char* help;
  };
  for (const auto& c :
       {simple{"pause", method::pause, "paused", "Stop ingest and loads; the log stays"},
        simple{"resume", method::resume, "resumed", "Go on after a pause or a failure"},
        simple{"delete", method::remove, "deleted", "Drop log, positions and dead letters; the destination stays"}}) {
    auto* command = pipeline->add_subcommand(c.command, c.help);
    command->add_option("NAME", *name, "The pipeline")->required();
    command->callback(
        [&context, name, c] { context.action = [&context, name, c] { return change(context, c.what, *name, c.done); }; });
  }
  auto table = std::make_shared<std::string>();
  auto* snapshot_command =
      pipeline->add_subcommand("snapshot", "Read a table of a database source whole again, beside its changes");
  snapshot_command->add_option("NAME", *name, "The pipeline")->required();
  snapshot_command->add_option("TABLE", *table, "The table as the source names it: public.orders")->required();
  snapshot_command->callback(
      [&context, name, table] { context.action = [&context, name, table] { return snapshot(context, *name, *table); }; });
  add_status_command(*pipeline, context);
}

} // namespace millrace::runtime::cli
