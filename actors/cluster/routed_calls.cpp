#include "actors/cluster/routed_calls.hpp"

namespace millrace::actors::cluster {

using json = nlohmann::ordered_json;

frame encode_call(std::uint64_t id, const admin_call& c) {
  json head{{"id", id},
            {"call", static_cast<int>(c.what)},
            {"pipeline", c.pipeline},
            {"load", c.load},
            {"name", c.name},
            {"from", c.from},
            {"filter", c.filter},
            {"partition", c.partition},
            {"limit", c.limit},
            {"wait_ms", c.wait_ms},
            {"truncate", c.truncate},
            {"force", c.force}};
  // Filters are as long as a user makes them; a head is small.
  frame f{channel::admin, {}, {std::make_shared<const std::string>(head.dump(-1, ' ', false, json::error_handler_t::replace))}};
  f.head = "call";
  return f;
}

frame encode_reply(std::uint64_t id, const admin_reply& r) {
  json about{{"id", id}, {"ok", r.ok}, {"code", r.code}, {"message", r.message}, {"detail", r.detail}};
  return {channel::admin,
          "reply",
          {std::make_shared<const std::string>(about.dump(-1, ' ', false, json::error_handler_t::replace)),
           std::make_shared<const std::string>(r.document)}};
}

result<routed_call> decode_routed(const std::string& from, const frame& f) {
  auto bad = [&](const char* what) {
    return failure{storage::make_error_code(storage::errc::corrupt), "an admin frame of node " + from + " is refused: " + what};
  };
  const bool reply = f.head == "reply";
  if (!reply && f.head != "call") return bad("its head is neither call nor reply");
  if (f.parts.size() != (reply ? 2u : 1u)) return bad("it has another number of parts than its head says");
  const auto about = json::parse(*f.parts[0], nullptr, false);
  if (!about.is_object()) return bad("its first part is no JSON object");
  try {
    routed_call out;
    out.from = from;
    out.id = about.at("id");
    if (reply) {
      admin_reply r;
      r.ok = about.at("ok");
      r.code = about.at("code");
      r.message = about.at("message");
      r.detail = about.at("detail");
      r.document = *f.parts[1];
      out.reply = std::move(r);
      return out;
    }
    auto& c = out.call;
    const int what = about.at("call");
    if (what < 0 || what > static_cast<int>(admin_call::method::maintain))
      return bad("it asks for what this version does not know");
    c.what = static_cast<admin_call::method>(what);
    if (c.what == admin_call::method::apply) return bad("a spec is applied at the node that got it");
    c.pipeline = about.at("pipeline");
    c.load = about.at("load");
    c.name = about.at("name");
    c.from = about.at("from");
    c.filter = about.at("filter");
    c.partition = about.at("partition");
    c.limit = about.at("limit");
    c.wait_ms = about.at("wait_ms");
    c.truncate = about.at("truncate");
    c.force = about.at("force");
    return out;
  } catch (const json::exception& e) {
    return bad(e.what());
  }
}

} // namespace millrace::actors::cluster
