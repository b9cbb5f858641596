#pragma once
// KJ's event loop on a thread of its own, and the way from there to the node and back. The servers and the actors never touch
// each other's objects: a question leaves as node::call, the answer comes back through a cross-thread fulfiller.

#include "actors/node.hpp"

#include <kj/async-io.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>

namespace millrace::runtime {

/// What runs on a loop. Made, used and destroyed on the loop's thread.
class loop_server {
public:
  virtual ~loop_server() = default;
};

/// Owner: the main thread. start() and stop() are called there; everything else happens on the loop's thread.
class event_loop {
public:
  using factory = std::function<actors::result<std::unique_ptr<loop_server>>(kj::AsyncIoContext&)>;
  /// Starts the thread and returns once `make` has: its failure is ours. `name` is the thread's, at most 15 characters.
  static actors::result<std::unique_ptr<event_loop>> start(const std::string& name, factory make);
  /// Cancels what the server does, destroys it, joins. Idempotent.
  void stop();
  ~event_loop();

private:
  event_loop() = default;
  std::thread thread_;
  std::shared_ptr<kj::Own<kj::CrossThreadPromiseFulfiller<void>>> stop_;
};

/// node::call as a promise of the calling thread's loop. Never fails: a node that goes away answers `unavailable`. Dropping
/// the promise is harmless; the answer is then thrown away.
kj::Promise<actors::admin_reply> ask(actors::node& node, actors::admin_call what);
kj::Promise<actors::push_reply> push(actors::node& node, actors::push_request what);

/// "Address already in use" without KJ's source lines.
std::string text_of(const kj::Exception& e);

} // namespace millrace::runtime
