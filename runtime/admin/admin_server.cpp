#include "runtime/admin/admin_server.hpp"

#include "runtime/admin/admin_service.hpp"
#include "runtime/admin/unix_socket.hpp"
#include "runtime/event_loop.hpp"

#include <capnp/rpc-twoparty.h>
#include <capnp/serialize-async.h>

namespace millrace::runtime::admin {
namespace {

/// Passes bytes through and notes when some came.
class watched_stream final : public kj::AsyncIoStream {
public:
  watched_stream(kj::Own<kj::AsyncIoStream> inner, kj::Timer& timer, kj::Own<activity> seen)
      : inner_(kj::mv(inner)), timer_(timer), seen_(kj::mv(seen)) {}
  kj::Promise<size_t> tryRead(void* buffer, size_t min, size_t max) override {
    return inner_->tryRead(buffer, min, max).then([this](size_t n) {
      seen_->last_bytes = timer_.now();
      return n;
    });
  }
  kj::Promise<void> write(const void* buffer, size_t size) override { return inner_->write(buffer, size); }
  kj::Promise<void> write(kj::ArrayPtr<const kj::ArrayPtr<const kj::byte>> pieces) override { return inner_->write(pieces); }
  kj::Promise<void> whenWriteDisconnected() override { return inner_->whenWriteDisconnected(); }
  void shutdownWrite() override { inner_->shutdownWrite(); }
  void abortRead() override { inner_->abortRead(); }

private:
  kj::Own<kj::AsyncIoStream> inner_;
  kj::Timer& timer_;
  kj::Own<activity> seen_;
};

constexpr std::size_t reply_bytes_max = 512u << 20; // above what admin_service lets out

/// Cap'n Proto has one limit for what comes in and what goes out; our requests are small and our answers may be long. This
/// holds requests to their own limit: a longer one is refused by its announced size, before memory is taken for it.
class bounded_messages final : public capnp::MessageStream {
public:
  bounded_messages(kj::AsyncIoStream& stream, std::size_t request_bytes_max)
      : inner_(stream), words_max_(request_bytes_max / sizeof(capnp::word)) {}
  kj::Promise<kj::Maybe<capnp::MessageReaderAndFds>>
  tryReadMessage(kj::ArrayPtr<kj::AutoCloseFd> fds, capnp::ReaderOptions options, kj::ArrayPtr<capnp::word> scratch) override {
    options.traversalLimitInWords = words_max_;
    return inner_.tryReadMessage(fds, options, scratch);
  }
  kj::Promise<void> writeMessage(kj::ArrayPtr<const int> fds,
                                 kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>> segments) override {
    return inner_.writeMessage(fds, segments);
  }
  kj::Promise<void> writeMessages(kj::ArrayPtr<kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>>> messages) override {
    return inner_.writeMessages(messages);
  }
  kj::Maybe<int> getSendBufferSize() override { return inner_.getSendBufferSize(); }
  kj::Promise<void> end() override { return inner_.end(); }

private:
  capnp::AsyncIoMessageStream inner_;
  std::uint64_t words_max_;
};

capnp::ReaderOptions reader_options() {
  capnp::ReaderOptions options;
  options.traversalLimitInWords = reply_bytes_max / sizeof(capnp::word);
  return options;
}

struct connection {
  connection(kj::Own<kj::AsyncIoStream> inner, kj::Timer& timer, const service_context& service, std::size_t message_bytes)
      : seen(kj::refcounted<activity>(timer.now())), stream(kj::mv(inner), timer, kj::addRef(*seen)),
        messages(stream, message_bytes), network(messages, capnp::rpc::twoparty::Side::SERVER, reader_options()),
        rpc(capnp::makeRpcServer(network, make_bootstrap(service, kj::addRef(*seen)))) {
    rpc.setFlowLimit(message_bytes / sizeof(capnp::word));
  }
  kj::Own<activity> seen;
  watched_stream stream;
  bounded_messages messages;
  capnp::TwoPartyVatNetwork network;
  capnp::RpcSystem<capnp::rpc::twoparty::VatId> rpc;
};

class server final : public loop_server, private kj::TaskSet::ErrorHandler {
public:
  server(kj::AsyncIoContext& io, int fd, actors::node& node, const admin_server_options& options)
      : options_(options), timer_(io.provider->getTimer()),
        listener_(io.lowLevelProvider->wrapListenSocketFd(fd, kj::LowLevelAsyncIoProvider::TAKE_OWNERSHIP |
                                                                  kj::LowLevelAsyncIoProvider::ALREADY_CLOEXEC |
                                                                  kj::LowLevelAsyncIoProvider::ALREADY_NONBLOCK)),
        service_{&node, options.specs}, tasks_(*this) {
    tasks_.add(accept());
  }
  ~server() noexcept override {} // KJ's destructors may throw; ours must not

private:
  kj::Promise<void> accept() {
    return listener_->accept()
        .then([this](kj::Own<kj::AsyncIoStream> stream) {
          if (open_ < options_.connections_max)
            tasks_.add(serve(kj::mv(stream)));
          else
            note("warn", "a connection was refused: " + std::to_string(open_) + " are open, the most there may be");
        })
        .catch_([this](kj::Exception&& e) {
          // Out of descriptors, mostly: wait, do not spin.
          note("warn", "cannot accept a connection: " + text_of(e));
          return timer_.afterDelay(100 * kj::MILLISECONDS);
        })
        .then([this] { return accept(); });
  }

