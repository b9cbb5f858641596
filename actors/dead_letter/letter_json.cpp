#include "actors/dead_letter/letter_json.hpp"

#include "actors/transform/transformer.hpp"

#include <openssl/evp.h>

#include <charconv>
#include <cstdio>
#include <ctime>

namespace millrace::actors::dead_letter {

using json = nlohmann::ordered_json;

std::string id_of(std::string_view pipeline, std::string_view load, std::uint32_t partition, storage::offset at) {
  return std::string(pipeline)
      .append("/")
      .append(load)
      .append("/")
      .append(std::to_string(partition))
      .append("/")
      .append(std::to_string(at.value));
}

namespace {
bool valid_utf8(std::string_view s) {
  std::size_t i = 0;
  while (i < s.size()) {
    const auto c = static_cast<unsigned char>(s[i]);
    std::size_t n = c < 0x80 ? 1 : c >= 0xC2 && c < 0xE0 ? 2 : c >= 0xE0 && c < 0xF0 ? 3 : c >= 0xF0 && c < 0xF5 ? 4 : 0;
    if (n == 0 || i + n > s.size()) return false;
    for (std::size_t k = 1; k < n; ++k)
      if ((static_cast<unsigned char>(s[i + k]) & 0xC0) != 0x80) return false;
    if (n > 2) {
      const auto d = static_cast<unsigned char>(s[i + 1]);
      if ((c == 0xE0 && d < 0xA0) || (c == 0xED && d >= 0xA0) || (c == 0xF0 && d < 0x90) || (c == 0xF4 && d >= 0x90))
        return false;
    }
    i += n;
  }
  return true;
}
} // namespace

json bytes_json(std::string_view bytes) {
  if (valid_utf8(bytes)) return std::string(bytes);
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int n = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(n));
  return json{{"base64", out}};
}

