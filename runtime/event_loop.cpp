#include "runtime/event_loop.hpp"

#include <pthread.h>

#include <future>

namespace millrace::runtime {

actors::result<std::unique_ptr<event_loop>> event_loop::start(const std::string& name, factory make) {
  std::unique_ptr<event_loop> loop(new event_loop);
  loop->stop_ = std::make_shared<kj::Own<kj::CrossThreadPromiseFulfiller<void>>>();
  std::promise<actors::result<void>> started;
  auto outcome = started.get_future();
  loop->thread_ = std::thread([name, make = std::move(make), stop = loop->stop_, &started] {
    pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
    bool told = false;
    auto tell = [&](actors::result<void> r) {
      told = true;
      started.set_value(std::move(r));
    };
    try {
      auto io = kj::setupAsyncIo();
      auto paf = kj::newPromiseAndCrossThreadFulfiller<void>();
      *stop = kj::mv(paf.fulfiller);
      auto server = make(io);
      if (!server) return tell(std::move(server).error());
      tell(boost::outcome_v2::success());
      paf.promise.wait(io.waitScope);
      server.value().reset(); // before the loop that its promises belong to
    } catch (const kj::Exception& e) {
      if (told) throw; // a bug: the loop itself fell over
      tell(actors::make_failure(actors::errc::refused, name + ": " + text_of(e)));
    } catch (const std::exception& e) {
      if (told) throw;
      tell(actors::make_failure(actors::errc::refused, name + ": " + e.what()));
    }
  });
  auto result = outcome.get();
  if (result) return loop;
  loop->thread_.join();
  return std::move(result).error();
}

void event_loop::stop() {
  if (!thread_.joinable()) return;
  (*stop_)->fulfill();
  thread_.join();
}

event_loop::~event_loop() { stop(); }

namespace {
/// std::function wants to be copied; a kj::Own cannot be.
template <class T>
auto callback_and_promise() {
  auto paf = kj::newPromiseAndCrossThreadFulfiller<T>();
  auto fulfiller = std::make_shared<kj::Own<kj::CrossThreadPromiseFulfiller<T>>>(kj::mv(paf.fulfiller));
  std::function<void(T)> done = [fulfiller](T reply) { (*fulfiller)->fulfill(kj::mv(reply)); };
  return std::pair(std::move(done), kj::mv(paf.promise));
}
} // namespace

kj::Promise<actors::admin_reply> ask(actors::node& node, actors::admin_call what) {
  auto [done, promise] = callback_and_promise<actors::admin_reply>();
  node.call(std::move(what), std::move(done));
  return promise.catch_([](kj::Exception&& e) {
    actors::admin_reply reply;
    reply.code = "unavailable";
    reply.message = "the node does not answer: " + text_of(e);
    return reply;
  });
}

kj::Promise<actors::push_reply> push(actors::node& node, actors::push_request what) {
  auto [done, promise] = callback_and_promise<actors::push_reply>();
  node.push(std::move(what), std::move(done));
  return promise.catch_([](kj::Exception&& e) {
    actors::push_reply reply;
    reply.status = 503;
    reply.retry_after_seconds = 1;
    reply.message = "the node does not answer: " + text_of(e);
    return reply;
  });
}

std::string text_of(const kj::Exception& e) {
  std::string text = e.getDescription().cStr();
  // "::bind(...): Address already in use": the call and its arguments are for the programmer.
  if (auto at = text.rfind("): "); at != std::string::npos && text.starts_with("::")) text = text.substr(at + 3);
  return text;
}

} // namespace millrace::runtime
