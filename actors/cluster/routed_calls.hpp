#pragma once
// Operators' questions and answers between nodes: frames of channel admin. A node trusts its peers (their keys are on its list),
// but not the bytes: what is no call is refused.

#include "actors/cluster/services.hpp"
#include "actors/messages.hpp"

#include <nlohmann/json.hpp>

namespace millrace::actors::cluster {

frame encode_call(std::uint64_t id, const admin_call& c);
frame encode_reply(std::uint64_t id, const admin_reply& r);
/// Errors: corrupt, with what was expected.
result<routed_call> decode_routed(const std::string& from, const frame& f);

/// `nodes` of `cluster status`.
nlohmann::ordered_json node_documents(const services& s);
/// The node that assigns partitions now; empty: none, or not known.
std::string controller_of(const services& s);

} // namespace millrace::actors::cluster
