#include "runtime/link/node_link.hpp"

#include "runtime/link/endpoint.hpp"
#include "runtime/link/link_loop.hpp"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <thread>

namespace millrace::runtime::link {
namespace {

using storage::errc;
using storage::failure;
using storage::success;

std::uint64_t random_run() {
  std::random_device device;
  return (static_cast<std::uint64_t>(device()) << 32) | device();
}

/// What this node's own lines in the peers file must say, if there are any: a wrong one is a mistake that would show only at
/// peers.
result<void> check_own_line(const peer_keys& keys, const link_options& o, const curve_pair& self) {
  const auto* key = keys.key_of(o.node);
  const auto* node = keys.node_of(self.public_key);
  if (key && *key != self.public_key)
    return failure(errc::invalid, "the peers file " + o.peers_file.string() + " gives node '" + o.node + "' the key " + *key +
                                      ", but " + o.key_file.string() + " belongs to " + self.public_key);
  if (node && *node != o.node)
    return failure(errc::invalid, "the peers file " + o.peers_file.string() + " gives the key of " + o.key_file.string() +
                                      " to node '" + *node + "', but this node is '" + o.node + "'");
  return success();
}

} // namespace

class node_link::impl {
public:
  explicit impl(link_options o)
      : options(std::move(o)), run(random_run()), wake_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        table(options, run, [this] { wake(); }) {}
  ~impl() {
    if (wake_fd >= 0) ::close(wake_fd);
  }
  void wake() const {
    std::uint64_t one = 1;
    (void)!::write(wake_fd, &one, sizeof one); // full means that it is awake
  }

  const link_options options;
  const std::uint64_t run;
  const int wake_fd;
  handlers on_frame;
  peer_table table;
  std::unique_ptr<link_loop> loop;
  std::string address;
  std::atomic<bool> stopping{false};
  std::thread thread;
};

node_link::node_link(link_options o) : impl_(std::make_unique<impl>(std::move(o))) {}

node_link::~node_link() { stop(); }

result<void> node_link::start() {
  const auto& o = impl_->options;
  if (impl_->wake_fd < 0) return failure(errc::io_failed, "the link cannot make an eventfd: too many open files?");
  if (o.cluster_id.empty() || o.node.empty())
    return failure(errc::invalid, "the link needs the cluster's id and the node's name");
  if (o.max_frame_bytes + frame_overhead_bytes > o.window_bytes)
    return failure(errc::invalid, "the link's window of " + std::to_string(o.window_bytes) +
                                      " bytes is smaller than its largest frame of " + std::to_string(o.max_frame_bytes) +
                                      " bytes and 1 KiB");
  if (o.max_frame_bytes > UINT32_MAX) return failure(errc::invalid, "the link's largest frame must be below 4 GiB");
  auto endpoint = endpoint_of(o.listen, true);
  if (!endpoint) return endpoint.error();
  auto self = read_key_file(o.key_file);
  if (!self) return self.error();
  peers_file file(o.peers_file);
  auto keys = file.read();
  if (!keys) return keys.error();
  if (auto own = check_own_line(keys.value(), o, self.value()); !own) return own.error();
  try {
    impl_->loop = std::make_unique<link_loop>(o, self.value(), std::move(file), std::move(keys.value()), impl_->on_frame,
                                              impl_->table, impl_->run, impl_->wake_fd, endpoint.value());
  } catch (const zmq::error_t& e) {
    auto hint = e.num() == EADDRINUSE ? "; another process has it, see `ss -ltnp`"
                : e.num() == ENODEV || e.num() == EADDRNOTAVAIL
                    ? "; the host must be an address or an interface of this machine, or *"
                    : "";
    return failure(errc::io_failed, "the link cannot listen on " + o.listen + ": " + e.what() + hint);
  }
  impl_->address = impl_->loop->address();
  impl_->thread = std::thread([this] { impl_->loop->run(impl_->stopping); });
  ::pthread_setname_np(impl_->thread.native_handle(), "link");
  return success();
}

void node_link::stop() {
  if (impl_->stopping.exchange(true)) return;
  if (!impl_->thread.joinable()) {
    for (auto& c : impl_->table.close("this node stops")) c.done(outcome::failed);
    return;
  }
  impl_->wake();
  impl_->thread.join();
  impl_->loop.reset();
}

result<void> node_link::set_peer(const std::string& node, const std::string& address) {
  if (node == impl_->options.node) return failure(errc::invalid, "node '" + node + "' is this one; it has no link to itself");
  auto endpoint = endpoint_of(address, false);
  if (!endpoint) return endpoint.error();
  impl_->table.set(node, address, endpoint.value());
  return success();
}

void node_link::remove_peer(const std::string& node) { impl_->table.remove(node); }

void node_link::send(const std::string& node, actors::cluster::frame f, std::function<void(outcome)> done) {
  impl_->table.send(node, std::move(f), std::move(done));
}

std::size_t node_link::credit(const std::string& node) const { return impl_->table.credit(node); }

void node_link::receive(actors::cluster::channel c, handler on_frame) {
  impl_->on_frame[static_cast<std::uint8_t>(c)] = std::move(on_frame);
}

std::vector<actors::cluster::peer_status> node_link::peers() const { return impl_->table.peers(); }

link_counters node_link::counters() const { return impl_->table.counters(); }

std::string node_link::address() const { return impl_->address; }

} // namespace millrace::runtime::link
