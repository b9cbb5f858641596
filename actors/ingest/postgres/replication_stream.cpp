#include "actors/ingest/postgres/replication_stream.hpp"

#include "actors/ingest/postgres/bytes.hpp"
#include "storage/batch.hpp"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace millrace::actors::ingest::postgres {

using actors::postgres::query_result;

namespace {

constexpr unsigned near_rtt_us = 300;
constexpr int near_window_bytes = 32 << 10; // the kernel doubles it, for its bookkeeping
constexpr int burst_bytes = 16 << 10;
constexpr std::uint64_t read_at_once = 1u << 20;

/// The server writes each change to its socket by itself. While the window is open each becomes a packet, which costs its side
/// three times as much as to queue it. A small window is closed most of the time: what we leave in the socket gathers at the
/// server's side, and comes in large pieces. It must still carry more than a server decodes, so it is for hosts that are near:
/// 64 KiB in 300 us. The smallest round trip counts: the mean of so young a connection is what the server took to think, and was
/// above 400 us for every third one to the same machine under load. True: a Unix domain socket, which has none of that.
bool settle_socket(int socket) {
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &size) != 0) return false;
  if (peer.ss_family == AF_UNIX) return true;
  tcp_info info{};
  size = sizeof info;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 && info.tcpi_min_rtt < near_rtt_us)
    (void)::setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &near_window_bytes, sizeof near_window_bytes);
  return false;
}

} // namespace

result<std::unique_ptr<replication_stream>> replication_stream::open(const std::string& conninfo,
                                                                     const std::string& application_name) {
  auto link = connection::open(conninfo, source_options(application_name, true));
  if (!link) return link.error();
  std::unique_ptr<replication_stream> made(new replication_stream(std::move(link).value()));
  // The connection string may name another application; by this one we know our own walsender again.
  if (auto named = made->link().exec("SET application_name = " + made->link().quote_text(application_name)); !named)
    return named.error();
  made->local_ = settle_socket(made->socket());
  return made;
}

result<void> replication_stream::start(const std::string& slot, const std::string& publication, lsn from) {
  const auto command = "START_REPLICATION SLOT " + link_->quote_name(slot) + " LOGICAL " + storage::lsn_text(from.value) +
                       " (proto_version '1', publication_names " + link_->quote_text(link_->quote_name(publication)) +
                       (link_->server_version() >= 140000 ? ", messages 'true')" : ")"); // a verification's mark comes as one
  query_result r(PQexec(link_->get(), command.c_str()));
  if (PQresultStatus(r.get()) != PGRES_COPY_BOTH) return link_->failed(r.get(), "START_REPLICATION of slot " + slot);
  if (PQsetnonblocking(link_->get(), 1) != 0) return link_->failed(nullptr, "replication");
  return success();
}

result<std::optional<stream_message>> replication_stream::next() {
  for (bool looked = false;;) {
    char* data = nullptr;
    const int n = PQgetCopyData(link_->get(), &data, 1);
    if (n == 0) {
      if (looked) return std::optional<stream_message>{};
      looked = true;
      if (!read_socket()) return link_->failed(nullptr, "replication");
      continue;
    }
    if (n < 0) {
      query_result r(PQgetResult(link_->get()));
      auto why = link_->failed(r.get(), "replication");
      if (PQresultStatus(r.get()) == PGRES_COPY_IN || PQresultStatus(r.get()) == PGRES_COMMAND_OK)
        why = make_failure(errc::unavailable, "PostgreSQL " + link_->name() + ": the server ended the replication stream");
      return why;
    }
    buffer_.reset(data);
    ++taken_.messages, taken_.bytes += static_cast<std::uint64_t>(n);
    byte_reader in({data, static_cast<std::size_t>(n)});
    stream_message m;
    switch (in.u8()) {
    case 'w':
      in.u64();
      m.wal_end = {in.u64()};
      in.u64();
      if (!in.good()) break;
      m.body = in.take(in.left());
      return std::optional{m};
    case 'k':
      m.keepalive = true;
      m.wal_end = {in.u64()};
      in.u64();
      m.reply_requested = in.u8() != 0;
      if (!in.good()) break;
      return std::optional{m};
    default:
      break;
    }
    return make_failure(errc::refused, "PostgreSQL " + link_->name() + ": protocol: a replication message of " +
                                           std::to_string(n) + " bytes is none that is known");
  }
}

/// All that is there, and what follows as soon as there is room for it.
bool replication_stream::read_socket() {
  for (std::uint64_t read = 0;;) {
    int waiting = 0;
    if (::ioctl(socket(), FIONREAD, &waiting) != 0) waiting = 0;
    if (PQconsumeInput(link_->get()) == 0) return false;
    read += static_cast<std::uint64_t>(waiting);
    if (waiting < burst_bytes || read >= read_at_once) return true;
  }
}

result<void> replication_stream::feedback(lsn received, lsn durable, bool ask) {
  std::string m = "r";
  put_number(m, received.value, 8);
  put_number(m, durable.value, 8);
  put_number(m, durable.value, 8);
  const auto now =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  put_number(m, static_cast<std::uint64_t>(now - postgres_epoch_us), 8);
  put_number(m, ask ? 1 : 0, 1);
  if (!sending_ && PQputCopyData(link_->get(), m.data(), static_cast<int>(m.size())) < 0)
    return link_->failed(nullptr, "replication feedback");
  const int left = PQflush(link_->get());
  if (left < 0) return link_->failed(nullptr, "replication feedback");
  sending_ = left > 0;
  return success();
}

} // namespace millrace::actors::ingest::postgres
