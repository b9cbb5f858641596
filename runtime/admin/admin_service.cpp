#include "runtime/admin/admin_service.hpp"

#include <nlohmann/json.hpp>

namespace millrace::runtime::admin {
namespace {

using method = actors::admin_call::method;

actors::admin_reply failed(std::string code, std::string message, std::string detail = {}) {
  actors::admin_reply reply;
  reply.code = std::move(code);
  reply.message = std::move(message);
  reply.detail = std::move(detail);
  return reply;
}

capnp::Text::Reader text(const std::string& s) { return {s.data(), s.size()}; }

void fill(schemas::Failure::Builder out, const actors::admin_reply& reply) {
  out.setCode(text(reply.code));
  out.setMessage(text(reply.message));
  out.setDetail(text(reply.detail));
}

void fill(schemas::Reply::Builder out, const actors::admin_reply& reply) {
  // A text of the protocol ends at 512 MiB; nobody reads such an answer whole.
  constexpr std::size_t document_bytes_max = 256u << 20;
  if (!reply.ok)
    fill(out.initError(), reply);
  else if (reply.document.size() > document_bytes_max)
    fill(out.initError(), failed("refused", "the answer has " + std::to_string(reply.document.size()) +
                                                " bytes; expected at most 256 MiB: use --limit"));
  else
    out.setDocument(text(reply.document));
}

/// Every mistake as JSON, for programs: [{file, line, column, message}].
std::string mistakes_json(const std::vector<config::mistake>& mistakes) {
  auto out = nlohmann::ordered_json::array();
  for (const auto& m : mistakes)
    if (!m.warning) out.push_back({{"file", m.file}, {"line", m.at.line}, {"column", m.at.column}, {"message", m.message}});
  return out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

/// Calls the node and puts its answer into the results; counts the call for the connection's idle clock.
template <class Context>
kj::Promise<void> forward(const service_context& service, activity& busy, actors::admin_call call, Context context) {
  ++busy.calls;
  return ask(*service.node, std::move(call))
      .then([context](actors::admin_reply reply) mutable { fill(context.getResults().initReply(), reply); })
      .attach(kj::defer([held = kj::addRef(busy)]() mutable { --held->calls; }));
}

template <class Params>
actors::admin_call about(method what, Params params) {
  actors::admin_call call;
  call.what = what;
  call.pipeline = params.getPipeline().cStr();
  return call;
}

class viewer_service : public virtual schemas::Viewer::Server {
public:
  viewer_service(const service_context& service, kj::Own<activity> busy) : service_(service), busy_(kj::mv(busy)) {}

protected:
  kj::Promise<void> pipelines(PipelinesContext context) override {
    actors::admin_call call;
    call.what = method::list;
    return forward(service_, *busy_, std::move(call), context);
  }
  kj::Promise<void> show(ShowContext context) override {
    return forward(service_, *busy_, about(method::show, context.getParams()), context);
  }
  kj::Promise<void> status(StatusContext context) override {
    return forward(service_, *busy_, about(method::status, context.getParams()), context);
  }
  kj::Promise<void> logInfo(LogInfoContext context) override {
    return forward(service_, *busy_, about(method::log_info, context.getParams()), context);
  }
  kj::Promise<void> logRead(LogReadContext context) override {
    auto params = context.getParams();
    auto call = about(method::log_read, params);
    call.partition = params.getPartition();
    call.from = params.getFrom().cStr();
    call.limit = params.getLimit();
    call.wait_ms = std::min(params.getWaitMs(), 30'000u); // longer waits ask again: a dead client is noticed
    return forward(service_, *busy_, std::move(call), context);
  }
  kj::Promise<void> deadLetters(DeadLettersContext context) override {
    auto call = about(method::dead_letters, context.getParams());
    call.filter = context.getParams().getFilter().cStr();
    return forward(service_, *busy_, std::move(call), context);
  }
  kj::Promise<void> actors(ActorsContext context) override {
    return forward(service_, *busy_, about(method::actors, context.getParams()), context);
  }
  kj::Promise<void> cluster(ClusterContext context) override {
    actors::admin_call call;
    call.what = method::cluster;
    return forward(service_, *busy_, std::move(call), context);
  }

  service_context service_;
  kj::Own<activity> busy_;
};

class operator_service : public viewer_service, public virtual schemas::Operator::Server {
public:
  using viewer_service::viewer_service;

protected:
  kj::Promise<void> apply(ApplyContext context) override {
    std::vector<config::spec_file> files;
    for (auto file : context.getParams().getFiles())
      files.push_back({file.getName().cStr(), file.getBaseDir().cStr(), file.getText().cStr()});
    if (files.empty()) return answer(context, failed("invalid", "no spec was sent; expected one file or more"));
    for (const auto& file : files)
      if (!file.base_dir.starts_with('/'))
        return answer(context,
                      failed("invalid", file.name + ": the base folder is '" + file.base_dir + "'; expected an absolute path"));
    auto parsed = config::parse_files(files, service_.specs);
    if (config::has_errors(parsed.mistakes))
      return answer(context, failed("invalid", config::to_text(parsed.mistakes), mistakes_json(parsed.mistakes)));
    actors::admin_call call;
    call.what = method::apply;
    call.specs = std::move(parsed.specs);
    return forward(service_, *busy_, std::move(call), context);
  }
  kj::Promise<void> pause(PauseContext context) override {
    return forward(service_, *busy_, about(method::pause, context.getParams()), context);
  }
  kj::Promise<void> resume(ResumeContext context) override {
    return forward(service_, *busy_, about(method::resume, context.getParams()), context);
  }
  kj::Promise<void> delete_(DeleteContext context) override {
    return forward(service_, *busy_, about(method::remove, context.getParams()), context);
  }
  kj::Promise<void> rewind(RewindContext context) override {
    auto params = context.getParams();
    auto call = about(method::rewind, params);
    call.load = params.getLoad().cStr();
    call.from = params.getTo().cStr();
    call.truncate = params.getTruncate();
    return forward(service_, *busy_, std::move(call), context);
  }
  kj::Promise<void> redrive(RedriveContext context) override {
    auto params = context.getParams();
    auto call = about(method::redrive, params);
    call.filter = params.getFilter().cStr();
    call.force = params.getForce();
    return forward(service_, *busy_, std::move(call), context);
  }
  kj::Promise<void> discard(DiscardContext context) override {
    auto call = about(method::discard, context.getParams());
    call.filter = context.getParams().getFilter().cStr();
    return forward(service_, *busy_, std::move(call), context);
  }
  kj::Promise<void> verify(VerifyContext context) override {
    auto params = context.getParams();
    auto call = about(method::verify, params);
    call.load = params.getLoad().cStr();
    call.from = params.getCursor().cStr();
    call.limit = params.getRowsPerSecond();
    return forward(service_, *busy_, std::move(call), context);
  }
  kj::Promise<void> repair(RepairContext context) override {
    auto params = context.getParams();
    auto call = about(method::repair, params);
    call.load = params.getLoad().cStr();
    call.filter = params.getDifferences().cStr();
    return forward(service_, *busy_, std::move(call), context);
  }
  kj::Promise<void> snapshot(SnapshotContext context) override {
    auto call = about(method::snapshot, context.getParams());
    call.name = context.getParams().getTable().cStr();
    return forward(service_, *busy_, std::move(call), context);
  }

private:
  template <class Context>
  static kj::Promise<void> answer(Context context, const actors::admin_reply& reply) {
    fill(context.getResults().initReply(), reply);
    return kj::READY_NOW;
  }
};

class administrator_service final : public operator_service, public virtual schemas::Administrator::Server {
public:
  using operator_service::operator_service;

protected:
  kj::Promise<void> killActor(KillActorContext context) override {
    actors::admin_call call;
    call.what = method::kill_actor;
    call.name = context.getParams().getActor().cStr();
    return forward(service_, *busy_, std::move(call), context);
  }
  kj::Promise<void> maintain(MaintainContext context) override {
    auto params = context.getParams();
    actors::admin_call call;
    call.what = method::maintain;
    call.from = params.getAction().cStr();
    call.name = params.getNode().cStr();
    call.load = params.getSuccessor().cStr();
    call.force = params.getForce();
    return forward(service_, *busy_, std::move(call), context);
  }
};

class bootstrap final : public schemas::Admin::Server {
public:
  bootstrap(const service_context& service, kj::Own<activity> busy) : service_(service), busy_(kj::mv(busy)) {}

protected:
  kj::Promise<void> login(LoginContext context) override {
    auto results = context.getResults();
    if (context.getParams().getToken().size() > 0) {
      // Letting a wrong token in because the socket's mode would have is a surprise on the day tokens exist.
      fill(results.initError(),
           failed("refused", "a token was sent, but this node has none; expected no --token-file on the Unix socket"));
      return kj::READY_NOW;
    }
    results.setViewer(kj::heap<viewer_service>(service_, kj::addRef(*busy_)));
    results.setOperator(kj::heap<operator_service>(service_, kj::addRef(*busy_)));
    results.setAdmin(kj::heap<administrator_service>(service_, kj::addRef(*busy_)));
    return kj::READY_NOW;
  }

private:
  service_context service_;
  kj::Own<activity> busy_;
};

} // namespace

capnp::Capability::Client make_bootstrap(const service_context& context, kj::Own<activity> busy) {
  return schemas::Admin::Client(kj::heap<bootstrap>(context, kj::mv(busy)));
}

} // namespace millrace::runtime::admin
