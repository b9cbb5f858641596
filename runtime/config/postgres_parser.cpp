#include "runtime/config/postgres_parser.hpp"

#include "actors/postgres/conninfo.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

namespace millrace::runtime::config {
namespace {

constexpr std::size_t identifier_bytes_max = 63; // NAMEDATALEN - 1
constexpr auto connection_example = "a libpq connection string such as \"host=db1 dbname=shop user=millrace\"";

bool is_slot_name(std::string_view text) {
  return !text.empty() && text.size() <= identifier_bytes_max && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

void read_tables(document_reader& doc, section& s, std::vector<std::string>& out) {
  auto* v = s.need("tables", "the tables to read, such as [public.orders, public.customers]");
  if (!v) return;
  const auto before = doc.mistake_count();
  auto tables = doc.texts(*v, s.inside("tables"));
  if (tables.empty() && doc.mistake_count() == before)
    doc.wrong(v->at, s.inside("tables") + " is empty; expected a table or more, such as [public.orders]");
  for (const auto& [text, at] : tables) {
    const auto name = qualified(text);
    auto mistake = identifier_mistake(table_part(name));
    if (mistake.empty()) mistake = identifier_mistake(name.substr(0, name.find('.')));
    if (!mistake.empty()) {
      doc.wrong(at, s.inside("tables") + " has '" + text + "': " + mistake + "; expected TABLE or SCHEMA.TABLE");
      continue;
    }
    if (std::find(out.begin(), out.end(), name) != out.end()) {
      doc.wrong(at, s.inside("tables") + " has '" + name + "' twice; expected each table once");
      continue;
    }
    out.push_back(name);
  }
}

void read_snapshot(document_reader& doc, section& s, actors::postgres_source_spec& out) {
  if (auto* v = s.take("snapshot"))
    if (auto mode = doc.choice(*v, s.inside("snapshot"), {"initial", "never", "only"})) {
      static constexpr std::array modes{actors::snapshot_mode::initial, actors::snapshot_mode::never,
                                        actors::snapshot_mode::only};
      out.snapshot = modes[*mode];
    }
  auto* v = s.take("snapshot_options");
  if (!v) return;
  section o(doc, *v, s.inside("snapshot_options"));
  if (!o.ok()) return;
  if (auto* n = o.take("workers"))
    if (auto count = doc.number(*n, o.inside("workers"), 1, 64)) out.snapshot_workers = static_cast<std::uint32_t>(*count);
  if (auto* n = o.take("rate"))
    if (auto bytes = doc.bytes(*n, o.inside("rate"), 1u << 10, 1ull << 50)) out.snapshot_rate = *bytes;
  if (auto* n = o.take("chunk_rows"))
    if (auto rows = doc.number(*n, o.inside("chunk_rows"), 1, 1ull << 32)) out.snapshot_chunk_rows = *rows;
  o.finish();
}

} // namespace

std::string identifier_mistake(std::string_view name) {
  if (name.empty()) return "a name is empty";
  if (name.find('\0') != std::string_view::npos) return "a name has a NUL character";
  if (name.size() > identifier_bytes_max)
    return "a name has " + std::to_string(name.size()) + " bytes, and PostgreSQL takes " + std::to_string(identifier_bytes_max);
  return {};
}

std::string qualified(const std::string& table) { return table.find('.') == std::string::npos ? "public." + table : table; }
std::string table_part(const std::string& table) { return table.substr(table.find('.') + 1); }

std::string default_slot(const std::string& pipeline) {
  std::string out = "millrace_" + pipeline;
  for (char& c : out)
    if (c >= 'A' && c <= 'Z')
      c = static_cast<char>(c + 32);
    else if (!is_slot_name({&c, 1}))
      c = '_';
  if (out == "millrace_" + pipeline && out.size() <= identifier_bytes_max) return out;
  // "a.b" and "a-b" must not share a slot. FNV-1a: the same on every host, for ever.
  std::uint64_t hash = 14695981039346656037u;
  for (const char c : pipeline) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  char suffix[12];
  std::snprintf(suffix, sizeof suffix, "_%08x", static_cast<unsigned>(hash ^ hash >> 32));
  out.resize(std::min(out.size(), identifier_bytes_max - 9));
  return out + suffix;
}

std::string read_connection(document_reader& doc, section& s) {
  auto* v = s.need("connection", connection_example);
  auto value = v ? doc.text(*v, s.inside("connection")) : std::nullopt;
  if (!value) return {};
  const auto mistake = value->empty() ? "it is empty" : actors::postgres::conninfo_mistake(*value);
  if (!mistake.empty()) {
    // The value is not shown: it may hold a password.
    doc.wrong(v->at,
              s.inside("connection") + " is no connection string of libpq: " + mistake + "; expected " + connection_example);
    return {};
  }
  if (value->find(actors::postgres::password_mask) != std::string::npos) {
    doc.wrong(v->at, s.inside("connection") + " has " + std::string(actors::postgres::password_mask) +
                         ", which stands for a password that `pipeline show` does not print; expected the password, or better "
                         "${env:NAME} or ${file:PATH}");
    return {};
  }
  return *value;
}

void read_postgres_source(document_reader& doc, section& s, const std::string& pipeline, actors::source_spec& out) {
  auto& pg = out.postgres;
  pg.connection = read_connection(doc, s);
  pg.slot = default_slot(pipeline);
  pg.publication = pg.slot;
  if (auto* v = s.take("slot"))
    if (auto slot = doc.text(*v, s.inside("slot"))) {
      pg.slot = *slot;
      if (!is_slot_name(*slot))
        doc.wrong(v->at, s.inside("slot") + " is " + described(*v) +
                             "; expected 1 to 63 of the characters a-z, 0-9 and '_', which is what PostgreSQL takes");
    }
  if (auto* v = s.take("publication"))
    if (auto publication = doc.text(*v, s.inside("publication"))) {
      pg.publication = *publication;
      if (auto mistake = identifier_mistake(*publication); !mistake.empty())
        doc.wrong(v->at, s.inside("publication") + " is " + described(*v) + ": " + mistake + "; expected a publication's name");
    }
  read_tables(doc, s, pg.tables);
  read_snapshot(doc, s, pg);
  if (auto* v = s.take("heartbeat"))
    if (auto every = doc.duration(*v, s.inside("heartbeat"), std::chrono::milliseconds{0})) {
      pg.heartbeat = *every;
      if (every->count() > 0 && *every < std::chrono::milliseconds{100})
        doc.wrong(v->at, s.inside("heartbeat") + " is " + described(*v) + "; expected at least 100ms, or 0 for none");
    }
  for (auto* key : {"path", "follow", "format", "envelope"})
    s.refuse(key, "is for a file source (type file); expected the key left out");
  s.refuse("token", "is for a push source (type http); expected the key left out");
}

} // namespace millrace::runtime::config
