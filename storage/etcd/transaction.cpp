#include "storage/etcd/transaction.hpp"

#include "storage/broken_guard_internal.hpp"

#include <algorithm>
#include <random>
#include <set>

namespace millrace::storage::etcd {
namespace {

constexpr std::chrono::minutes marker_ttl{60};
const std::string voided = "void";

std::string random_text() {
  thread_local std::random_device device;
  const auto v = (std::uint64_t{device()} << 32) | device();
  char out[17];
  std::snprintf(out, sizeof out, "%016llx", static_cast<unsigned long long>(v));
  return out;
}

result<void> check(const std::vector<catalog_guard>& guards, const std::vector<catalog_write>& writes) {
  const auto check_key = [](const std::string& key) -> result<void> {
    if (key.empty() || key.find('\0') != key.npos)
      return failure{errc::invalid, "a catalog key must not be empty nor contain NUL"};
    if (key.starts_with(transactions::reserved))
      return failure{errc::invalid, "catalog key " + key + ": what begins with .txn/ belongs to the catalog itself"};
    return success();
  };
  for (const auto& g : guards)
    if (auto ok = check_key(g.key); !ok) return ok;
  std::set<std::string_view> seen;
  for (const auto& w : writes) {
    if (auto ok = check_key(w.key); !ok) return ok;
    if (!seen.insert(w.key).second) return failure{errc::invalid, "one commit writes catalog key " + w.key + " twice"};
    if (!w.value && w.lease != 0) return failure{errc::invalid, "catalog key " + w.key + ": a delete takes no lease"};
  }
  return success();
}

/// The first entry of an answer to a range within a transaction.
const json* first_kv(const json& response) {
  const auto range = response.find("response_range");
  if (range == response.end()) return nullptr;
  const auto kvs = range->find("kvs");
  return kvs == range->end() || kvs->empty() ? nullptr : &kvs->front();
}

} // namespace

class transactions::hold {
public:
  explicit hold(transactions& t) : owner_(t) {
    std::lock_guard lock(owner_.mutex_);
    for (auto& s : owner_.slots_)
      if (!s->busy) slot_ = s.get();
    if (!slot_) {
      slot_ = owner_.slots_.emplace_back(std::make_unique<slot>()).get();
      slot_->key = owner_.prefix_ + std::string(reserved) + owner_.identity_ + '/' + std::to_string(owner_.slots_.size());
    }
    slot_->busy = true;
  }
  ~hold() {
    std::lock_guard lock(owner_.mutex_);
    slot_->busy = false;
  }
  hold(const hold&) = delete;
  hold& operator=(const hold&) = delete;
  slot& operator*() const { return *slot_; }

private:
  transactions& owner_;
  slot* slot_ = nullptr;
};

transactions::transactions(client& c, std::string prefix) : client_(c), prefix_(std::move(prefix)), identity_(random_text()) {}

result<std::uint64_t> transactions::marker_lease(bool anew) {
  const auto now = std::chrono::steady_clock::now();
  {
    std::lock_guard lock(mutex_);
    if (!anew && lease_ != 0 && now - lease_made_ < marker_ttl / 2) return lease_;
  }
  auto granted = client_.ask("/v3/lease/grant", {{"TTL", std::to_string(std::chrono::seconds(marker_ttl).count())}});
  if (!granted) return granted.error();
  std::lock_guard lock(mutex_);
  lease_ = number(granted.value(), "ID");
  lease_made_ = now;
  return lease_;
}

void transactions::end() {
  if (lease_ == 0 || !client_.status().reachable) return;
  client::call_options o;
  o.timeout = std::chrono::milliseconds(300);
  (void)client_.ask("/v3/lease/revoke", {{"ID", std::to_string(lease_)}}, o);
}

json transactions::compare(const catalog_guard& guard) const {
  json c{{"key", to_base64(prefix_ + guard.key)}};
  if (guard.how == catalog_guard::compare::mod_equal) {
    c["target"] = "MOD";
    c["mod_revision"] = std::to_string(guard.revision);
    c["result"] = "EQUAL";
  } else {
    c["target"] = "CREATE";
    c["create_revision"] = std::to_string(guard.revision);
    c["result"] = guard.how == catalog_guard::compare::create_equal ? "EQUAL" : "NOT_EQUAL";
  }
  return c;
}

json transactions::body(const std::vector<catalog_guard>& guards, const std::vector<catalog_write>& writes, const slot& s,
                        const std::string& nonce, std::uint64_t lease) const {
  const auto marker = to_base64(s.key);
  auto compares = json::array(
      {{{"key", marker}, {"target", "MOD"}, {"result", "EQUAL"}, {"mod_revision", std::to_string(s.marker_revision)}}});
  auto done = json::array();
  auto failed = json::array({{{"request_range", {{"key", marker}}}}});
  for (const auto& g : guards) {
    compares.push_back(compare(g));
    failed.push_back({{"request_range", {{"key", to_base64(prefix_ + g.key)}, {"keys_only", true}}}});
  }
  for (const auto& w : writes) {
    const auto key = to_base64(prefix_ + w.key);
    if (w.value)
      done.push_back({{"request_put", {{"key", key}, {"value", to_base64(*w.value)}, {"lease", std::to_string(w.lease)}}}});
    else
      done.push_back({{"request_delete_range", {{"key", key}}}});
  }
  const auto put = [&](const std::string& value) {
    return json{{"request_put", {{"key", marker}, {"value", to_base64(value)}, {"lease", std::to_string(lease)}}}};
  };
  done.push_back(put(nonce));
  failed.push_back(
      {{"request_txn",
        {{"compare", json::array({{{"key", marker}, {"target", "VALUE"}, {"result", "NOT_EQUAL"}, {"value", to_base64(nonce)}}})},
         {"success", json::array({put(voided)})},
         // An absent key has no value to compare: that guard fails.
         {"failure",
          json::array(
              {{{"request_txn",
                 {{"compare", json::array({{{"key", marker}, {"target", "VERSION"}, {"result", "EQUAL"}, {"version", "0"}}})},
                  {"success", json::array({put(voided)})}}}}})}}}});
  return {{"compare", compares}, {"success", done}, {"failure", failed}};
}

failure transactions::conflict(const std::vector<catalog_guard>& guards, const json& answer, std::size_t first) const {
  const auto responses = answer.value("responses", json::array());
  for (std::size_t i = 0; i < guards.size() && first + i < responses.size(); ++i) {
    catalog_entry now;
    const auto* kv = first_kv(responses[first + i]);
    if (kv) now.create_revision = number(*kv, "create_revision"), now.mod_revision = number(*kv, "mod_revision");
    if (const auto broken = broken_guard(guards[i], kv ? &now : nullptr)) return {errc::conflict, *broken};
  }
  return {errc::conflict, "a guard of the commit did not hold"};
}

result<std::uint64_t> transactions::check_only(const std::vector<catalog_guard>& guards) {
  auto compares = json::array(), failed = json::array();
  for (const auto& g : guards) {
    compares.push_back(compare(g));
    failed.push_back({{"request_range", {{"key", to_base64(prefix_ + g.key)}, {"keys_only", true}}}});
  }
  // An answer's revision is that of the transaction's reads, so there must be one.
  auto read = json::array({{{"request_range", {{"key", to_base64(prefix_)}, {"keys_only", true}}}}});
  client::call_options o;
  o.linear = true;
  auto answer = client_.ask("/v3/kv/txn", {{"compare", compares}, {"success", read}, {"failure", failed}}, o);
  if (!answer) return answer.error();
  if (!answer.value().value("succeeded", false)) return conflict(guards, answer.value(), 0);
  return number(answer.value()["header"], "revision");
}

result<std::optional<std::uint64_t>> transactions::applied_at(const slot& s, const std::string& nonce) {
  client::call_options o;
  o.linear = true;
  auto answer = client_.ask("/v3/kv/range", {{"key", to_base64(s.key)}}, o);
  if (!answer) return answer.error();
  const auto kvs = answer.value().value("kvs", json::array());
  if (kvs.empty() || bytes(kvs[0], "value") != nonce) return std::optional<std::uint64_t>{};
  return std::optional<std::uint64_t>(number(kvs[0], "mod_revision"));
}

result<std::uint64_t> transactions::run(slot& s, const std::vector<catalog_guard>& guards,
                                        const std::vector<catalog_write>& writes) {
  const auto nonce = random_text();
  bool maybe_done = false, lease_renewed = false;
  for (int round = 0; round < 10; ++round) {
    auto lease = marker_lease(false);
    if (!lease) return maybe_done ? failure{errc::unknown_outcome, lease.error().message} : lease.error();
    client::call_options o;
    o.linear = true;
    o.maybe_done = &maybe_done;
    auto answer = client_.ask("/v3/kv/txn", body(guards, writes, s, nonce, lease.value()), o);
    if (!answer) {
      auto why = answer.error();
      if (why.is(errc::unknown_outcome)) return why;
      if (maybe_done) {
        auto applied = applied_at(s, nonce);
        if (!applied) return failure{errc::unknown_outcome, why.message + "; " + applied.error().message};
        if (applied.value()) {
          s.marker_revision = *applied.value();
          return *applied.value();
        }
      }
      if (why.is(errc::not_found) && !lease_renewed) { // "requested lease not found": the marker's, or the caller's?
        lease_renewed = true;
        if (auto fresh = marker_lease(true); !fresh)
          return maybe_done ? failure{errc::unknown_outcome, fresh.error().message} : fresh.error();
        continue;
      }
      return why;
    }
    const auto revision = number(answer.value()["header"], "revision");
    if (answer.value().value("succeeded", false)) {
      s.marker_revision = revision;
      return revision;
    }
    const auto responses = answer.value().value("responses", json::array());
    const auto* marker = responses.empty() ? nullptr : first_kv(responses[0]);
    const auto seen = marker ? number(*marker, "mod_revision") : 0;
    if (marker && bytes(*marker, "value") == nonce) { // an earlier try went through
      s.marker_revision = seen;
      return seen;
    }
    const bool moved = seen != s.marker_revision;
    s.marker_revision = revision; // "void" was written now
    if (moved) continue;          // by what this slot gave up earlier, or it went with its lease: the guards were not what failed
    return conflict(guards, answer.value(), 1);
  }
  return failure{errc::unavailable,
                 "etcd: the marker " + s.key + " keeps changing: does another process write below its prefix?"};
}

result<std::uint64_t> transactions::commit(const std::vector<catalog_guard>& guards, const std::vector<catalog_write>& writes) {
  if (auto ok = check(guards, writes); !ok) return ok.error();
  if (writes.empty()) return check_only(guards);
  const hold held(*this);
  return run(*held, guards, writes);
}

} // namespace millrace::storage::etcd
