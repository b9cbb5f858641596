#include "postgres_replica.hpp"

#include "schemas/source.capnp.h"

#include <capnp/message.h>

#include <algorithm>
#include <cstring>

namespace postgres_test {

using namespace millrace;
using namespace millrace::actors::ingest::postgres;

std::vector<table_shape> read_context(const std::string& context) {
  std::vector<capnp::word> words(context.size() / sizeof(capnp::word));
  std::memcpy(words.data(), context.data(), context.size());
  const kj::ArrayPtr<const capnp::word> segments[] = {kj::arrayPtr(words.data(), words.size())};
  capnp::SegmentArrayMessageReader reader(kj::arrayPtr(segments, 1));
  std::vector<table_shape> out;
  for (const auto t : reader.getRoot<schemas::SourceTables>().getTables()) {
    table_shape s;
    s.id = t.getId();
    s.name = std::string(t.getSchema().cStr()) + '.' + t.getName().cStr();
    s.snapshotting = t.getSnapshotting();
    for (const auto c : t.getColumns()) {
      s.columns.push_back({c.getName().cStr(), c.getType().cStr(), c.getKey(), c.getIdentity(), {}});
      for (const auto l : c.getLabels()) s.columns.back().labels.push_back(l.cStr());
    }
    out.push_back(std::move(s));
  }
  return out;
}

cells read_copy_line(std::string_view line) {
  cells out;
  std::string cell;
  const auto end = [&](std::string_view raw) { out.push_back(raw == "\\N" ? std::nullopt : std::optional(cell)), cell.clear(); };
  std::size_t from = 0;
  for (std::size_t i = 0; i <= line.size(); ++i) {
    if (i == line.size() || line[i] == '\t') {
      end(line.substr(from, i - from));
      from = i + 1;
    } else if (line[i] == '\\' && i + 1 < line.size()) {
      static const std::map<char, char> escapes{{'b', '\b'}, {'f', '\f'}, {'n', '\n'}, {'r', '\r'}, {'t', '\t'}, {'v', '\v'}};
      const auto e = escapes.find(line[++i]);
      cell += e == escapes.end() ? line[i] : e->second;
    } else {
      cell += line[i];
    }
  }
  return out;
}

namespace {

using row = replica_table::row;
using key = std::vector<std::string>;

std::vector<std::size_t> key_columns(const table_shape& t) {
  std::vector<std::pair<std::uint16_t, std::size_t>> found;
  for (std::size_t i = 0; i < t.columns.size(); ++i)
    if (t.columns[i].key != 0) found.emplace_back(t.columns[i].key, i);
  std::sort(found.begin(), found.end());
  std::vector<std::size_t> out;
  for (const auto& [place, i] : found) out.push_back(i);
  return out;
}

std::optional<key> key_in(const std::vector<tuple_cell>& tuple, const std::vector<std::size_t>& columns) {
  key out;
  for (const auto c : columns) {
    if (c >= tuple.size() || tuple[c].k != tuple_cell::kind::text) return std::nullopt;
    out.emplace_back(tuple[c].text);
  }
  return out;
}

row whole(const table_shape& t, const std::vector<tuple_cell>& tuple) {
  row out;
  for (std::size_t i = 0; i < tuple.size(); ++i)
    out[t.columns[i].name] = tuple[i].k == tuple_cell::kind::text ? std::optional(std::string(tuple[i].text)) : std::nullopt;
  return out;
}

} // namespace

void replica::check_order(const storage::change_block& block) {
  const auto& txs = block.transactions;
  if (txs.empty() || txs[0].first_change != 0) faults.push_back("a block without transactions");
  for (std::size_t i = 0; i < txs.size(); ++i) {
    const auto end = i + 1 < txs.size() ? txs[i + 1].first_change : block.starts.size();
    if (txs[i].id == 0) {
      if (open_) faults.push_back("rows of a snapshot inside of a transaction");
      continue;
    }
    const std::pair now{txs[i].position, txs[i].first_index};
    if (open_ && (txs[i].id != open_id_ || now != std::pair{last_.first, last_.second + 1}))
      faults.push_back("an open transaction does not go on where it ended");
    if (!open_ && (now.first <= last_.first || now.second != 0))
      faults.push_back("a transaction comes again, or not from its beginning");
    open_ = false;
    last_ = {now.first, now.second + (end - txs[i].first_change) - 1};
    if (now.second == 0)
      transaction_sizes.push_back(end - txs[i].first_change);
    else
      transaction_sizes.back() += end - txs[i].first_change;
  }
  open_ = block.open_end;
  if (open_) open_id_ = txs.back().id, ++open_ends;
}

void replica::append(const storage::change_block& block) {
  ++blocks;
  if (!block.starts.empty()) {
    check_order(block);
    const auto tables_here = read_context(block.context);
    const bool copy = block.format == storage::payload_format::pgcopy;
    for (std::size_t i = 0; i < block.starts.size(); ++i) {
      const auto payload = std::string_view(block.payloads).substr(block.starts[i], block.lengths[i]);
      if (copy) {
        ++snapshot_rows;
        apply_copy(tables_here.at(0), payload);
        continue;
      }
      ++changes;
      std::uint32_t id = 0;
      if (const auto t = read_truncate(payload))
        id = t->relations.at(0);
      else
        id = relation_of(payload).value_or(0);
      const auto at = std::find_if(tables_here.begin(), tables_here.end(), [&](const auto& t) { return t.id == id; });
      if (at == tables_here.end())
        faults.push_back("a change names a table that its block does not describe");
      else
        apply(*at, payload);
    }
  }
  for (const auto& s : block.source_state) {
    if (s.value.empty())
      state_.erase(s.key);
    else
      state_[s.key] = s.value;
  }
}

std::vector<storage::state_entry> replica::state() const {
  std::vector<storage::state_entry> out;
  for (const auto& [k, v] : state_) out.push_back({k, v});
  return out;
}

void replica::apply_copy(const table_shape& t, std::string_view line) {
  const auto values = read_copy_line(line);
  if (values.size() != t.columns.size()) return faults.push_back("a row of " + t.name + " has another number of columns");
  auto& table = tables[t.name];
  row r;
  for (std::size_t i = 0; i < values.size(); ++i) r[t.columns[i].name] = values[i];
  const auto columns = key_columns(t);
  table.has_key = !columns.empty();
  if (columns.empty()) {
    table.bag.insert(std::move(r));
    return;
  }
  key k;
  for (const auto c : columns) k.push_back(*values[c]);
  table.partial.erase(k);
  table.by_key[k] = std::move(r);
}

void replica::apply(const table_shape& t, std::string_view message) {
  auto& table = tables[t.name];
  const auto columns = key_columns(t);
  table.has_key = !columns.empty();
  if (message[0] == 'T') {
    table.by_key.clear();
    table.bag.clear();
    table.partial.clear();
    return;
  }
  row_change c;
  if (!read_change(message, c)) return faults.push_back("a malformed change of " + t.name);
  if (!c.after.empty() && c.after.size() != t.columns.size())
    return faults.push_back("a change of " + t.name + " has another number of columns");
  if (columns.empty()) {
    if (!c.before.empty()) {
      const auto at = table.bag.find(whole(t, c.before));
      if (at == table.bag.end()) return faults.push_back("a row of " + t.name + " that is not there is changed");
      table.bag.erase(at);
    }
    if (!c.after.empty()) {
      auto r = whole(t, c.after);
      for (std::size_t i = 0; i < c.after.size(); ++i)
        if (c.after[i].k == tuple_cell::kind::unchanged && i < c.before.size() && c.before[i].k == tuple_cell::kind::text)
          r[t.columns[i].name] = std::string(c.before[i].text);
      table.bag.insert(std::move(r));
    }
    return;
  }
  const auto before = c.before.empty() ? std::nullopt : key_in(c.before, columns);
  if (c.kind == 'D') {
    if (!before) return faults.push_back("a delete of " + t.name + " without its key");
    table.by_key.erase(*before);
    table.partial.erase(*before);
    return;
  }
  const auto after = key_in(c.after, columns);
  if (!after) return faults.push_back("a change of " + t.name + " without its key");
  const auto old_key = before.value_or(*after);
  const auto at = table.by_key.find(old_key);
  const bool there = at != table.by_key.end();
  row old = there ? at->second : row{};
  const bool was_partial = table.partial.contains(old_key);
  if (old_key != *after) {
    table.by_key.erase(old_key);
    table.partial.erase(old_key);
  }
  row r;
  bool misses = false, carried = true;
  for (std::size_t i = 0; i < c.after.size(); ++i) {
    const auto& name = t.columns[i].name;
    if (c.after[i].k != tuple_cell::kind::unchanged) {
      r[name] = c.after[i].k == tuple_cell::kind::text ? std::optional(std::string(c.after[i].text)) : std::nullopt;
      continue;
    }
    carried = false;
    if (i < c.before.size() && c.before[i].k == tuple_cell::kind::text)
      r[name] = std::string(c.before[i].text);
    else if (there)
      r[name] = old[name];
    else
      r[name] = std::nullopt, misses = true;
  }
  if (misses && !t.snapshotting)
    faults.push_back("an update of " + t.name + " met no row and lacks columns, outside of a snapshot");
  table.by_key[*after] = std::move(r);
  if (misses || (was_partial && !carried))
    table.partial.insert(*after);
  else
    table.partial.erase(*after);
}

} // namespace postgres_test
