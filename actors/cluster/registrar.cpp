#include "actors/cluster/registrar.hpp"

namespace millrace::actors::cluster {

namespace replication = storage::replication;

record_news registrar_state::read(const storage::partition_name& p) {
  record_news news;
  news.fresh = true;
  const auto key = storage::part_key(p);
  auto entry = ctx->options.cluster->catalog->get(key);
  if (!entry) {
    news.unknown = true;
    return news;
  }
  if (!entry.value()) return news;
  auto record = storage::decode_partition_record(key, entry.value()->value, entry.value()->mod_revision);
  if (!record) {
    ctx->log("error", "registrar", record.error().message);
    news.unknown = true;
    return news;
  }
  news.record = std::make_shared<const storage::partition_record>(std::move(record).value());
  return news;
}

proposal_news registrar_state::propose(const storage::partition_name& p, const replication::actions::propose& what) {
  proposal_news news;
  news.id = what.id;
  std::vector<storage::catalog_guard> guards;
  const auto key = storage::part_key(p);
  guards.push_back({key, what.record.mod_revision});
  for (const auto& g : what.guards) guards.push_back(storage::catalog_guard::created_at("node/" + g.node, g.session));
  auto done = ctx->options.cluster->catalog->commit(guards, {{key, storage::encode_partition_record(what.record), 0}});
  if (done) {
    news.outcome = replication::replica::outcome::stored;
    news.mod_revision = done.value();
  } else if (done.error().is(storage::errc::conflict)) {
    news.outcome = replication::replica::outcome::conflict;
  } else {
    ctx->log("warn", "registrar", std::string("the catalog did not answer (") + what.why + "): " + done.error().message);
  }
  return news;
}

void registrar_state::announce(const storage::partition_name& p, const replication::actions::announce_store& what) {
  const auto key = storage::store_key(p, ctx->options.name);
  auto done = ctx->options.cluster->catalog->commit({}, {{key, storage::encode_store_record({what.store, what.id}), 0}});
  if (!done) ctx->log("warn", "registrar", "the catalog did not take " + key + ": " + done.error().message);
}

registrar_actor::behavior_type registrar(registrar_actor::stateful_pointer<registrar_state> self, context_ptr ctx) {
  self->state.ctx = std::move(ctx);
  return {[self](const catalog_request& r) {
    const auto asker = caf::actor_cast<stage_actor>(self->current_sender());
    if (!asker) return;
    auto& st = self->state;
    if (std::holds_alternative<replication::actions::read_record>(r.what))
      self->send(asker, st.read(r.partition));
    else if (const auto* p = std::get_if<replication::actions::propose>(&r.what))
      self->send(asker, st.propose(r.partition, *p));
    else
      st.announce(r.partition, std::get<replication::actions::announce_store>(r.what));
  }};
}

} // namespace millrace::actors::cluster
