#include "storage/etcd/etcd_catalog.hpp"

#include "storage/etcd/transaction.hpp"
#include "storage/etcd/watch_streams.hpp"

#include <algorithm>
#include <map>
#include <unistd.h>

namespace millrace::storage {
namespace etcd {
namespace {

constexpr std::uint64_t page_keys = 500;

class catalog_on_etcd final : public etcd_catalog {
public:
  catalog_on_etcd(etcd_options options)
      : options_(std::move(options)), client_(options_), transactions_(client_, options_.prefix),
        watches_(client_, options_, options_.prefix, std::string(transactions::reserved)) {}
  ~catalog_on_etcd() override { transactions_.end(); }

  result<std::optional<catalog_entry>> get(std::string_view key) override {
    auto answer = client_.ask("/v3/kv/range", {{"key", to_base64(options_.prefix + std::string(key))}}, linear());
    if (!answer) return answer.error();
    const auto kvs = answer.value().value("kvs", json::array());
    if (kvs.empty()) return std::optional<catalog_entry>{};
    return std::optional<catalog_entry>(entry(kvs[0]));
  }

  result<catalog_listing> snapshot(std::string_view prefix) override {
    for (int tries = 0; tries < 3; ++tries) {
      auto listing = pages(options_.prefix + std::string(prefix));
      // Compacted between two pages: begin again.
      if (listing || !listing.error().is(errc::trimmed)) return listing;
    }
    return failure{errc::unavailable, "etcd compacts faster than " + std::string(prefix) + " can be listed"};
  }

  result<std::uint64_t> commit(const std::vector<catalog_guard>& guards, const std::vector<catalog_write>& writes) override {
    return transactions_.commit(guards, writes);
  }

  result<std::uint64_t> revision() override {
    auto answer = client_.ask("/v3/kv/range", {{"key", to_base64(options_.prefix)}, {"count_only", true}}, linear());
    if (!answer) return answer.error();
    return number(answer.value()["header"], "revision");
  }

  result<std::unique_ptr<watch_handle>> watch(std::string_view prefix, std::uint64_t after, watcher on_change,
                                              std::function<void()> on_trimmed) override {
    return watches_.add(prefix, after, std::move(on_change), std::move(on_trimmed));
  }

  result<std::uint64_t> grant_lease(std::chrono::milliseconds ttl) override {
    if (ttl.count() <= 0) return failure{errc::invalid, "a lease needs a time to live above 0"};
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(ttl);
    // An answer that is lost leaves a lease that ends by itself.
    auto answer = client_.ask("/v3/lease/grant", {{"TTL", std::to_string(seconds.count())}});
    if (!answer) return answer.error();
    const auto id = number(answer.value(), "ID");
    std::lock_guard lock(mutex_);
    leases_[id] = seconds;
    return id;
  }

  result<void> keep_alive(std::uint64_t lease) override {
    client::call_options o;
    {
      std::lock_guard lock(mutex_);
      // An endpoint that hangs must not cost the lease: there must be time to ask the others.
      if (const auto at = leases_.find(lease); at != leases_.end())
        o.timeout =
            std::clamp<std::chrono::milliseconds>(at->second / 5, std::chrono::milliseconds(200), options_.request_timeout);
    }
    auto answer = client_.ask("/v3/lease/keepalive", {{"ID", std::to_string(lease)}}, o);
    if (!answer && !answer.error().is(errc::not_found)) return answer.error();
    // For a lease that has ended etcd answers with success, and leaves out the time to live.
    if (answer && number(answer.value().value("result", json::object()), "TTL") > 0) return success();
    forget(lease);
    return failure{errc::not_found, "lease " + std::to_string(lease) + " has ended"};
  }

  result<void> revoke(std::uint64_t lease) override {
    bool maybe_done = false;
    client::call_options o;
    o.maybe_done = &maybe_done;
    auto answer = client_.ask("/v3/lease/revoke", {{"ID", std::to_string(lease)}}, o);
    if (answer || (answer.error().is(errc::not_found) && maybe_done)) {
      forget(lease);
      return success();
    }
    if (answer.error().is(errc::not_found)) {
      forget(lease);
      return failure{errc::not_found, "lease " + std::to_string(lease) + " has ended"};
    }
    return answer.error();
  }

  etcd_status status() const override { return client_.status(); }

private:
  static client::call_options linear() {
    client::call_options o;
    o.linear = true;
    return o;
  }

  catalog_entry entry(const json& kv) const {
    return {bytes(kv, "key").substr(options_.prefix.size()), bytes(kv, "value"), number(kv, "create_revision"),
            number(kv, "mod_revision")};
  }

  result<catalog_listing> pages(const std::string& prefix) {
    catalog_listing listing;
    const auto end = to_base64(range_end(prefix));
    auto from = prefix;
    for (;;) {
      json question{{"key", to_base64(from)}, {"range_end", end}, {"limit", std::to_string(page_keys)}};
      if (listing.revision != 0) question["revision"] = std::to_string(listing.revision);
      auto answer = client_.ask("/v3/kv/range", question, linear());
      if (!answer) return answer.error();
      if (listing.revision == 0) listing.revision = number(answer.value()["header"], "revision");
      const auto kvs = answer.value().find("kvs");
      if (kvs == answer.value().end() || kvs->empty()) return listing;
      for (const auto& kv : *kvs) {
        auto e = entry(kv);
        from = options_.prefix + e.key + '\0'; // the next page begins after it
        if (!e.key.starts_with(transactions::reserved)) listing.entries.push_back(std::move(e));
      }
      if (!answer.value().value("more", false)) return listing;
    }
  }

  void forget(std::uint64_t lease) {
    std::lock_guard lock(mutex_);
    leases_.erase(lease);
  }

  const etcd_options options_;
  client client_;
  transactions transactions_;
  std::mutex mutex_;
  std::map<std::uint64_t, std::chrono::seconds> leases_;
  watch_streams watches_; ///< last: its threads use the client
};

} // namespace
} // namespace etcd

result<std::shared_ptr<etcd_catalog>> etcd_catalog::open(etcd_options o) {
  if (o.endpoints.empty()) return failure{errc::invalid, "etcd needs at least one endpoint, such as http://10.0.0.1:2379"};
  for (auto& e : o.endpoints) {
    while (e.ends_with('/')) e.pop_back();
    const auto scheme = e.starts_with("http://") ? 7u : e.starts_with("https://") ? 8u : 0u;
    if (scheme == 0 || e.size() == scheme || e.find_first_of("/ @", scheme) != e.npos)
      return failure{errc::invalid, "etcd endpoint '" + e + "': expected http://HOST:PORT or https://HOST:PORT"};
  }
  for (const auto& [what, file] : {std::pair("ca", o.ca), std::pair("cert", o.cert), std::pair("key", o.key)})
    if (!file.empty() && ::access(file.c_str(), R_OK) != 0)
      return failure{errc::invalid, std::string("etcd's TLS file '") + what + "': cannot read " + file};
  if (o.cert.empty() != o.key.empty()) return failure{errc::invalid, "etcd's TLS needs both cert and key, or neither"};
  if (o.prefix.empty() || o.prefix == "/") return failure{errc::invalid, "etcd needs a key prefix of this cluster's own"};
  if (!o.prefix.ends_with('/')) o.prefix += '/';
  return std::shared_ptr<etcd_catalog>(std::make_shared<etcd::catalog_on_etcd>(std::move(o)));
}

} // namespace millrace::storage
