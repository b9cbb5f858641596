// What the high watermark passes comes true: the source's state, the letters, and what readers see.
//
//   edges_:  [hw] e1 e2 e3 ... [end]      advance(e2) applies e1 and e2, each with the row that says so in one write
//
// Not synced: RocksDB's WAL keeps the order of writes, so after a crash the stored watermark is one that was reached, and all
// below it, and nothing above it, is applied. The rest is applied again when the watermark is known again.
#include "storage/rocks/rocks_partition_log.hpp"

#include "storage/rocks/keys.hpp"

namespace millrace::storage::rocks {
namespace {

bool changes_letters(batch_kind kind) {
  return kind == batch_kind::quarantine || kind == batch_kind::rewind || kind == batch_kind::outcomes ||
         kind == batch_kind::rewound || kind == batch_kind::carried;
}

} // namespace

rocks_partition_log::edge rocks_partition_log::edge_after(const entry_fields& f, std::size_t stored) {
  return {.end = f.end(),
          .hash = f.hash,
          .epoch = f.epoch,
          .last_time = f.last_time,
          .bytes = f.bytes_before + stored,
          .changes = f.changes_before + f.changes(),
          .kind = f.kind,
          .applies = f.states != 0 || changes_letters(f.kind)};
}

/// The entry before edges_[index], verified.
result<shared_bytes> rocks_partition_log::unacknowledged(std::size_t index) const {
  const auto base = edges_[index - 1].end;
  {
    std::lock_guard lock(mutex_);
    if (auto fresh = raw_.run(base, 0); !fresh.empty()) return fresh.front().value;
  }
  auto value = std::make_shared<std::string>();
  rocksdb::ReadOptions options;
  options.verify_checksums = true;
  options.fill_cache = false;
  const auto status = db_->db().Get(options, family_, offset_key(base), value.get());
  if (!status.ok())
    return status.IsNotFound() ? failure{errc::corrupt, place(base) + ": the entry is missing"}
                               : read_failure(status, place(base));
  auto parsed = parse_entry(*value);
  if (!parsed) return failure{parsed.error().code, place(base) + ": the entry is damaged: " + parsed.error().message};
  if (parsed.value().fields.hash != edges_[index].hash)
    return failure{errc::corrupt, place(base) + ": the entry is not the one that was written there"};
  return shared_bytes(std::move(value));
}

/// Entries edges_[1 .. count]; `applied`: up to which edge the rows are written.
result<void> rocks_partition_log::apply(std::size_t count, std::size_t& applied) {
  rocksdb::WriteBatch rows;
  const auto write = [&](std::size_t index) -> result<void> {
    std::string end;
    append_be64(end, edges_[index].end.value);
    rows.Put(db_->meta(), meta_key(prefix_, meta_tag::high_watermark), end);
    auto ok = db_->write(rows, database::durability::buffered, place(edges_[index].end) + ": acknowledged state");
    rows.Clear();
    if (ok) applied = index;
    return ok;
  };
  for (std::size_t i = 1; i <= count; ++i) {
    if (!edges_[i].applies) continue;
    const auto base = edges_[i - 1].end;
    auto value = unacknowledged(i);
    if (!value) return value.error();
    auto state = state_in(*value.value());
    if (!state) return failure{state.error().code, place(base) + ": " + state.error().message};
    put_state(rows, state.value());
    if (!changes_letters(edges_[i].kind)) continue;
    auto parsed = parse_entry(*value.value());
    if (!parsed) return failure{parsed.error().code, place(base) + ": " + parsed.error().message};
    auto entry = decode(parsed.value());
    if (!entry) return entry.error();
    auto letters = letters_->begin(entry.value()->control().load);
    if (!letters) return failure{errc::corrupt, place(base) + ": " + letters.error().message};
    if (auto ok = letters.value()->apply(*entry.value()); !ok) return ok.error();
    letters.value()->add_to(rows);
    if (auto ok = write(i); !ok) return ok;
    letters.value()->written();
  }
  if (rows.Count() != 0) return write(count);
  applied = count;
  return success();
}

result<void> rocks_partition_log::advance(offset high_watermark) {
  auto writing = enter_writer();
  if (!writing) return writing.error();
  std::size_t count = 0;
  while (count + 1 < edges_.size() && edges_[count + 1].end <= high_watermark) ++count;
  if (count == 0) return success();
  std::size_t applied = 0;
  auto done = apply(count, applied);
  std::lock_guard lock(mutex_);
  edges_.erase(edges_.begin(), edges_.begin() + static_cast<std::ptrdiff_t>(applied));
  high_watermark_ = edges_.front().end;
  return done;
}

} // namespace millrace::storage::rocks
