#include "runtime/config/node_config.hpp"

#include "runtime/config/document_reader.hpp"

#include <algorithm>
#include <charconv>
#include <thread>

namespace millrace::runtime::config {
namespace {

/// HOST:PORT, [IPv6]:PORT.
bool is_address(std::string_view text) {
  auto colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return false;
  auto host = text.substr(0, colon), port = text.substr(colon + 1);
  if (host.find(':') != std::string_view::npos && !(host.front() == '[' && host.back() == ']')) return false;
  std::uint32_t number = 0;
  auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  return error == std::errc{} && end == port.data() + port.size() && !port.empty() && number <= 65535;
}

void read_limits(document_reader& doc, const yaml_node& n, node_config& out) {
  section s(doc, n, "limits");
  if (!s.ok()) return;
  if (auto* v = s.take("memory"))
    if (auto bytes = doc.bytes(*v, "limits.memory", 64ull << 20, 1ull << 44)) out.limits.memory_bytes = *bytes;
  if (auto* v = s.take("workers"))
    if (auto count = doc.number(*v, "limits.workers", 1, 1024)) out.limits.workers = static_cast<std::uint32_t>(*count);
  if (auto* v = s.take("record"))
    if (auto bytes = doc.bytes(*v, "limits.record", 1024, 512ull << 20)) out.limits.record_bytes = *bytes;
  if (auto* v = s.take("body"))
    if (auto bytes = doc.bytes(*v, "limits.body", 1024, 512ull << 20)) out.limits.body_bytes = *bytes;
  if (auto* v = s.take("disk_reserve"))
    if (auto bytes = doc.bytes(*v, "limits.disk_reserve", 1, 1ull << 50)) out.disk_reserve_bytes = *bytes;
  s.finish();
}

/// A text that must not be empty; empty after noting a mistake.
std::string word(document_reader& doc, section& s, std::string_view key, std::string_view expected) {
  auto* v = s.need(key, expected);
  if (!v) return {};
  auto text = doc.text(*v, s.inside(key));
  if (text && text->empty()) doc.wrong(v->at, s.inside(key) + " is empty; expected " + std::string(expected));
  return text.value_or("");
}

std::string address(document_reader& doc, section& s, std::string_view key, const yaml_node* v, bool for_others) {
  if (!v) return {};
  auto text = doc.text(*v, s.inside(key));
  if (!text) return {};
  const auto colon = text->rfind(':');
  if (!is_address(*text) || text->substr(colon + 1) == "0")
    doc.wrong(v->at, s.inside(key) + " is " + described(*v) + "; expected HOST:PORT such as \"10.0.0.11:7072\"");
  else if (for_others && (text->starts_with("0.0.0.0:") || text->starts_with("[::]:") || text->starts_with("*:")))
    doc.wrong(v->at,
              s.inside(key) + " is " + described(*v) +
                  ", which is no place that another host can reach; expected `advertise: HOST:PORT` with this host's address");
  return *text;
}

void read_etcd(document_reader& doc, section& cluster, cluster_config& out) {
  auto* v = cluster.need("etcd", "a mapping with `endpoints`, the URLs of etcd");
  if (!v) return;
  section s(doc, *v, "cluster.etcd");
  if (!s.ok()) return;
  if (auto* e = s.need("endpoints", "a list of URLs such as [\"http://10.0.0.1:2379\"]"))
    for (auto& [url, at] : doc.texts(*e, "cluster.etcd.endpoints")) {
      const auto rest = url.starts_with("http://") ? url.substr(7) : url.starts_with("https://") ? url.substr(8) : std::string();
      if (!is_address(rest))
        doc.wrong(at, "cluster.etcd.endpoints has '" + url + "'; expected URLs such as http://10.0.0.1:2379");
      else
        out.etcd_endpoints.push_back(url);
    }
  if (auto* t = s.take("tls")) {
    section tls(doc, *t, "cluster.etcd.tls");
    auto file = [&](const char* key, std::string& to) {
      if (auto* f = tls.take(key))
        if (auto path = doc.path(*f, tls.inside(key))) to = *path;
    };
    if (tls.ok()) {
      file("ca", out.etcd_ca);
      file("cert", out.etcd_cert);
      file("key", out.etcd_key);
      if (out.etcd_cert.empty() != out.etcd_key.empty())
        doc.wrong(t->at, "cluster.etcd.tls has one of cert and key; expected both, or neither");
      tls.finish();
    }
  }
  if (auto* w = s.take("user"))
    if (auto text = doc.text(*w, "cluster.etcd.user")) out.etcd_user = *text;
  if (auto* w = s.take("password"))
    if (auto text = doc.text(*w, "cluster.etcd.password")) out.etcd_password = *text;
  s.finish();
}

void read_link(document_reader& doc, section& cluster, cluster_config& out) {
  auto* v = cluster.need("link", "a mapping with `listen`, `key` and `peers`");
  if (!v) return;
  section s(doc, *v, "cluster.link");
  if (!s.ok()) return;
  const auto* listen = s.need("listen", "where other nodes connect, HOST:PORT");
  const auto* advertise = s.take("advertise");
  out.listen = address(doc, s, "listen", listen, advertise == nullptr);
  out.advertise = advertise ? address(doc, s, "advertise", advertise, true) : out.listen;
  if (auto* k = s.need("key", "the file NAME.key that `millrace keygen NAME` made"))
    if (auto path = doc.path(*k, "cluster.link.key")) out.key_file = *path;
  if (auto* k = s.need("peers", "a file with the lines of all nodes' NAME.pub files"))
    if (auto path = doc.path(*k, "cluster.link.peers")) out.peers_file = *path;
  s.finish();
}

void read_cluster(document_reader& doc, const yaml_node& n, node_config& out) {
  section s(doc, n, "cluster");
  if (!s.ok()) return;
  cluster_config cluster;
  cluster.id = word(doc, s, "id", "a name that all nodes of the cluster share");
  if (!cluster.id.empty() && !is_name(cluster.id))
    doc.wrong(s.key_at("id"), "cluster.id is '" + cluster.id + "'; expected " + name_expected);
  read_etcd(doc, s, cluster);
  read_link(doc, s, cluster);
  if (auto* v = s.take("lease"))
    if (auto lease = doc.duration(*v, "cluster.lease", std::chrono::milliseconds{1000})) cluster.lease = *lease;
  if (auto* v = s.take("labels")) {
    if (!v->is_mapping())
      doc.wrong(v->at, "cluster.labels is " + described(*v) + "; expected a mapping such as { zone: rack-1 }");
    else
      for (const auto& e : v->entries)
        if (auto text = doc.text(*e.value, "cluster.labels." + e.key)) cluster.labels[e.key] = *text;
  }
  s.finish();
  out.cluster = std::move(cluster);
}

} // namespace

node_config default_node_config() {
  node_config out;
  out.limits.workers = std::max(1u, std::thread::hardware_concurrency());
  out.admin_socket = out.data_dir / "admin.sock";
  return out;
}

parsed_node_config parse_node_config(const std::string& text, const std::string& file, const environment& env) {
  parsed_node_config out{default_node_config(), {}};
  auto& config = out.config;
  auto documents = read_yaml(text, file, out.mistakes);
  if (has_errors(out.mistakes)) return out;
  if (documents.size() != 1 || documents[0].root->is_null()) {
    out.mistakes.push_back(
        {file, {}, std::to_string(documents.size()) + " documents; expected one mapping with at least `node: NAME`"});
    return out;
  }
  document_reader doc(file, std::filesystem::current_path().string(), env, false);
  section s(doc, *documents[0].root, "");
  if (s.ok()) {
    if (auto* v = s.need("node", "the node's id"))
      if (auto name = doc.name(*v, "node")) config.name = *name;
    if (auto* v = s.take("data_dir"))
      if (auto path = doc.path(*v, "data_dir")) config.data_dir = *path;
    config.admin_socket = config.data_dir / "admin.sock";
    if (auto* v = s.take("admin")) {
      section a(doc, *v, "admin");
      if (auto* w = a.take("socket"))
        if (auto path = doc.path(*w, "admin.socket")) config.admin_socket = *path;
      for (auto* key : {"listen", "tls", "tokens"})
        a.refuse(key, "is not available in this version: the admin RPC is on the Unix socket only; expected `socket: PATH`");
      if (a.ok()) a.finish();
    }
    if (auto* v = s.take("http")) {
      section h(doc, *v, "http");
      if (auto* w = h.take("listen"))
        if (auto listen = doc.text(*w, "http.listen")) {
          if (*listen != "none" && !is_address(*listen))
            doc.wrong(w->at, "http.listen is " + described(*w) +
                                 "; expected HOST:PORT such as \"127.0.0.1:7071\" (port 0: a free one), or none");
          config.http_listen = *listen;
        }
      config.http_advertise = address(doc, h, "advertise", h.take("advertise"), true);
      if (h.ok()) h.finish();
    }
    if (auto* v = s.take("cluster")) read_cluster(doc, *v, config);
    if (auto* v = s.take("limits")) read_limits(doc, *v, config);
    if (auto* v = s.take("log")) {
      section l(doc, *v, "log");
      static const std::vector<std::string_view> levels{"trace", "debug", "info", "warn", "error"};
      if (auto* w = l.take("level"))
        if (auto level = doc.choice(*w, "log.level", levels)) config.log_level = levels[*level];
      if (auto* w = l.take("format"))
        if (auto format = doc.choice(*w, "log.format", {"text", "json"})) config.log_json = *format == 1;
      if (l.ok()) l.finish();
    }
    s.finish();
  }
  // sun_path has 108 bytes, the last one a zero.
  if (config.admin_socket.string().size() > 107)
    doc.wrong(documents[0].root->at, "admin.socket " + config.admin_socket.string() + " has " +
                                         std::to_string(config.admin_socket.string().size()) +
                                         " bytes; expected at most 107, the system's limit for a Unix socket's path");
  auto found = doc.take_mistakes();
  out.mistakes.insert(out.mistakes.end(), found.begin(), found.end());
  return out;
}

} // namespace millrace::runtime::config
