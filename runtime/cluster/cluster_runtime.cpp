#include "runtime/cluster/cluster_runtime.hpp"

#include "actors/cluster/hub.hpp"
#include "runtime/cluster/cluster_samples.hpp"
#include "runtime/link/node_link.hpp"
#include "runtime/version.hpp"

#include <unistd.h>

#include <mutex>
#include <set>

namespace millrace::runtime::cluster {
namespace {

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

class running final : public cluster_runtime {
public:
  storage::result<void> begin(const config::node_config& config, std::uint64_t data_id, const actors::log_sink& log) {
    const auto& c = *config.cluster;
    auto say = [log](const char* component) {
      return [log, component](const std::string& line) { log("warn", component, line); };
    };
    storage::etcd_options etcd;
    etcd.endpoints = c.etcd_endpoints;
    etcd.ca = c.etcd_ca;
    etcd.cert = c.etcd_cert;
    etcd.key = c.etcd_key;
    etcd.user = c.etcd_user;
    etcd.password = c.etcd_password;
    etcd.prefix = "/millrace/" + c.id;
    etcd.log = say("etcd");
    auto catalog = storage::etcd_catalog::open(std::move(etcd));
    if (!catalog) return catalog.error();

    link::link_options link;
    link.cluster_id = c.id;
    link.node = config.name;
    link.listen = c.listen;
    link.key_file = c.key_file;
    link.peers_file = c.peers_file;
    link.max_frame_bytes = std::max<std::uint64_t>(link.max_frame_bytes, config.limits.record_bytes * 2 + (1u << 20));
    link.window_bytes = std::max(link.window_bytes, 2 * link.max_frame_bytes);
    link.log = log;
    link_ = std::make_shared<link::node_link>(link);

    services_->id = c.id;
    services_->lease = c.lease;
    services_->catalog = catalog.value();
    services_->mirror = std::make_shared<storage::catalog_mirror>(*catalog.value(), "", say("catalog"));
    services_->transport = link_;
    services_->hub = std::make_shared<actors::cluster::hub>();
    services_->hub->connect(*link_, log);
    if (auto started = link_->start(); !started) return started.error();

    actors::cluster::membership_options member;
    member.node = config.name;
    member.lease = c.lease;
    member.record.data_id = data_id;
    member.record.link_address = c.advertise;
    member.record.http_address = http_address(config);
    member.record.labels = c.labels;
    member.record.version = std::string(version);
    member.record.host = host_name();
    member.record.started_at_us = storage::now().time_since_epoch().count();
    member.log = [log](const std::string& line) { log("info", "membership", line); };
    member.on_session = [this](std::uint64_t) { changed(); };
    node_ = config.name;
    log_ = log;
    services_->membership =
        std::make_shared<actors::cluster::membership>(*catalog.value(), *services_->mirror, std::move(member));
    controller_ = std::make_unique<actors::cluster::controller>(
        *catalog.value(), *services_->mirror, *services_->membership, actors::cluster::controller_options{},
        [](const actors::supervisor::pipeline_record& r) {
          return std::optional(actors::cluster::pipeline_shape{1, r.replicas, r.min_in_sync, r.pin});
        },
        [log](const std::string& line) { log("info", "controller", line); });
    etcd_ = catalog.value();
    services_->facts = [this] { return facts(); };
    services_->samples = [this] { return samples(); };
    // Addresses come from the catalog: a node that moved is found again.
    listener_ = services_->mirror->listen("", [this] { changed(); });
    changed();
    return storage::success();
  }

  ~running() override { stop(); }

  std::shared_ptr<actors::cluster::services> services() const override { return services_; }

  void stop() override {
    listener_.reset();
    controller_.reset();
    if (link_) link_->stop();
    services_->membership.reset();
  }

  /// Of this node, for `cluster status`. Before stop() only: the actors, which ask, have ended by then.
  nlohmann::ordered_json facts() const {
    const auto member = services_->membership->status();
    const auto etcd = etcd_->status();
    nlohmann::ordered_json out{{"catalog", to_string(member.state)},
                               {"since_alive_seconds", std::chrono::duration<double>(member.since_alive).count()},
                               {"etcd", {{"reachable", etcd.reachable}, {"endpoint", etcd.endpoint}}}};
    if (!member.reason.empty()) out["reason"] = member.reason;
    if (!etcd.reachable && !etcd.last_error.empty()) out["etcd"]["last_error"] = etcd.last_error;
    if (controller_)
      if (auto c = controller_->status(); c.active) out["shortages"] = c.shortages;
    return out;
  }
  nlohmann::ordered_json samples() const {
    auto out = cluster_samples(services_->membership->status(), etcd_->status(),
                               controller_ ? controller_->status() : actors::cluster::controller_status{});
    for (auto& s : link_samples(link_->peers(), link_->counters())) out.push_back(std::move(s));
    return out;
  }

private:
  void changed() {
    std::lock_guard lock(mutex_);
    if (!services_->membership) return;
    std::set<std::string> known;
    for (const auto& m : services_->membership->members()) {
      if (m.node == node_ || m.record.link_address.empty()) continue;
      known.insert(m.node);
      if (addresses_[m.node] == m.record.link_address) continue;
      if (auto set = link_->set_peer(m.node, m.record.link_address); !set) log_("warn", "link", set.error().message);
      addresses_[m.node] = m.record.link_address;
    }
    for (auto it = addresses_.begin(); it != addresses_.end();) {
      if (known.contains(it->first)) {
        ++it;
        continue;
      }
      link_->remove_peer(it->first);
      it = addresses_.erase(it);
    }
  }

  std::shared_ptr<actors::cluster::services> services_ = std::make_shared<actors::cluster::services>();
  std::shared_ptr<link::node_link> link_;
  std::shared_ptr<storage::etcd_catalog> etcd_;
  std::string node_;
  actors::log_sink log_;
  std::mutex mutex_;
  std::map<std::string, std::string> addresses_;
  std::unique_ptr<actors::cluster::controller> controller_;
  std::unique_ptr<storage::catalog_mirror::listener> listener_;
};

} // namespace

std::string http_address(const config::node_config& config) {
  if (!config.has_http()) return {};
  if (!config.http_advertise.empty()) return config.http_advertise;
  const auto colon = config.http_listen.rfind(':');
  const auto host = config.http_listen.substr(0, colon), port = config.http_listen.substr(colon + 1);
  // A port of 0 is chosen later; what listens on loopback is for this host alone.
  if (port == "0" || host.starts_with("127.") || host == "localhost" || host == "[::1]") return {};
  if (host != "0.0.0.0" && host != "[::]" && host != "*") return config.http_listen;
  const auto& others = config.cluster->advertise;
  return others.substr(0, others.rfind(':')) + ":" + port;
}

storage::result<std::unique_ptr<cluster_runtime>> cluster_runtime::start(const config::node_config& config, std::uint64_t data_id,
                                                                         const actors::log_sink& log) {
  auto made = std::make_unique<running>();
  if (auto ok = made->begin(config, data_id, log); !ok) return ok.error();
  return std::unique_ptr<cluster_runtime>(std::move(made));
}

} // namespace millrace::runtime::cluster
