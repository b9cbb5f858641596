#pragma once
// A walsender's side of the wire: starts the stream, hands out its messages, says how far we are.

#include "actors/ingest/postgres/catalog.hpp"
#include "actors/ingest/postgres/lsn.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace millrace::actors::ingest::postgres {

struct stream_message {
  bool keepalive = false;
  lsn wal_end;                  ///< keepalive: everything that committed below was sent
  bool reply_requested = false; ///< keepalive: the server ends the connection if it hears nothing soon
  std::string_view body;        ///< of a pgoutput message; until the next call of next()
};

/// Owner: the ingest actor's thread. Errors: unavailable when the connection is lost; refused.
class replication_stream {
public:
  static result<std::unique_ptr<replication_stream>> open(const std::string& conninfo, const std::string& application_name);
  connection& link() noexcept { return *link_; }
  int socket() const noexcept { return PQsocket(link_->get()); }

  result<void> start(const std::string& slot, const std::string& publication, lsn from);
  /// Without waiting; none: nothing has come.
  result<std::optional<stream_message>> next();
  /// Never waits: what the socket does not take now goes with the next call. `ask`: for a keepalive.
  result<void> feedback(lsn received, lsn durable, bool ask);
  /// There is more to send.
  bool sending() const noexcept { return sending_; }

private:
  explicit replication_stream(std::unique_ptr<connection> link) : link_(std::move(link)), buffer_(nullptr, &PQfreemem) {}
  std::unique_ptr<connection> link_;
  std::unique_ptr<char, decltype(&PQfreemem)> buffer_;
  bool sending_ = false;
};

} // namespace millrace::actors::ingest::postgres
