#pragma once
// The receiving end of all links into this node: hellos, order, each frame at most once.

#include "runtime/link/link_session.hpp"

#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace::runtime::link {

/// Owner: node_link's thread. Keeps one session for each node that said hello, nothing for connections that did not: what it
/// holds is bounded by the peers file. Not thread safe.
class link_receiver {
public:
  /// `channels`: those with a handler; data of another one ends its session, so that its sender is told.
  link_receiver(link_identity self, std::set<std::uint8_t> channels) : self_(std::move(self)), channels_(std::move(channels)) {}

  struct verdict {
    bool deliver = false;              ///< give the frame to its handler, then call taken()
    std::optional<link_header> answer; ///< write this to the connection
    bool close = false;                ///< then end the connection; its session is forgotten
    std::string superseded;            ///< end this connection too: the node has a newer one
    std::optional<link::refusal> refusal;
    std::optional<bad_frame> bad;
    std::string text; ///< what was wrong and what was expected, if refused or bad
  };
  /// `connection` is any name that no two connections share; `node` is whom its key belongs to, by the peers file; `sizes` those
  /// of the message parts behind the header.
  verdict received(const std::string& connection, const std::string& node, const link_header& h,
                   std::span<const std::size_t> sizes);
  /// A message whose header could not be read.
  verdict malformed(const std::string& connection, const std::string& node, std::string what);

  /// The handler has the frame that was delivered last; it is acknowledged by the next acks().
  void taken(const std::string& node);
  struct acknowledgement {
    std::string node, connection;
    ack what;
  };
  /// One for each session that took frames since the last call.
  std::vector<acknowledgement> acks();
  /// The acknowledgement could not be written now; it is due again.
  void unsent(const std::string& node);

  /// Ends the node's session; gives its connection, empty if it has none.
  std::string forget(const std::string& node);
  bool has_session(const std::string& node) const { return sessions_.count(node) != 0; }
  std::size_t sessions() const noexcept { return sessions_.size(); }

private:
  struct session {
    std::string connection;
    std::uint64_t run = 0, number = 0;
    std::uint64_t next = 1; ///< the sequence that must come now
    bool ack_due = false;
  };
  verdict greet(const std::string& connection, const std::string& node, const hello& h);
  verdict take(const std::string& connection, const std::string& node, const data& d, std::span<const std::size_t> sizes);
  verdict reject(const std::string& connection, const std::string& node, bad_frame reason, std::string text);

  link_identity self_;
  std::set<std::uint8_t> channels_;
  std::map<std::string, session> sessions_; ///< by node
  /// The newest session of the newest run of each node, kept when the session ends: an older hello of that run is a replay.
  std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> newest_;
};

} // namespace millrace::runtime::link
