#pragma once
// A walsender's side of the wire: starts the stream, hands out its messages, says how far we are.

#include "actors/ingest/postgres/catalog.hpp"
#include "actors/ingest/postgres/lsn.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

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
  /// The server is reached by a Unix domain socket.
  bool local() const noexcept { return local_; }
  struct amount {
    std::uint64_t messages = 0, bytes = 0;
  };
  /// What next() has given since the last call.
  amount taken() noexcept { return std::exchange(taken_, {}); }

  result<void> start(const std::string& slot, const std::string& publication, lsn from);
  /// Without waiting; none: nothing has come.
  result<std::optional<stream_message>> next();
  /// Never waits: what the socket does not take now goes with the next call. `ask`: for a keepalive.
  result<void> feedback(lsn received, lsn durable, bool ask);
  /// There is more to send.
  bool sending() const noexcept { return sending_; }

private:
  bool read_socket();
  explicit replication_stream(std::unique_ptr<connection> link) : link_(std::move(link)), buffer_(nullptr, &PQfreemem) {}
  std::unique_ptr<connection> link_;
  std::unique_ptr<char, decltype(&PQfreemem)> buffer_;
  amount taken_;
  bool sending_ = false, local_ = false;
};

} // namespace millrace::actors::ingest::postgres
