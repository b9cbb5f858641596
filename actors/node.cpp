#include "actors/node.hpp"

#include "actors/cluster/hub.hpp"
#include "actors/cluster/services.hpp"
#include "actors/load/sqlite/handle.hpp"
#include "actors/supervisor/node_supervisor.hpp"

#include <algorithm>
#include <thread>
#include <utility>

namespace millrace::actors {

namespace {

struct system_config : caf::actor_system_config {
  system_config() {
    add_message_types<caf::id_block::millrace_actors>();
    // Supervisors are the only cooperative actors; a few threads are enough, and two keep one busy supervisor from stalling
    // another. Threads that share a queue sleep when there is nothing to do; stealing ones poll, which cost a fifth of a core
    // here.
    set("scheduler.policy", caf::atom("sharing"));
    set("scheduler.max-threads", std::max<std::size_t>(2, std::min<std::size_t>(4, std::thread::hardware_concurrency())));
  }
};

/// Carries a caller's question into the actor system and the answer to its callback, which is called once: an actor that dies
/// with the question in hand drops it, and with it the last reference to the one that asked.
template <class Target, class Request, class Reply>
void ask(caf::actor_system& system, const Target& target, Request request, Reply unavailable, std::function<void(Reply)> done) {
  system.spawn([target, request = std::move(request), unavailable = std::move(unavailable),
                done = std::move(done)](caf::event_based_actor* self) {
    const auto answered = std::make_shared<bool>(false);
    const auto finish = [answered, done](const Reply& r) {
      if (!std::exchange(*answered, true)) done(r);
    };
    self->attach_functor([finish, unavailable](const caf::error&) { finish(unavailable); });
    self->request(target, caf::infinite, request)
        .then(
            [self, finish](const Reply& r) {
              finish(r);
              self->quit();
            },
            [self](const caf::error&) { self->quit(); });
  });
}

class running_node final : public node {
public:
  explicit running_node(const node_options& options)
      : context_(std::make_shared<node_context>()), router_(std::make_shared<supervisor::push_router>()) {
    context_->options = options;
    // Bodies in flight share what the process may use with the log's and the loads' windows.
    router_->credit.bytes_max = std::max<std::uint64_t>(options.limits.body_bytes, options.limits.memory_bytes / 8);
    system_ = std::make_unique<caf::actor_system>(config_);
    supervisor_ = system_->spawn<caf::detached>(supervisor::node_supervisor, context_ptr(context_), router_);
  }

  ~running_node() override {
    if (!drained_) caf::anon_send_exit(supervisor_, caf::exit_reason::user_shutdown);
    supervisor_ = nullptr;
    router_->close();
    if (context_->options.cluster) context_->options.cluster->hub->clear(); // its handles keep actors alive
    system_.reset();                                                        // waits for all actors
  }

  void call(admin_call what, std::function<void(admin_reply)> done) override {
    admin_reply unavailable;
    unavailable.code = "unavailable";
    unavailable.message = "the node is stopping";
    ask<node_actor, admin_call, admin_reply>(*system_, supervisor_, std::move(what), std::move(unavailable), std::move(done));
  }

  push_reply may_push(const push_request& head, std::uint64_t bytes) override {
    const auto target = router_->find(head.pipeline);
    if (!target || !target->pushed) return {404, 0, "no pipeline '" + head.pipeline + "' with an http source", 0};
    if (!target->token.empty()) {
      if (!head.has_token) return {401, 0, "this source asks for Authorization: Bearer TOKEN", 0};
      if (!same(head.token, target->token)) return {403, 0, "the token is not this source's", 0};
    }
    if (bytes > context_->options.limits.body_bytes)
      return {413, 0,
              "a body of " + std::to_string(bytes) + " bytes is above limits.body, " +
                  std::to_string(context_->options.limits.body_bytes),
              0};
    if (!target->ingest || !target->waiting.empty())
      if (const auto leader = router_->leader_of(head.pipeline)) {
        if (leader->address.empty())
          return {503, 0,
                  "node " + leader->node + " leads pipeline " + head.pipeline +
                      ", and has told no address of its HTTP server that others can reach: push there",
                  5};
        return {307, 0, "node " + leader->node + " leads pipeline " + head.pipeline, 0, "http://" + leader->address};
      }
    if (!target->waiting.empty()) return {503, 0, target->waiting, 5};
    auto& credit = router_->credit;
    if (credit.bytes.load() > 0 && credit.bytes.load() + bytes > credit.bytes_max)
      return {429, 0, "too many bodies are on their way to the log", 1};
    return {0, 0, "", 0};
  }

  void push(push_request what, std::function<void(push_reply)> done) override {
    const auto bytes = static_cast<std::uint64_t>(what.body.size());
    if (auto verdict = may_push(what, bytes); verdict.status != 0) return done(verdict);
    const auto target = router_->find(what.pipeline);
    if (!target || !target->ingest) return done({503, 0, "the pipeline is starting", 1});
    router_->credit.bytes += bytes;
    auto answer = [router = router_, bytes, done = std::move(done)](const push_reply& r) {
      router->credit.bytes -= bytes;
      done(r);
    };
    ask<ingest_actor, push_message, push_reply>(
        *system_, target->ingest, push_message{std::make_shared<push_request>(std::move(what))},
        push_reply{503, 0, "the source was restarted while this body was on its way: send it again", 1}, answer);
  }

  bool drain(std::chrono::milliseconds limit) override {
    caf::scoped_actor self{*system_};
    bool ok = false;
    self->request(supervisor_, limit, drain_atom::value)
        .receive([&](const simple_reply&) { ok = true; }, [](const caf::error&) {});
    drained_ = ok;
    return ok;
  }

  bool storage_failed() const override { return context_->storage_failed; }

private:
  /// In constant time: a token is not guessed byte by byte.
  static bool same(const std::string& a, const std::string& b) {
    unsigned char difference = a.size() == b.size() ? 0 : 1;
    for (std::size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[b.empty() ? 0 : i % b.size()]);
    return difference == 0;
  }

  std::shared_ptr<node_context> context_;
  std::shared_ptr<supervisor::push_router> router_;
  system_config config_;
  std::unique_ptr<caf::actor_system> system_;
  node_actor supervisor_;
  bool drained_ = false;
};

} // namespace

result<std::unique_ptr<node>> node::start(const node_options& options) {
  load::sqlite::configure_library();
  return std::unique_ptr<node>(std::make_unique<running_node>(options));
}

} // namespace millrace::actors
