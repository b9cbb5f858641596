#include "actors/load/letters.hpp"

#include "actors/transform/transformer.hpp"

namespace millrace::actors::load {

storage::dead_letter letter_of(const storage::batch& batch, std::uint32_t change, const pipeline_context& ctx) {
  storage::dead_letter out;
  out.offset = {batch.base().value + change};
  out.source_position = batch.source_position(change);
  out.payload = batch.payload(change);
  out.node = ctx.node->options.name;
  out.revision = ctx.revision;
  out.first_time = out.last_time = storage::now();
  // When it is redriven this is all that is left of its transaction: `history` dates versions by the commit.
  const auto* transaction = batch.transaction_of(change);
  out.arrival = transaction && transaction->time_us != 0 ? storage::timestamp{std::chrono::microseconds{transaction->time_us}}
                                                         : batch.first_time();
  out.format = batch.format();
  out.envelope = batch.envelope();
  out.context = batch.context();
  out.origin = batch.origin();
  const auto summary = transform::summarize(batch, change);
  out.op = storage::to_string(summary.op);
  out.table = summary.table;
  out.transaction = summary.transaction;
  out.key = summary.key;
  return out;
}

storage::dead_letter letter_of(const transform::row_set& set, const transform::failed_change& failed,
                               const pipeline_context& ctx) {
  auto out = letter_of(*set.batch, failed.change, ctx);
  out.op = storage::to_string(failed.op);
  if (!failed.table.empty()) out.table = failed.table;
  if (!failed.key.empty()) out.key = failed.key;
  out.key_hash = failed.key_hash;
  out.before_key_hash = failed.before_key_hash;
  out.reason = failed.reason;
  out.message = failed.message;
  out.step = failed.step;
  out.column = failed.column;
  return out;
}

storage::dead_letter letter_of(const transform::row_set& set, const transform::row& row, const row_error& why, std::string step,
                               const pipeline_context& ctx) {
  auto out = letter_of(*set.batch, row.change, ctx);
  out.key = transform::key_json(set, row);
  out.key_hash = row.key_hash;
  out.before_key_hash = row.before_key_hash;
  out.reason = why.reason;
  out.message = why.message;
  out.sqlstate = why.sqlstate;
  out.constraint = why.constraint;
  out.column = why.column;
  out.step = std::move(step);
  return out;
}

} // namespace millrace::actors::load
