#include "runtime/admin/admin_client.hpp"

#include "runtime/admin/unix_socket.hpp"
#include "runtime/event_loop.hpp"
#include "schemas/admin.capnp.h"

#include <capnp/rpc-twoparty.h>

namespace millrace::runtime::admin {
namespace {

using method = actors::admin_call::method;

capnp::ReaderOptions generous() {
  capnp::ReaderOptions options;
  options.traversalLimitInWords = 1ull << 30; // our own node's answers; a list of dead letters may be long
  return options;
}

std::string text(capnp::Text::Reader t) { return {t.begin(), t.size()}; }

actors::admin_reply reply_of(schemas::Failure::Reader error) {
  actors::admin_reply out;
  out.code = text(error.getCode());
  out.message = text(error.getMessage());
  out.detail = text(error.getDetail());
  return out;
}

actors::admin_reply reply_of(schemas::Reply::Reader reply) {
  if (reply.isError()) return reply_of(reply.getError());
  actors::admin_reply out;
  out.ok = true;
  out.document = text(reply.getDocument());
  return out;
}

class client final : public admin_client {
public:
  client(int fd, std::string server, std::chrono::milliseconds timeout)
      : server_(std::move(server)), timeout_(timeout), io_(kj::setupAsyncIo()),
        stream_(io_.lowLevelProvider->wrapSocketFd(fd, kj::LowLevelAsyncIoProvider::TAKE_OWNERSHIP |
                                                           kj::LowLevelAsyncIoProvider::ALREADY_CLOEXEC)),
        network_(*stream_, capnp::rpc::twoparty::Side::CLIENT, generous()), rpc_(capnp::makeRpcClient(network_)) {}
  ~client() noexcept override {} // KJ's destructors may throw; ours must not

  actors::result<void> login(const std::string& token) {
    capnp::MallocMessageBuilder vat;
    auto id = vat.initRoot<capnp::rpc::twoparty::VatId>();
    id.setSide(capnp::rpc::twoparty::Side::SERVER);
    auto request = rpc_.bootstrap(id).castAs<schemas::Admin>().loginRequest();
    request.setToken(token.c_str());
    try {
      auto results = io_.provider->getTimer().timeoutAfter(delay(0), request.send()).wait(io_.waitScope);
      if (results.hasError()) return actors::make_failure(actors::errc::refused, text(results.getError().getMessage()));
      if (results.hasViewer()) viewer_ = results.getViewer();
      if (results.hasOperator()) operator_ = results.getOperator();
      if (results.hasAdmin()) admin_ = results.getAdmin();
    } catch (const kj::Exception& e) {
      return actors::make_failure(actors::errc::unavailable, lost(e).message);
    }
    return boost::outcome_v2::success();
  }

  actors::admin_reply apply(const std::vector<config::spec_file>& files) override {
    return guarded(0, [&]() {
      auto request = need(operator_).applyRequest();
      auto list = request.initFiles(static_cast<unsigned>(files.size()));
      for (unsigned i = 0; i < list.size(); ++i) {
        list[i].setName(files[i].name.c_str());
        list[i].setBaseDir(files[i].base_dir.c_str());
        list[i].setText({files[i].text.data(), files[i].text.size()});
      }
      return reply_to(request.send());
    });
  }

