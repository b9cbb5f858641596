#include "tests/integration/support/test_node.hpp"

#include <csignal>
#include <cstdlib>
#include <stdexcept>

namespace millrace::testing {

std::string binary() {
  const char* chosen = std::getenv("MILLRACE_BINARY");
  return chosen && *chosen ? chosen : MILLRACE_BINARY;
}

test_node::test_node(std::filesystem::path directory, node_settings settings)
    : directory_(std::move(directory)), settings_(std::move(settings)) {
  std::filesystem::create_directories(directory_);
  if (settings_.data.empty()) settings_.data = directory_ / "data";
  write_file(config(), "node: " + settings_.name + "\ndata_dir: " + settings_.data.string() + "\nhttp: { listen: \"" +
                           settings_.http_host + ":0\" }\nlimits: { " + settings_.limits +
                           " }\nlog: { level: info, format: text }\n" + settings_.more);
}

void test_node::launch() {
  if (running()) throw std::runtime_error("the node runs already");
  std::error_code ignored;
  std::filesystem::remove(settings_.data / "http.port", ignored); // a stale one would name another process's port
  process_.reset();
  auto words = settings_.before;
  words.insert(words.end(), {binary(), "node", "--config", config().string()});
  process_.emplace(
      child::start({.argv = std::move(words), .env = settings_.env, .directory = directory_, .output = directory_ / "node.log"}));
}

void test_node::wait_ready(milliseconds limit) {
  const auto words = [this] { return "the node's log:\n" + log(); };
  eventually(
      "the node answers",
      [this, &words] {
        if (const auto status = process_->wait_for(milliseconds{0}))
          throw std::runtime_error("the node ended with status " + std::to_string(*status) + "; " + words());
        return std::filesystem::exists(settings_.data / "http.port") && std::filesystem::exists(socket()) &&
               cli({"pipeline", "list"}).status == 0;
      },
      limit, words);
}

void test_node::start(milliseconds limit) {
  launch();
  wait_ready(limit);
}

void test_node::kill9() {
  process_->signal(SIGKILL);
  process_->wait_for(seconds{10});
}

std::pair<int, milliseconds> test_node::terminate(milliseconds limit) {
  const auto begin = test_clock::now();
  process_->signal(SIGTERM);
  const auto status = process_->wait_for(limit);
  if (!status) throw std::runtime_error("the node did not end after SIGTERM; its log:\n" + log());
  return {*status, std::chrono::duration_cast<milliseconds>(test_clock::now() - begin)};
}

run_result test_node::cli(std::vector<std::string> words, milliseconds limit) {
  words.insert(words.begin(), binary());
  words.insert(words.end(), {"--server", socket().string()});
  return run({.argv = std::move(words), .env = settings_.env, .directory = directory_, .output = {}}, limit);
}

std::string test_node::must(std::vector<std::string> words, milliseconds limit) {
  std::string command;
  for (const auto& word : words) command += ' ' + word;
  const auto result = cli(std::move(words), limit);
  if (result.status != 0)
    throw std::runtime_error("millrace" + command + ": exit status " + std::to_string(result.status) + "\n" + result.out +
                             result.err);
  return result.out;
}

json test_node::ask(std::vector<std::string> words, milliseconds limit) {
  words.insert(words.end(), {"-o", "json"});
  const auto text = must(std::move(words), limit);
  auto document = json::parse(text, nullptr, false);
  if (document.is_discarded()) throw std::runtime_error("not JSON: " + text);
  return document;
}

void test_node::apply(const std::string& name, const std::string& spec) {
  write_file(directory_ / (name + ".yaml"), spec);
  must({"pipeline", "apply", name + ".yaml"});
}

json test_node::load(const std::string& pipeline, const std::string& load) {
  const auto document = status(pipeline);
  for (const auto& entry : document.at("loads"))
    if (entry.at("load") == load) return entry;
  throw std::runtime_error("no load " + load + " in " + document.dump());
}

void test_node::caught_up(const std::string& pipeline, seconds limit) {
  const auto result =
      cli({"pipeline", "status", pipeline, "--wait", "caught-up", "--timeout", std::to_string(limit.count()) + "s", "-o", "json"},
          limit + seconds{10});
  if (result.status != 0)
    throw std::runtime_error(pipeline + " did not catch up (" + std::to_string(result.status) + "): " + result.err + "\n" +
                             cli({"pipeline", "status", pipeline, "-o", "json"}).out + "\nthe node's log:\n" + log());
}

json test_node::until(const std::string& pipeline, const std::string& what, const std::function<bool(const json&)>& condition,
                      milliseconds limit) {
  json last;
  eventually(
      pipeline + ": " + what,
      [&] {
        last = status(pipeline);
        return condition(last);
      },
      limit, [&] { return last.dump(2) + "\nthe node's log:\n" + log(); });
  return last;
}

json test_node::dead_letters(const std::string& pipeline, const std::string& load, const std::string& state) {
  std::vector<std::string> words = {"dead-letters", "list", pipeline};
  if (!load.empty()) words.insert(words.end(), {"--load", load});
  if (!state.empty()) words.insert(words.end(), {"--state", state});
  return ask(std::move(words));
}

std::string test_node::http(const std::string& path) const {
  auto port = read_file(settings_.data / "http.port");
  while (!port.empty() && std::isspace(static_cast<unsigned char>(port.back()))) port.pop_back();
  return "http://" + settings_.http_host + ":" + port + path;
}

std::optional<double> test_node::metric(const std::string& name, const std::string& labels) {
  const auto text = http_get(http("/metrics")).body;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    const auto line = text.substr(at, end - at);
    at = end + 1;
    const auto name_end = line.find_first_of("{ ");
    if (name_end == std::string::npos || line.substr(0, name_end) != name || line.find(labels) == std::string::npos) continue;
    return std::stod(line.substr(line.rfind(' ') + 1));
  }
  return std::nullopt;
}

std::string unaccounted(test_node& node, const std::string& pipeline) {
  std::string wrong;
  const auto status = node.status(pipeline);
  for (const auto& load : status.at("loads")) {
    const auto name = load.at("load").get<std::string>();
    const auto discarded = node.dead_letters(pipeline, name, "discarded").size();
    const auto passed = load.at("delivered").get<std::uint64_t>() + load.at("filtered").get<std::uint64_t>() +
                        load.at("dead_letters").at("open").get<std::uint64_t>() + discarded;
    if (status.at("ingested") != passed)
      wrong += name + ": ingested " + status.at("ingested").dump() + ", accounted for " + std::to_string(passed) + " (" +
               std::to_string(discarded) + " discarded): " + load.dump() + "\n";
  }
  return wrong;
}

} // namespace millrace::testing
