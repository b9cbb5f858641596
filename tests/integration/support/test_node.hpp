#pragma once
// A node of a test's own: started, asked through its command line as a user would, killed, started again.

#include "tests/integration/support/http.hpp"
#include "tests/integration/support/process.hpp"
#include "tests/integration/support/sqlite_file.hpp"
#include "tests/integration/support/temp_dir.hpp"

#include <nlohmann/json.hpp>
#include <optional>

namespace millrace::testing {

using nlohmann::json;

struct node_settings {
  std::string limits = "disk_reserve: 1MiB"; ///< what stands inside `limits: { }`
  std::filesystem::path data;                ///< empty: `data` below the node's folder
  std::vector<std::pair<std::string, std::string>> env;
  std::string name = "t";
  std::string http_host = "127.0.0.1";  ///< an address of the node's
  std::string more = {};                ///< further lines of its configuration
  std::vector<std::string> before = {}; ///< words before its command line: `ip netns exec NAME`
};

/// Owner: one test, one thread.
class test_node {
public:
  explicit test_node(std::filesystem::path directory, node_settings settings = {});

  /// Starts it and waits until its socket answers and its HTTP port is known.
  void start(milliseconds limit = seconds{30});
  /// Starts it and returns at once.
  void launch();
  void wait_ready(milliseconds limit = seconds{30});
  void kill9();
  /// SIGTERM; gives the exit status and how long it took.
  std::pair<int, milliseconds> terminate(milliseconds limit = seconds{30});
  child& process() { return *process_; }
  bool running() { return process_ && process_->running(); }

  /// One command of the client against this node.
  run_result cli(std::vector<std::string> words, milliseconds limit = seconds{60});
  /// The same with `-o json`, which must succeed.
  json ask(std::vector<std::string> words, milliseconds limit = seconds{60});
  /// Must succeed; throws with the standard error otherwise.
  std::string must(std::vector<std::string> words, milliseconds limit = seconds{60});

  /// Writes NAME.yaml into the node's folder and applies it.
  void apply(const std::string& name, const std::string& spec);
  json status(const std::string& pipeline) { return ask({"pipeline", "status", pipeline}); }
  json load(const std::string& pipeline, const std::string& load);
  void caught_up(const std::string& pipeline, seconds limit = seconds{60});
  /// Waits until the pipeline's status satisfies `condition`; gives that status.
  json until(const std::string& pipeline, const std::string& what, const std::function<bool(const json&)>& condition,
             milliseconds limit = seconds{30});
  json dead_letters(const std::string& pipeline, const std::string& load = "", const std::string& state = "");

  std::string http(const std::string& path) const;
  /// The value of one sample, by its name and a part of its labels; nothing if there is none.
  std::optional<double> metric(const std::string& name, const std::string& labels = "");
  std::string log() const { return read_file(directory_ / "node.log"); }
  const std::filesystem::path& directory() const noexcept { return directory_; }
  std::filesystem::path data() const { return settings_.data; }
  std::filesystem::path socket() const { return settings_.data / "admin.sock"; }
  std::filesystem::path config() const { return directory_ / "node.yaml"; }

private:
  std::filesystem::path directory_;
  node_settings settings_;
  std::optional<child> process_;
};

/// What stands at a JSON pointer; null where there is nothing, as in a status that was asked while the pipeline started.
inline json in(const json& document, const std::string& pointer) { return document.value(json::json_pointer(pointer), json()); }
inline std::string text_in(const json& document, const std::string& pointer) {
  const auto found = in(document, pointer);
  return found.is_string() ? found.get<std::string>() : std::string();
}

/// The program under test: $MILLRACE_BINARY, else the one that this build made.
std::string binary();
/// ingested = delivered + filtered + open + discarded, for every load. Gives what is wrong, or nothing.
std::string unaccounted(test_node& node, const std::string& pipeline);

} // namespace millrace::testing
