#include "runtime/http/http_server.hpp"

#include "runtime/http/http_service.hpp"

namespace millrace::runtime::http {
namespace {

kj::Duration duration(std::chrono::milliseconds ms) { return static_cast<std::int64_t>(ms.count()) * kj::MILLISECONDS; }

class server final : public loop_server, private kj::TaskSet::ErrorHandler, private kj::HttpServerErrorHandler {
public:
  server(kj::AsyncIoContext& io, actors::node& node, const http_server_options& options)
      : options_(options), timer_(io.provider->getTimer()),
        listener_(io.provider->getNetwork().parseAddress(options.listen.c_str()).wait(io.waitScope)->listen()),
        service_(node, options_, names_, timer_, open_), http_(
                                                             timer_, *names_.table,
                                                             [this](kj::AsyncIoStream& connection) -> kj::Own<kj::HttpService> {
                                                               return kj::heap<connection_service>(service_, connection);
                                                             },
                                                             settings()),
        tasks_(*this) {
    tasks_.add(accept());
  }
  ~server() noexcept override {} // KJ's destructors may throw; ours must not
  std::uint16_t port() { return static_cast<std::uint16_t>(listener_->getPort()); }

private:
  kj::HttpServerSettings settings() {
    kj::HttpServerSettings out;
    out.headerTimeout = duration(options_.header_timeout);
    out.pipelineTimeout = duration(options_.keep_alive);
    // A client that is still sending when we refuse would see a reset instead of the answer: read on for a while.
    out.canceledUploadGracePeriod = 5 * kj::SECONDS;
    out.canceledUploadGraceBytes = 2 * options_.body_bytes_max;
    out.errorHandler = static_cast<kj::HttpServerErrorHandler&>(*this);
    return out;
  }

  kj::Promise<void> accept() {
    return listener_->accept()
        .then([this](kj::Own<kj::AsyncIoStream> stream) {
          if (open_ >= options_.connections_max) return; // closed at once: cheaper than an answer, and clients try again
          ++open_;
          tasks_.add(http_.listenHttp(kj::mv(stream)).attach(kj::defer([this] { --open_; })));
        })
        .catch_([this](kj::Exception&& e) {
          note("warn", "cannot accept a connection: " + text_of(e)); // out of descriptors, mostly: wait, do not spin
          return timer_.afterDelay(100 * kj::MILLISECONDS);
        })
        .then([this] { return accept(); });
  }

  void taskFailed(kj::Exception&& e) override { note("debug", "a connection ended: " + text_of(e)); }
  kj::Promise<void> handleApplicationError(kj::Exception e, kj::Maybe<kj::HttpService::Response&> response) override {
    if (e.getType() == kj::Exception::Type::DISCONNECTED) return kj::READY_NOW;
    note("error", "a request failed: " + text_of(e)); // the client gets no inside of ours
    KJ_IF_MAYBE (r, response) {
      kj::HttpHeaders headers(*names_.table);
      return r->sendError(500, "Internal Server Error", headers);
    }
    return kj::READY_NOW;
  }
  void note(std::string_view level, const std::string& line) {
    if (options_.log) options_.log(level, "http", line);
  }

  http_server_options options_;
  header_names names_;
  kj::Timer& timer_;
  unsigned open_ = 0;
  kj::Own<kj::ConnectionReceiver> listener_;
  http_service service_;
  kj::HttpServer http_;
  kj::TaskSet tasks_; // last: connections end before what they use
};

class server_handle final : public http_server {
public:
  std::uint16_t port() const override { return bound; }
  std::uint16_t bound = 0;
  std::unique_ptr<event_loop> loop;
};

} // namespace

actors::result<std::unique_ptr<http_server>> http_server::start(actors::node& node, const http_server_options& options) {
  auto handle = std::make_unique<server_handle>();
  auto loop = event_loop::start("http", [&](kj::AsyncIoContext& io) -> actors::result<std::unique_ptr<loop_server>> {
    try {
      auto made = std::make_unique<server>(io, node, options);
      handle->bound = made->port();
      return made;
    } catch (const kj::Exception& e) {
      return actors::make_failure(actors::errc::refused, "http.listen " + options.listen + ": " + text_of(e));
    }
  });
  if (!loop) return std::move(loop).error();
  handle->loop = std::move(loop).value();
  return handle;
}

} // namespace millrace::runtime::http
