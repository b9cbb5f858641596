#include "actors/ingest/postgres/transaction_framer.hpp"

#include <algorithm>
#include <utility>

namespace millrace::actors::ingest::postgres {

void transaction_framer::restart(const stream_position& from) {
  now_ = cut_ = from;
  block_ = {};
  tables_.clear();
  in_transaction_ = repeated_ = resumed_ = false;
  tx_changes_ = skip_left_ = 0;
}

failure transaction_framer::changed(const std::string& what) const {
  const auto& open = *cut_.open;
  return make_failure(errc::log_mismatch,
                      "transaction_changed: the log holds the first " + std::to_string(open.changes) +
                          " changes of transaction " + std::to_string(open.id.value) + " (commit " +
                          storage::lsn_text(open.commit.value) + "), " + what +
                          "; was the publication changed or the server restored? Loads do not show that transaction. "
                          "Delete the pipeline and create it anew with a snapshot");
}

result<void> transaction_framer::begin(const begin_message& m) {
  if (in_transaction_)
    return make_failure(errc::refused, "protocol: the source began transaction " + std::to_string(m.id.value) +
                                           " inside of transaction " + std::to_string(tx_.id.value));
  tx_ = m;
  in_transaction_ = true;
  tx_changes_ = tx_hash_ = skip_left_ = skip_hash_ = 0;
  tx_first_ = block_.starts.size();
  repeated_ = m.commit <= now_.commit;
  if (repeated_) {
    ++repeats_;
    return success();
  }
  if (!now_.open) return success();
  if (now_.open->commit != m.commit || now_.open->id != m.id)
    return changed("but the source went on with transaction " + std::to_string(m.id.value) + " (commit " +
                   storage::lsn_text(m.commit.value) + ")");
  resumed_ = true;
  skip_left_ = now_.open->changes;
  return success();
}

result<void> transaction_framer::change(std::string_view payload, const table_schema_ptr& table) {
  if (!in_transaction_) return make_failure(errc::refused, "protocol: the source sent a change outside of a transaction");
  if (repeated_) return success();
  if (skip_left_ != 0) {
    skip_hash_ = chained_hash(skip_hash_, payload);
    ++tx_changes_;
    if (--skip_left_ != 0) return success();
    if (skip_hash_ != now_.open->hash) return changed("and the source sends other ones now");
    tx_hash_ = skip_hash_;
    return success();
  }
  if (!block_.starts.empty()) {
    const bool outdated =
        std::any_of(tables_.begin(), tables_.end(), [&](const auto& t) { return t->id == table->id && t != table; });
    const auto bytes = block_.payloads.size();
    if (outdated || bytes >= limits_.transaction_bytes || bytes + payload.size() > 2 * limits_.transaction_bytes)
      close_block(tx_first_ < block_.starts.size());
  }
  if (std::find(tables_.begin(), tables_.end(), table) == tables_.end()) tables_.push_back(table);
  if (block_.starts.empty()) block_.payloads.reserve(std::max(limits_.block_bytes + limits_.block_bytes / 8, payload.size()));
  if (tx_first_ == block_.starts.size())
    block_.transactions.push_back(
        {static_cast<std::uint32_t>(tx_first_), tx_.id.value, tx_.commit.value, tx_.time_us, tx_changes_});
  block_.starts.push_back(static_cast<std::uint32_t>(block_.payloads.size()));
  block_.lengths.push_back(static_cast<std::uint32_t>(payload.size()));
  block_.payloads.append(payload);
  ++tx_changes_;
  return success();
}

result<void> transaction_framer::commit(const commit_message& m) {
  if (!in_transaction_ || m.commit != tx_.commit || m.end < m.commit)
    return make_failure(errc::refused, "protocol: the source committed " + storage::lsn_text(m.commit.value) +
                                           ", expected the transaction that it began");
  if (skip_left_ != 0) return changed("but the source now sends " + std::to_string(skip_left_) + " fewer");
  in_transaction_ = resumed_ = false;
  if (std::exchange(repeated_, false)) return success();
  now_ = {m.commit, std::max(m.end, now_.end), {}};
  return success();
}

void transaction_framer::reached(lsn at) {
  if (!in_transaction_ && !now_.open && at > now_.end) now_.end = at;
}

void transaction_framer::close_block(bool open_end) {
  if (open_end) {
    for (auto i = tx_first_; i < block_.starts.size(); ++i)
      tx_hash_ = chained_hash(tx_hash_, std::string_view(block_.payloads).substr(block_.starts[i], block_.lengths[i]));
    now_.open = open_transaction{tx_.commit, tx_.id, tx_changes_, tx_hash_};
  }
  if (tables_ != context_tables_) {
    context_ = encode_tables(tables_);
    context_tables_ = tables_;
  }
  block_.context = context_;
  block_.format = storage::payload_format::pgoutput;
  block_.origin = origin_;
  block_.open_end = open_end;
  block_.source_state.push_back({std::string(position_key), encode(now_)});
  if (on_cut_) on_cut_(block_.source_state);
  cut_ = now_;
  ready_.push_back(std::exchange(block_, {}));
  tables_.clear();
  tx_first_ = 0;
}

void transaction_framer::cut() {
  if (!block_.starts.empty() && between()) close_block(false);
}

void transaction_framer::note() {
  if (!block_.starts.empty() || !between()) return;
  storage::change_block only_state;
  if (on_cut_) on_cut_(only_state.source_state);
  if (now_ == cut_ && only_state.source_state.empty()) return;
  only_state.source_state.push_back({std::string(position_key), encode(now_)});
  cut_ = now_;
  ready_.push_back(std::move(only_state));
}

std::optional<storage::change_block> transaction_framer::take() {
  if (ready_.empty()) return std::nullopt;
  auto block = std::move(ready_.front());
  ready_.pop_front();
  return block;
}

} // namespace millrace::actors::ingest::postgres
