#pragma once
// The capabilities of schemas/admin.capnp, one object a kind: who holds a viewer cannot cast it to more, because the object
// behind it does not have more. Lives on the admin server's loop thread.

#include "runtime/config/spec_parser.hpp"
#include "runtime/event_loop.hpp"
#include "schemas/admin.capnp.h"

#include <kj/refcount.h>
#include <kj/timer.h>

namespace millrace::runtime::admin {

/// When a connection was last of use; the server ends idle ones.
struct activity : kj::Refcounted {
  kj::TimePoint last_bytes;
  unsigned calls = 0; ///< under way
  explicit activity(kj::TimePoint now) : last_bytes(now) {}
};

/// What every capability needs. Copied into each.
struct service_context {
  actors::node* node = nullptr;
  config::spec_options specs;
};

/// The bootstrap object of one connection.
capnp::Capability::Client make_bootstrap(const service_context& context, kj::Own<activity> activity);

} // namespace millrace::runtime::admin