std::string time_text(storage::timestamp t) {
  const auto us = t.time_since_epoch().count();
  const auto seconds = us >= 0 ? us / 1000000 : -((-us + 999999) / 1000000);
  const std::time_t when = static_cast<std::time_t>(seconds);
  std::tm tm{};
  gmtime_r(&when, &tm);
  char out[64];
  std::snprintf(out, sizeof out, "%04d-%02d-%02dT%02d:%02d:%02d.%06lldZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                tm.tm_hour, tm.tm_min, tm.tm_sec, static_cast<long long>(us - seconds * 1000000));
  return out;
}

std::optional<storage::timestamp> time_from(std::string_view text) {
  std::tm tm{};
  const std::string s(text);
  const char* rest = strptime(s.c_str(), "%Y-%m-%d", &tm);
  if (!rest) return std::nullopt;
  if (*rest == 'T' || *rest == ' ') {
    rest = strptime(rest + 1, "%H:%M:%S", &tm);
    if (!rest) return std::nullopt;
  }
  std::int64_t us = 0;
  if (*rest == '.') {
    ++rest;
    for (std::int64_t unit = 100000; *rest >= '0' && *rest <= '9'; ++rest, unit /= 10) us += (*rest - '0') * unit;
  }
  std::int64_t zone = 0;
  if (*rest == 'Z') {
    ++rest;
  } else if (*rest == '+' || *rest == '-') {
    int h = 0, m = 0, used = 0;
    if (std::sscanf(rest + 1, "%2d:%2d%n", &h, &m, &used) != 2) return std::nullopt;
    zone = (h * 3600 + m * 60) * (*rest == '-' ? -1 : 1);
    rest += 1 + used;
  }
  if (*rest != '\0') return std::nullopt;
  const auto seconds = static_cast<std::int64_t>(timegm(&tm)) - zone;
  return storage::timestamp{std::chrono::microseconds{seconds * 1000000 + us}};
}

json letter_json(const storage::dead_letter& l, std::string_view pipeline, std::string_view load, std::uint32_t partition,
                 bool payload) {
  json out;
  out["id"] = id_of(pipeline, load, partition, l.offset);
  out["pipeline"] = pipeline;
  out["load"] = load;
  out["partition"] = partition;
  out["offset"] = l.offset.value;
  out["source_position"] = bytes_json(l.source_position);
  out["transaction"] = bytes_json(l.transaction);
  out["table"] = bytes_json(l.table);
  out["key"] = l.key.empty() ? json(nullptr) : json::parse(l.key, nullptr, false);
  if (out["key"].is_discarded()) out["key"] = bytes_json(l.key);
  out["op"] = l.op;
  if (payload) {
    out["payload"] = bytes_json(l.payload);
    // A database's message is no text for people; what it says is.
    if (l.format == storage::payload_format::pgoutput || l.format == storage::payload_format::pgcopy) {
      const auto change = storage::single_change(l.offset, l.arrival, l.payload, l.format, l.envelope, l.origin, l.context);
      if (const auto row = transform::readable(*change, 0); !row.empty()) out["row"] = json::parse(row, nullptr, false);
    }
  }
  out["reason"] = l.reason;
  out["error"] = json{{"message", bytes_json(l.message)},
                      {"sqlstate", l.sqlstate},
                      {"constraint", bytes_json(l.constraint)},
                      {"column", bytes_json(l.column)}};
  out["step"] = bytes_json(l.step);
  out["node"] = l.node;
  out["revision"] = l.revision;
  out["attempts"] = l.attempts;
  out["first_time"] = time_text(l.first_time);
  out["last_time"] = time_text(l.last_time);
  out["state"] = storage::to_string(l.state);
  if (l.superseded_by != 0) out["superseded_by"] = l.superseded_by - 1;
  return out;
}

std::optional<storage::offset> letter_filter::offset_of(std::string_view pipeline, std::string& load_of_id) const {
  const auto prefix = std::string(pipeline) + "/";
  if (!id.starts_with(prefix)) return std::nullopt;
  const auto slash = id.rfind('/');
  const auto before = slash == std::string::npos || slash == 0 ? std::string::npos : id.rfind('/', slash - 1);
  if (before == std::string::npos || before < prefix.size()) return std::nullopt;
  load_of_id = id.substr(prefix.size(), before - prefix.size());
  std::uint64_t at = 0;
  const auto* end = id.data() + id.size();
  const auto [p, ec] = std::from_chars(id.data() + slash + 1, end, at);
  if (ec != std::errc{} || p != end) return std::nullopt;
  return storage::offset{at};
}

bool letter_filter::takes(const storage::dead_letter& l) const {
  if (!reason.empty() && l.reason != reason) return false;
  if (any_state) return l.state != storage::dead_letter_state::replaced;
  return l.state == state.value_or(storage::dead_letter_state::quarantined);
}

std::optional<letter_filter> parse_filter(const std::string& text, std::string& error) {
  letter_filter out;
  if (text.empty()) return out;
  const auto doc = json::parse(text, nullptr, false);
  if (!doc.is_object()) {
    error = "the filter is not a JSON object";
    return std::nullopt;
  }
  auto string_of = [&](const char* key) {
    return doc.contains(key) && doc[key].is_string() ? doc[key].get<std::string>() : std::string{};
  };
  out.load = string_of("load");
  out.reason = string_of("reason");
  out.id = string_of("id");
  const auto state = string_of("state");
  if (state == "all")
    out.any_state = true;
  else if (state == "quarantined" || state == "open")
    out.state = storage::dead_letter_state::quarantined;
  else if (state == "redriven")
    out.state = storage::dead_letter_state::redriven;
  else if (state == "discarded")
    out.state = storage::dead_letter_state::discarded;
  else if (!state.empty()) {
    error = "state '" + state + "': expected quarantined, redriven, discarded or all";
    return std::nullopt;
  }
  if (doc.contains("limit") && doc["limit"].is_number_unsigned()) out.limit = doc["limit"].get<std::uint64_t>();
  if (doc.contains("payloads") && doc["payloads"].is_boolean()) out.payloads = doc["payloads"].get<bool>();
  if (doc.contains("all") && doc["all"].is_boolean()) out.all = doc["all"].get<bool>();
  return out;
}

} // namespace millrace::actors::dead_letter
