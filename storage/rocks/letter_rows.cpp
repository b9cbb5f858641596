#include "storage/rocks/letter_rows.hpp"

#include "schemas/dead_letter.capnp.h"
#include "storage/rocks/rows.hpp"

#include <algorithm>
#include <bit>

namespace millrace::storage::rocks {
namespace {

std::string str(capnp::Text::Reader t) { return {t.begin(), t.size()}; }

void fill(schemas::DeadLetter::Builder to, const dead_letter& l) {
  to.setOffset(l.offset.value);
  to.setSourcePosition(text(l.source_position));
  to.setTransaction(text(l.transaction));
  to.setTable(text(l.table));
  to.setKey(text(l.key));
  to.setKeyHash(l.key_hash);
  to.setBeforeKeyHash(l.before_key_hash);
  to.setOp(text(l.op));
  to.setReason(text(l.reason));
  to.setMessage(text(l.message));
  to.setSqlstate(text(l.sqlstate));
  to.setConstraint(text(l.constraint));
  to.setColumn(text(l.column));
  to.setStep(text(l.step));
  to.setNode(text(l.node));
  to.setRevision(l.revision);
  to.setAttempts(l.attempts);
  to.setFirstTimeUs(to_us(l.first_time));
  to.setLastTimeUs(to_us(l.last_time));
  to.setState(static_cast<schemas::DeadLetterState>(l.state));
  to.setSupersededBy(l.superseded_by);
  to.setFormat(static_cast<schemas::PayloadFormat>(l.format));
  to.setEnvelope(static_cast<schemas::Envelope>(l.envelope));
  to.setContext(blob(l.context));
  to.setArrivalUs(to_us(l.arrival));
  to.setOrigin(text(l.origin));
}

dead_letter read(schemas::DeadLetter::Reader r) {
  dead_letter l;
  l.offset = {r.getOffset()};
  l.source_position = str(r.getSourcePosition());
  l.transaction = str(r.getTransaction());
  l.table = str(r.getTable());
  l.key = str(r.getKey());
  l.key_hash = r.getKeyHash();
  l.before_key_hash = r.getBeforeKeyHash();
  l.op = str(r.getOp());
  l.payload = view(r.getPayload());
  l.reason = str(r.getReason());
  l.message = str(r.getMessage());
  l.sqlstate = str(r.getSqlstate());
  l.constraint = str(r.getConstraint());
  l.column = str(r.getColumn());
  l.step = str(r.getStep());
  l.node = str(r.getNode());
  l.revision = r.getRevision();
  l.attempts = r.getAttempts();
  l.first_time = from_us(r.getFirstTimeUs());
  l.last_time = from_us(r.getLastTimeUs());
  l.state = static_cast<dead_letter_state>(r.getState());
  l.superseded_by = r.getSupersededBy();
  l.format = static_cast<payload_format>(r.getFormat());
  l.envelope = static_cast<storage::envelope>(r.getEnvelope());
  l.context = view(r.getContext());
  l.arrival = from_us(r.getArrivalUs());
  l.origin = str(r.getOrigin());
  return l;
}

/// read_row() for a value that is returned.
template <class Schema, class T, class Convert>
result<T> row_as(std::string_view row, const std::string& where, Convert&& convert) {
  T value{};
  auto ok = read_row<Schema>(row, where, [&](typename Schema::Reader r) { value = convert(r); });
  if (!ok) return ok.error();
  return value;
}

} // namespace

void letter_counts::count(const letter_state& s, int by) {
  const auto step = static_cast<std::uint64_t>(static_cast<std::int64_t>(by)); // modulo 2^64: adding -1 subtracts
  switch (s.state) {
  case dead_letter_state::quarantined: {
    sums.open += step;
    auto at = std::find_if(open_by_reason.begin(), open_by_reason.end(), [&](const auto& r) { return r.first == s.reason; });
    if (at == open_by_reason.end()) at = open_by_reason.insert(at, {s.reason, 0});
    at->second += step;
    if (at->second == 0) open_by_reason.erase(at);
    break;
  }
  case dead_letter_state::discarded:
    sums.discarded += step;
    break;
  case dead_letter_state::redriven:
    sums.redriven += step;
    break;
  case dead_letter_state::replaced:
    break;
  }
}

std::uint64_t filtered_note::count_below(offset below) const {
  const auto stop = std::min(end, below);
  if (bits.empty() || stop <= first) return 0;
  const auto wanted = std::min<std::uint64_t>(stop.value - first.value, bits.size() * 8);
  std::uint64_t count = 0;
  for (std::uint64_t i = 0; i < wanted / 8; ++i)
    count += static_cast<unsigned>(std::popcount(static_cast<unsigned char>(bits[i])));
  if (wanted % 8 != 0) {
    const auto mask = static_cast<unsigned char>((1u << (wanted % 8)) - 1);
    count +=
        static_cast<unsigned>(std::popcount(static_cast<unsigned char>(static_cast<unsigned char>(bits[wanted / 8]) & mask)));
  }
  return count;
}

letter_keys::letter_keys(std::string_view uid, std::uint32_t partition, std::string_view load)
    : prefix_(partition_prefix(uid, partition) + std::string(load) + '\0') {}

std::string letter_keys::row(letter_table t, offset at) const {
  auto key = table(t);
  append_be64(key, at.value);
  return key;
}
std::string letter_keys::of_key(std::uint64_t key_hash) const {
  auto key = table(letter_table::of_key);
  append_be64(key, key_hash);
  return key;
}
std::string letter_keys::of_key(std::uint64_t key_hash, offset at) const {
  auto key = of_key(key_hash);
  append_be64(key, at.value);
  return key;
}

std::string to_row(const dead_letter& letter) {
  return write_row<schemas::DeadLetter>([&](auto r) { fill(r, letter); });
}
std::string to_row(const letter_state& s) {
  return write_row<schemas::LetterState>([&](auto r) {
    r.setState(static_cast<schemas::DeadLetterState>(s.state));
    r.setAttempts(s.attempts);
    r.setSupersededBy(s.superseded_by);
    r.setKeyHash(s.key_hash);
    r.setBeforeKeyHash(s.before_key_hash);
    r.setReason(text(s.reason));
  });
}
std::string to_row(const letter_counts& c) {
  return write_row<schemas::LetterCounts>([&](auto r) {
    r.setOpen(c.sums.open);
    r.setDiscarded(c.sums.discarded);
    r.setRedriven(c.sums.redriven);
    r.setTotal(c.sums.total);
    auto list = r.initOpenByReason(static_cast<unsigned>(c.open_by_reason.size()));
    for (unsigned i = 0; i < c.open_by_reason.size(); ++i) {
      list[i].setReason(text(c.open_by_reason[i].first));
      list[i].setCount(c.open_by_reason[i].second);
    }
  });
}
std::string to_row(const filtered_note& n) {
  return write_row<schemas::FilteredNote>([&](auto r) {
    r.setEnd(n.end.value);
    r.setBefore(n.before);
    r.setBits(blob(n.bits));
  });
}
std::string to_row(std::span<const outcome> outcomes) {
  return write_row<schemas::Outcomes>([&](auto r) {
    auto list = r.initList(static_cast<unsigned>(outcomes.size()));
    for (unsigned i = 0; i < outcomes.size(); ++i) {
      const auto& letter = outcomes[i].letter;
      list[i].setOffset(letter.offset.value);
      list[i].setState(static_cast<schemas::DeadLetterState>(letter.state));
      auto to = list[i].initLetter();
      fill(to, letter);
      // Normally empty, "as stored"; a letter that the index does not have yet must not lose its bytes.
      to.setPayload(blob(letter.payload));
    }
  });
}
std::string to_row(const dead_letter_table::pending_rewind& rewind) {
  return write_row<schemas::PendingRewind>([&](auto r) {
    r.setTo(rewind.to.value);
    r.setTruncate(rewind.truncate);
  });
}

result<dead_letter> letter_from(std::string_view row, const std::string& where) {
  return row_as<schemas::DeadLetter, dead_letter>(row, where, [](auto r) { return read(r); });
}
result<letter_state> state_from(std::string_view row, const std::string& where) {
  return row_as<schemas::LetterState, letter_state>(row, where, [](auto r) {
    return letter_state{.state = static_cast<dead_letter_state>(r.getState()),
                        .attempts = r.getAttempts(),
                        .superseded_by = r.getSupersededBy(),
                        .key_hash = r.getKeyHash(),
                        .before_key_hash = r.getBeforeKeyHash(),
                        .reason = str(r.getReason())};
  });
}
result<letter_counts> counts_from(std::string_view row, const std::string& where) {
  return row_as<schemas::LetterCounts, letter_counts>(row, where, [](auto r) {
    letter_counts c;
    c.sums = {.open = r.getOpen(), .discarded = r.getDiscarded(), .redriven = r.getRedriven(), .total = r.getTotal()};
    for (auto reason : r.getOpenByReason()) c.open_by_reason.emplace_back(str(reason.getReason()), reason.getCount());
    return c;
  });
}
result<filtered_note> note_from(offset first, std::string_view row, const std::string& where) {
  return row_as<schemas::FilteredNote, filtered_note>(row, where, [&](auto r) {
    return filtered_note{.first = first, .end = {r.getEnd()}, .before = r.getBefore(), .bits = std::string(view(r.getBits()))};
  });
}
result<std::vector<outcome>> outcomes_from(std::string_view row, const std::string& where) {
  return row_as<schemas::Outcomes, std::vector<outcome>>(row, where, [](auto r) {
    std::vector<outcome> all;
    for (auto o : r.getList()) {
      all.push_back({read(o.getLetter())});
      all.back().letter.offset = {o.getOffset()};
      all.back().letter.state = static_cast<dead_letter_state>(o.getState());
    }
    return all;
  });
}
result<dead_letter_table::pending_rewind> rewind_from(std::string_view row, const std::string& where) {
  return row_as<schemas::PendingRewind, dead_letter_table::pending_rewind>(row, where, [](auto r) {
    return dead_letter_table::pending_rewind{{r.getTo()}, r.getTruncate()};
  });
}

letter_state state_of(const dead_letter& l) {
  return {.state = l.state,
          .attempts = l.attempts,
          .superseded_by = l.superseded_by,
          .key_hash = l.key_hash,
          .before_key_hash = l.before_key_hash,
          .reason = l.reason};
}
void overlay(dead_letter& l, const letter_state& s) {
  l.state = s.state;
  l.attempts = s.attempts;
  l.superseded_by = s.superseded_by;
}

} // namespace millrace::storage::rocks
