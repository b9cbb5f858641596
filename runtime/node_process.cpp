#include "runtime/node_process.hpp"

#include "runtime/admin/admin_server.hpp"
#include "runtime/cluster/cluster_runtime.hpp"
#include "runtime/config/spec_parser.hpp"
#include "runtime/config/units.hpp"
#include "runtime/http/http_server.hpp"
#include "runtime/node_log.hpp"
#include "runtime/service_manager.hpp"
#include "runtime/version.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <optional>
#include <random>
#include <thread>

namespace millrace::runtime {
namespace {

constexpr int exit_storage = 70;
constexpr std::chrono::milliseconds drain_limit{4000};
// timeout(1) and some init systems send the same signal twice within a millisecond: that is one request.
constexpr std::chrono::milliseconds same_request{300};
constexpr std::chrono::milliseconds exit_limit{4700}; // a supervisor of processes is promised an exit in under 5 s

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

/// Waits up to `limit` for a signal to stop; 0 if none came.
int wait_for_signal(std::chrono::milliseconds limit) {
  auto set = stop_signals();
  timespec time{limit.count() / 1000, (limit.count() % 1000) * 1'000'000};
  int signal = sigtimedwait(&set, nullptr, &time);
  return signal > 0 ? signal : 0;
}

/// While the node drains and ends, a second signal or the deadline ends the process, whatever the work hangs on: one that neither
/// runs nor ends would not be started again. `status`: what it ends with at the deadline.
class impatience {
public:
  impatience(const actors::log_sink& log, std::chrono::steady_clock::time_point begun, int status)
      : thread_([this, &log, begun, status] {
          while (!over_) {
            auto age = std::chrono::steady_clock::now() - begun;
            if (age > exit_limit) {
              log("warn", "node", "ending before everything was put away; what was acknowledged is durable");
              ::_exit(status);
            }
            if (int signal = wait_for_signal(std::chrono::milliseconds{100});
                signal && std::chrono::steady_clock::now() - begun > same_request) {
              log("warn", "node", "a second signal: ending at once; what was acknowledged is durable");
              ::_exit(128 + signal);
            }
          }
        }) {}
  ~impatience() {
    over_ = true;
    thread_.join();
  }

private:
  std::atomic<bool> over_{false};
  std::thread thread_;
};

/// The chosen port, for scripts and tests; whole or not at all.
void write_port_file(const std::filesystem::path& path, std::uint16_t port) {
  auto next = path;
  next += ".next";
  std::ofstream(next) << port << '\n';
  std::error_code ignored; // a convenience: the log line says it too
  std::filesystem::rename(next, path, ignored);
}

std::string host_of(const std::string& listen) { return listen.substr(0, listen.rfind(':')); }

/// Identity of a data directory: who holds it after a crash is the node it was before.
storage::result<std::uint64_t> data_id(storage::catalog& catalog) {
  const std::string key = "data_id";
  auto known = catalog.get(key);
  if (!known) return known.error();
  if (known.value()) return static_cast<std::uint64_t>(std::stoull(known.value()->value));
  std::random_device device;
  const std::uint64_t id = (std::uint64_t{device()} << 32 | device()) | 1;
  if (auto stored = catalog.commit({{key, 0}}, {{key, std::to_string(id), 0}}); !stored) return stored.error();
  return id;
}

} // namespace

int run_node(const config::node_config& config) {
  auto log = make_node_log(config.log_level, config.log_json, config.name);
  std::optional<impatience> ending; // lives until everything below has been put away
  auto critical = [&](const std::string& line) {
    log("critical", "node", line);
    ending.emplace(log, std::chrono::steady_clock::now(), 1);
    return 1;
  };
  // Before any thread: all of them inherit the mask, and only wait_for_signal() takes these signals.
  auto set = stop_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::umask(0077); // log, dead letters and socket hold other people's data

  std::error_code error;
  std::filesystem::create_directories(config.data_dir, error);
  if (error) return critical("data_dir " + config.data_dir.string() + " cannot be made: " + error.message());

  storage::store_options store_options;
  store_options.directory = config.data_dir;
  store_options.disk_reserve_bytes = config.disk_reserve_bytes;
  store_options.memory_bytes = std::min<std::size_t>(store_options.memory_bytes, config.limits.memory_bytes / 4);
  store_options.on_message = [&log](std::string_view line) { log("warn", "storage", line); };
  auto store = storage::node_store::open(store_options);
  if (!store) return critical("cannot open data_dir " + config.data_dir.string() + ": " + store.error().message);

  config::spec_options spec_options;
  spec_options.record_bytes = config.limits.record_bytes;
  actors::node_options node_options;
  node_options.name = config.name;
  node_options.store = store.value();
  node_options.limits = config.limits;
  node_options.parse = config::stored_spec_parser(spec_options);
  node_options.log = log;
  std::unique_ptr<cluster::cluster_runtime> in_cluster;
  if (config.cluster) {
    auto id = data_id(store.value()->catalog());
    if (!id) return critical("data_dir " + config.data_dir.string() + ": " + id.error().message);
    auto joined = cluster::cluster_runtime::start(config, id.value(), log);
    if (!joined) return critical("cannot join cluster " + config.cluster->id + ": " + joined.error().message);
    in_cluster = std::move(joined).value();
    node_options.cluster = in_cluster->services();
  }
  auto started = actors::node::start(node_options);
  if (!started) return critical("cannot start: " + started.error().message);
  auto node = std::move(started).value();

  admin::admin_server_options admin_options;
  admin_options.socket = config.admin_socket.string();
  admin_options.specs = spec_options;
  admin_options.log = log;
  auto admin = admin::admin_server::start(*node, admin_options);
  if (!admin) return critical(admin.error().message);

  std::unique_ptr<http::http_server> http;
  std::string http_text = "none";
  auto port_file = config.data_dir / "http.port";
  std::filesystem::remove(port_file, error);
  if (config.has_http()) {
    http::http_server_options http_options;
    http_options.listen = config.http_listen;
    http_options.body_bytes_max = config.limits.body_bytes;
    http_options.bodies_bytes_max = std::max(config.limits.body_bytes, config.limits.memory_bytes / 8);
    http_options.log = log;
    auto made = http::http_server::start(*node, http_options);
    if (!made) return critical(made.error().message);
    http = std::move(made).value();
    write_port_file(port_file, http->port());
    http_text = "http://" + host_of(config.http_listen) + ":" + std::to_string(http->port());
  }

  log("info", "node",
      "ready: millrace " + std::string(version) + ", node " + config.name + ", pid " + std::to_string(::getpid()) + ", socket " +
          admin_options.socket + ", http " + http_text + ", data " + config.data_dir.string());
  service_manager::ready();

  int signal = 0;
  while (!signal && !node->storage_failed()) signal = wait_for_signal(std::chrono::milliseconds{50});
  if (node->storage_failed()) {
    // Every further write would be refused, and nothing in memory may be trusted to become durable: a restart reads what is.
    log("critical", "node",
        "the storage in " + config.data_dir.string() +
            " has failed; ending with status 70, so that a restart reads back what is durable");
    ::_exit(exit_storage);
  }

  log("info", "node",
      std::string(signal == SIGTERM ? "SIGTERM" : "SIGINT") + ": draining for at most " +
          config::duration_text(drain_limit.count() / 1000.0));
  service_manager::stopping();
  auto begun = std::chrono::steady_clock::now();
  ending.emplace(log, begun, 0);
  bool drained = node->drain(drain_limit);
  std::filesystem::remove(port_file, error);
  http.reset(); // after the drain: what was pushed before it got its answer
  admin.value().reset();
  if (node->storage_failed()) {
    log("critical", "node", "the storage failed during the drain; ending with status 70");
    ::_exit(exit_storage);
  }
  auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  log(drained ? "info" : "warn", "node",
      drained ? "drained in " + config::duration_text(seconds) + ", ending"
              : "not drained within the limit, ending; acknowledged changes are durable and go on at the next start");
  if (!drained) ::_exit(0); // an actor that hangs must not hold the exit; the log's recovery is made for this
  if (in_cluster) in_cluster->stop();
  node.reset();
  store.value().reset();
  return 0;
}

} // namespace millrace::runtime
