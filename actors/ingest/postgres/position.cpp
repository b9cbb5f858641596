#include "actors/ingest/postgres/position.hpp"

#include "actors/postgres/connection.hpp"
#include "storage/batch.hpp"

#include <xxhash.h>

#include <charconv>

namespace millrace::actors::ingest::postgres {

std::uint64_t chained_hash(std::uint64_t before, std::string_view change) {
  return XXH3_64bits_withSeed(change.data(), change.size(), before);
}

std::optional<std::uint64_t> to_number(std::string_view text, int base) {
  std::uint64_t v = 0;
  const auto* end = text.data() + text.size();
  const auto r = std::from_chars(text.data(), end, v, base);
  if (text.empty() || r.ec != std::errc{} || r.ptr != end) return std::nullopt;
  return v;
}

std::string_view word_reader::next() {
  const auto from = rest_.find_first_not_of(' ');
  if (from == std::string_view::npos) return {};
  rest_.remove_prefix(from);
  const auto word = rest_.substr(0, rest_.find(' '));
  rest_.remove_prefix(word.size());
  return word;
}

std::optional<std::uint64_t> word_reader::number(int base) { return to_number(next(), base); }

std::string encode(const stream_position& p) {
  auto out = "1 " + storage::lsn_text(p.commit.value) + ' ' + storage::lsn_text(p.end.value);
  if (p.open)
    out += ' ' + storage::lsn_text(p.open->commit.value) + ' ' + std::to_string(p.open->id.value) + ' ' +
           std::to_string(p.open->changes) + ' ' + std::to_string(p.open->hash);
  return out;
}

std::optional<stream_position> decode_position(std::string_view text) {
  word_reader words(text);
  if (words.next() != "1") return std::nullopt;
  const auto commit = actors::postgres::parse_lsn(words.next()), end = actors::postgres::parse_lsn(words.next());
  if (!commit || !end) return std::nullopt;
  stream_position p{{*commit}, {*end}, {}};
  if (words.empty()) return p;
  const auto open = actors::postgres::parse_lsn(words.next());
  const auto id = words.number(), changes = words.number(), hash = words.number();
  if (!open || !id || *id > UINT32_MAX || !changes || !hash || !words.empty()) return std::nullopt;
  p.open = open_transaction{{*open}, {static_cast<std::uint32_t>(*id)}, *changes, *hash};
  return p;
}

std::string encode(const source_identity& s) { return "1 " + s.system + ' ' + std::to_string(s.timeline) + ' ' + s.slot; }

std::optional<source_identity> decode_identity(std::string_view text) {
  word_reader words(text);
  if (words.next() != "1") return std::nullopt;
  source_identity s;
  s.system = words.next();
  const auto timeline = words.number();
  s.slot = words.next();
  if (s.system.empty() || !timeline || s.slot.empty() || !words.empty()) return std::nullopt;
  s.timeline = static_cast<std::uint32_t>(*timeline);
  return s;
}

} // namespace millrace::actors::ingest::postgres