  actors::admin_reply call(const actors::admin_call& c) override {
    return guarded(c.wait_ms, [&]() -> kj::Promise<actors::admin_reply> {
      const char* pipeline = c.pipeline.c_str();
      switch (c.what) {
      case method::list:
        return reply_to(need(viewer_).pipelinesRequest().send());
      case method::cluster:
        return reply_to(need(viewer_).clusterRequest().send());
      case method::show:
        return about(need(viewer_).showRequest(), pipeline);
      case method::status:
        return about(need(viewer_).statusRequest(), pipeline);
      case method::log_info:
        return about(need(viewer_).logInfoRequest(), pipeline);
      case method::actors:
        return about(need(viewer_).actorsRequest(), pipeline);
      case method::pause:
        return about(need(operator_).pauseRequest(), pipeline);
      case method::resume:
        return about(need(operator_).resumeRequest(), pipeline);
      case method::remove:
        return about(need(operator_).deleteRequest(), pipeline);
      case method::log_read: {
        auto request = need(viewer_).logReadRequest();
        request.setPartition(c.partition);
        request.setFrom(c.from.c_str());
        request.setLimit(c.limit);
        request.setWaitMs(c.wait_ms);
        return about(kj::mv(request), pipeline);
      }
      case method::dead_letters: {
        auto request = need(viewer_).deadLettersRequest();
        request.setFilter(c.filter.c_str());
        return about(kj::mv(request), pipeline);
      }
      case method::rewind: {
        auto request = need(operator_).rewindRequest();
        request.setLoad(c.load.c_str());
        request.setTo(c.from.c_str());
        request.setTruncate(c.truncate);
        return about(kj::mv(request), pipeline);
      }
      case method::redrive: {
        auto request = need(operator_).redriveRequest();
        request.setFilter(c.filter.c_str());
        request.setForce(c.force);
        return about(kj::mv(request), pipeline);
      }
      case method::discard: {
        auto request = need(operator_).discardRequest();
        request.setFilter(c.filter.c_str());
        return about(kj::mv(request), pipeline);
      }
      case method::verify: {
        auto request = need(operator_).verifyRequest();
        request.setLoad(c.load.c_str());
        request.setCursor(c.from.c_str());
        request.setRowsPerSecond(c.limit);
        return about(kj::mv(request), pipeline);
      }
      case method::repair: {
        auto request = need(operator_).repairRequest();
        request.setLoad(c.load.c_str());
        request.setDifferences(c.filter.c_str());
        return about(kj::mv(request), pipeline);
      }
      case method::snapshot: {
        auto request = need(operator_).snapshotRequest();
        request.setTable(c.name.c_str());
        return about(kj::mv(request), pipeline);
      }
      case method::kill_actor: {
        auto request = need(admin_).killActorRequest();
        request.setActor(c.name.c_str());
        return reply_to(request.send());
      }
      case method::maintain: {
        auto request = need(admin_).maintainRequest();
        request.setAction(c.from.c_str());
        request.setNode(c.name.c_str());
        request.setSuccessor(c.load.c_str());
        request.setForce(c.force);
        return reply_to(request.send());
      }
      case method::apply:
      case method::metrics:
      case method::ready:
        break;
      }
      actors::admin_reply out;
      out.code = "internal";
      out.message = "the admin RPC has no such call";
      return out;
    });
  }

private:
  template <class Client>
  Client& need(kj::Maybe<Client>& capability) {
    KJ_IF_MAYBE (c, capability) return *c;
    KJ_FAIL_REQUIRE("the token does not allow this");
  }
  template <class Results>
  static kj::Promise<actors::admin_reply> reply_to(capnp::RemotePromise<Results> answer) {
    return answer.then([](capnp::Response<Results> r) { return reply_of(r.getReply()); });
  }
  template <class Request>
  static kj::Promise<actors::admin_reply> about(Request request, const char* pipeline) {
    request.setPipeline(pipeline);
    return reply_to(request.send());
  }
  kj::Duration delay(std::uint32_t wait_ms) const {
    return (timeout_.count() + static_cast<std::int64_t>(wait_ms)) * kj::MILLISECONDS;
  }

  template <class Send>
  actors::admin_reply guarded(std::uint32_t wait_ms, Send send) {
    try {
      return io_.provider->getTimer().timeoutAfter(delay(wait_ms), kj::Promise<actors::admin_reply>(send())).wait(io_.waitScope);
    } catch (const kj::Exception& e) {
      return lost(e);
    }
  }
  actors::admin_reply lost(const kj::Exception& e) const {
    actors::admin_reply out;
    out.code = "unreachable";
    switch (e.getType()) {
    case kj::Exception::Type::DISCONNECTED:
      out.message = "the node at " + server_ + " closed the connection";
      break;
    case kj::Exception::Type::OVERLOADED:
      out.message = "the node at " + server_ + " did not answer within " + std::to_string(timeout_.count()) + " ms";
      break;
    case kj::Exception::Type::UNIMPLEMENTED:
      out.message = "the node at " + server_ + " does not know this call: it is of another version";
      break;
    default:
      out.code = "internal";
      out.message = text_of(e);
      break;
    }
    return out;
  }

  std::string server_;
  std::chrono::milliseconds timeout_;
  kj::AsyncIoContext io_;
  kj::Own<kj::AsyncIoStream> stream_;
  capnp::TwoPartyVatNetwork network_;
  capnp::RpcSystem<capnp::rpc::twoparty::VatId> rpc_;
  kj::Maybe<schemas::Viewer::Client> viewer_;
  kj::Maybe<schemas::Operator::Client> operator_;
  kj::Maybe<schemas::Administrator::Client> admin_;
};

} // namespace

actors::result<std::unique_ptr<admin_client>> admin_client::connect(const std::string& server, const std::string& token,
                                                                    std::chrono::milliseconds timeout) {
  auto path = server.starts_with("unix:") ? server.substr(5) : server;
  auto fd = connect_unix(path);
  if (!fd) return std::move(fd).error();
  try {
    auto out = std::make_unique<client>(fd.value(), path, timeout);
    if (auto in = out->login(token); !in) return std::move(in).error();
    return out;
  } catch (const kj::Exception& e) {
    return actors::make_failure(actors::errc::unavailable, "no node answers at " + path + ": " + text_of(e));
  }
}

} // namespace millrace::runtime::admin
