#include "actors/transform/envelope.hpp"

#include "actors/transform/number.hpp"

namespace millrace::actors::transform {

namespace {
using outcome = change_envelope::outcome;

struct fields {
  json_value op, before, after, source, ts, wrapped;
  bool has_op = false, has_wrapped = false;
};

/// The members that matter; everything is validated.
bool scan(json_scanner& s, arena& memory, fields& f) {
  if (!s.take('{')) return s.fail("an object");
  if (s.take('}')) return true;
  do {
    std::string_view raw;
    bool escaped = false;
    json_value v;
    if (!s.key(raw, escaped) || !s.value(v)) return false;
    const std::string_view name = escaped ? unescape(raw, memory) : raw;
    if (name == "op")
      f.op = v, f.has_op = true;
    else if (name == "before")
      f.before = v;
    else if (name == "after")
      f.after = v;
    else if (name == "source")
      f.source = v;
    else if (name == "ts_ms")
      f.ts = v;
    else if (name == "payload")
      f.wrapped = v, f.has_wrapped = true;
  } while (s.take(','));
  return s.take('}') || s.fail("',' or '}'");
}

std::optional<std::int64_t> millis(const json_value& v) {
  std::int64_t ms = 0;
  if (v.kind == json_kind::number && to_int64(v.raw, ms) == number_error::none) return ms;
  return std::nullopt;
}

outcome refuse(std::string& why, std::string text) {
  why = "not a Debezium change event: " + std::move(text);
  return outcome::invalid;
}
} // namespace

outcome parse_envelope(std::string_view text, const char* readable, arena& memory, change_envelope& out, std::string& why) {
  json_scanner s(text, readable);
  fields f;
  if (s.at_end()) return refuse(why, "found nothing");
  json_value whole;
  if (text.find('{') == std::string_view::npos) { // a tombstone, or no object
    if (!s.value(whole) || !s.at_end()) {
      s.fail("the end");
      why = s.error();
      return outcome::invalid;
    }
    if (whole.kind == json_kind::null) return outcome::skip;
    return refuse(why, std::string("found ") + to_string(whole.kind) + ", expected an object");
  }
  if (!scan(s, memory, f) || !s.at_end()) {
    s.fail("nothing behind the object");
    why = s.error();
    return outcome::invalid;
  }
  if (!f.has_op && f.has_wrapped) {
    if (f.wrapped.kind == json_kind::null) return outcome::skip;
    if (f.wrapped.kind != json_kind::object)
      return refuse(why, std::string("`payload` is ") + to_string(f.wrapped.kind) + ", expected an object");
    json_scanner inner(f.wrapped.raw);
    f = {};
    scan(inner, memory, f);
  }
  if (!f.has_op) return refuse(why, "`op` is missing");
  if (f.op.kind != json_kind::string || f.op.raw.size() != 1)
    return refuse(why, "`op` is " + std::string(f.op.raw.substr(0, 40)) + ", expected one of c, r, u, d, t, m");
  switch (f.op.raw[0]) {
  case 'c':
  case 'r':
    out.op = storage::operation::insert;
    break;
  case 'u':
    out.op = storage::operation::update;
    break;
  case 'd':
    out.op = storage::operation::remove;
    break;
  case 't':
    out.op = storage::operation::truncate;
    break;
  case 'm':
    return outcome::skip;
  default:
    return refuse(why, "`op` is '" + std::string(f.op.raw) + "', expected one of c, r, u, d, t, m");
  }
  out.before = f.before;
  out.after = f.after;
  out.committed_ms = millis(f.ts);
  if (f.source.kind == json_kind::object) {
    std::string_view db, schema;
    for_each_member(f.source.raw, memory, [&](std::string_view name, const json_value& v) {
      if (name == "ts_ms") {
        if (const auto ms = millis(v); ms && *ms > 0) out.committed_ms = ms; // 0: the connector did not know
      } else if (name == "txId") {
        if (v.kind == json_kind::string)
          out.transaction = text_of(v, memory);
        else if (v.kind == json_kind::number)
          out.transaction = v.raw;
      } else if (v.kind == json_kind::string) {
        if (name == "schema")
          schema = text_of(v, memory);
        else if (name == "db")
          db = text_of(v, memory);
        else if (name == "table")
          out.table = text_of(v, memory);
      }
    });
    out.qualifier = schema.empty() ? db : schema;
  }
  const bool wants_after = out.op == storage::operation::insert || out.op == storage::operation::update;
  if (wants_after && out.after.kind != json_kind::object)
    return refuse(why, std::string("`after` is ") + to_string(out.after.kind) + ", expected the row's object");
  if (out.op == storage::operation::remove && out.before.kind != json_kind::object)
    return refuse(why, std::string("`before` of a delete is ") + to_string(out.before.kind) +
                           ", expected an object with the row's key");
  if (out.before.kind != json_kind::object && out.before.kind != json_kind::null)
    return refuse(why, std::string("`before` is ") + to_string(out.before.kind) + ", expected an object or null");
  return outcome::change;
}

bool is_unavailable(const json_value& v) {
  return v.kind == json_kind::string && v.raw.size() >= 28 &&
         (v.raw == "__debezium_unavailable_value" || v.raw == "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==");
}

} // namespace millrace::actors::transform