  kj::Promise<void> serve(kj::Own<kj::AsyncIoStream> stream) {
    ++open_;
    auto c = kj::heap<connection>(kj::mv(stream), timer_, service_, options_.message_bytes_max);
    auto& ref = *c;
    return ref.network.onDisconnect().exclusiveJoin(until_idle(ref)).attach(kj::mv(c), kj::defer([this] { --open_; }));
  }

  kj::Promise<void> until_idle(connection& c) {
    auto idle = static_cast<std::int64_t>(options_.idle.count()) * kj::MILLISECONDS;
    return timer_.afterDelay(kj::min(idle, 30 * kj::SECONDS)).then([this, &c, idle]() -> kj::Promise<void> {
      if (c.seen->calls == 0 && timer_.now() - c.seen->last_bytes >= idle) return kj::READY_NOW;
      return until_idle(c);
    });
  }

  void taskFailed(kj::Exception&& e) override { note("info", "a connection ended: " + text_of(e)); }
  void note(std::string_view level, const std::string& line) {
    if (options_.log) options_.log(level, "admin", line);
  }

  admin_server_options options_;
  kj::Timer& timer_;
  kj::Own<kj::ConnectionReceiver> listener_;
  service_context service_;
  unsigned open_ = 0;
  kj::TaskSet tasks_; // last: connections end before what they use
};

class server_handle final : public admin_server {
public:
  ~server_handle() override {
    unlink_unix(socket, identity); // first, so that a client finds no socket that nobody reads
    loop->stop();
  }
  std::string socket;
  std::pair<unsigned long, unsigned long> identity;
  std::unique_ptr<event_loop> loop;
};

} // namespace

actors::result<std::unique_ptr<admin_server>> admin_server::start(actors::node& node, const admin_server_options& options) {
  auto fd = listen_unix(options.socket);
  if (!fd) return std::move(fd).error();
  auto handle = std::make_unique<server_handle>();
  handle->socket = options.socket;
  handle->identity = identity_of(options.socket);
  auto loop = event_loop::start(
      "admin", [&node, options, fd = fd.value()](kj::AsyncIoContext& io) -> actors::result<std::unique_ptr<loop_server>> {
        return std::make_unique<server>(io, fd, node, options);
      });
  if (!loop) {
    unlink_unix(options.socket, handle->identity);
    return std::move(loop).error();
  }
  handle->loop = std::move(loop).value();
  return handle;
}

} // namespace millrace::runtime::admin
