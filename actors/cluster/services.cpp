#include "actors/cluster/services.hpp"

#include "actors/cluster/hub.hpp"
#include "actors/cluster/routed_calls.hpp"

namespace millrace::actors {

storage::catalog& node_options::catalog() const { return cluster ? *cluster->catalog : store->catalog(); }

namespace cluster {

members_news services::members() const {
  members_news out;
  out.revision = mirror->revision(); // before the list, which may then be newer
  for (const auto& m : membership->members())
    if (m.alive) out.sessions[m.node] = m.session;
  out.own = membership->session();
  return out;
}

nlohmann::ordered_json node_documents(const services& s) {
  using json = nlohmann::ordered_json;
  json out = json::array();
  const auto peers = s.transport->peers();
  const auto own = s.membership->status();
  for (const auto& m : s.membership->members()) {
    json row{{"node", m.node},
             {"alive", m.alive},
             {"link", m.record.link_address},
             {"labels", m.record.labels},
             {"lease_seconds", std::chrono::duration<double>(s.lease).count()},
             {"session", m.session},
             {"draining", m.draining},
             {"leaving", m.leaving},
             {"version", m.record.version}};
    if (m.node == s.membership->node()) {
      row["catalog"] = to_string(own.state);
      if (!own.reason.empty()) row["reason"] = own.reason;
    }
    for (const auto& p : peers)
      if (p.node == m.node && !p.address.empty()) {
        row["connected"] = p.connected;
        row["reconnects"] = p.reconnects;
        if (!p.last_error.empty()) row["last_error"] = p.last_error;
      }
    out.push_back(std::move(row));
  }
  return out;
}

std::string controller_of(const services& s) {
  const auto stored = s.mirror->get(controller_key);
  if (!stored) return {};
  auto record = decode_controller_record(stored->value);
  return record ? record.value().node : std::string{};
}

} // namespace cluster
} // namespace millrace::actors
