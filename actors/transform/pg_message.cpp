#include "actors/transform/pg_message.hpp"

#include <cstdio>
#include <cstring>

namespace millrace::actors::transform {

namespace {
using storage::operation;

/// Network byte order.
class reader {
public:
  explicit reader(std::string_view bytes) : begin_(bytes.data()), p_(bytes.data()), end_(bytes.data() + bytes.size()) {}
  bool has(std::size_t n) const { return static_cast<std::size_t>(end_ - p_) >= n; }
  bool at_end() const { return p_ == end_; }
  std::size_t left() const { return static_cast<std::size_t>(end_ - p_); }
  std::size_t at() const { return static_cast<std::size_t>(p_ - begin_); }
  // The caller has asked has().
  unsigned char byte() { return static_cast<unsigned char>(*p_++); }
  std::uint32_t u16() {
    const std::uint32_t high = byte();
    return high << 8 | byte();
  }
  std::uint32_t u32() {
    std::uint32_t v = 0;
    std::memcpy(&v, p_, 4);
    p_ += 4;
    return __builtin_bswap32(v);
  }
  std::string_view bytes(std::size_t n) {
    const std::string_view v(p_, n);
    p_ += n;
    return v;
  }

private:
  const char *begin_, *p_, *end_;
};

bool refuse(std::string& why, const reader& r, std::string_view what) {
  why = "not a message of logical replication: at byte " + std::to_string(r.at()) + ": " + std::string(what);
  return false;
}
std::string shown(unsigned char c) {
  char text[16];
  if (c > ' ' && c < 127)
    std::snprintf(text, sizeof text, "'%c'", c);
  else
    std::snprintf(text, sizeof text, "byte 0x%02x", c);
  return text;
}
bool cut(std::string& why, const reader& r, std::size_t wanted) {
  return refuse(why, r, "found " + std::to_string(r.left()) + " bytes more, expected " + std::to_string(wanted));
}

/// `whole`: an insert's, which carries every value.
bool read_tuple(reader& r, pg_tuple& out, bool whole, std::string& why) {
  if (!r.has(2)) return cut(why, r, 2);
  const std::uint32_t count = r.u16();
  if (!r.has(count)) return cut(why, r, count); // a byte a column at least
  out.resize(count);
  for (cell& c : out) {
    if (!r.has(1)) return cut(why, r, 1);
    const unsigned char kind = r.byte();
    if (kind == 't') {
      if (!r.has(4)) return cut(why, r, 4);
      const std::uint32_t size = r.u32();
      if (!r.has(size)) return cut(why, r, size);
      c = cell::text(r.bytes(size));
    } else if (kind == 'n') {
      c = cell::null();
    } else if (kind == 'u' && !whole) {
      c = cell::null();
      c.k = cell::kind::missing;
    } else {
      return refuse(
          why, r, "found the column kind " + shown(kind) + ", expected " + (whole ? "t or n" : "t, n or u") + " (text columns)");
    }
  }
  return true;
}
bool read_new(reader& r, pg_tuple& out, bool whole, std::string& why) {
  if (!r.has(1)) return cut(why, r, 1);
  if (const unsigned char found = r.byte(); found != 'N')
    return refuse(why, r, "found the row mark " + shown(found) + ", expected 'N'");
  return read_tuple(r, out, whole, why);
}
bool read_old(reader& r, pg_change& out, std::string& why) {
  out.old_kind = r.byte() == 'K' ? pg_change::old_row::key : pg_change::old_row::whole;
  return read_tuple(r, out.old, false, why);
}
bool next_is_old(reader r) { // a copy: looks only
  if (!r.has(1)) return false;
  const unsigned char c = r.byte();
  return c == 'K' || c == 'O';
}
} // namespace

std::uint32_t relation_of(std::string_view message) {
  reader r(message);
  if (!r.has(5)) return 0;
  switch (r.byte()) {
  case 'I':
  case 'U':
  case 'D':
    return r.u32();
  case 'T':
    if (!r.has(9)) return 0;
    r.u32();
    r.byte();
    return r.u32();
  default:
    return 0;
  }
}

bool parse_pgoutput(std::string_view message, pg_change& out, std::string& why) {
  reader r(message);
  out.old_kind = pg_change::old_row::none;
  out.old.clear();
  out.fresh.clear();
  if (!r.has(5)) return cut(why, r, 5);
  const unsigned char kind = r.byte();
  out.relation = r.u32();
  bool good = false;
  switch (kind) {
  case 'I':
    out.op = operation::insert;
    good = read_new(r, out.fresh, true, why);
    break;
  case 'U':
    out.op = operation::update;
    good = (!next_is_old(r) || read_old(r, out, why)) && read_new(r, out.fresh, false, why);
    break;
  case 'D':
    out.op = operation::remove;
    if (!next_is_old(r)) return refuse(why, r, "found no old row in a delete, expected one (K or O)");
    good = read_old(r, out, why);
    break;
  case 'T': {
    out.op = operation::truncate;
    const std::uint32_t relations = out.relation; // the message counts first
    if (relations != 1)
      return refuse(why, r, "found a truncate of " + std::to_string(relations) + " relations, expected one a change");
    if (!r.has(5)) return cut(why, r, 5);
    r.byte(); // CASCADE, RESTART IDENTITY: what else it empties comes as changes of its own
    out.relation = r.u32();
    good = true;
    break;
  }
  default:
    return refuse(why, r, "found the message kind " + shown(kind) + ", expected I, U, D or T");
  }
  if (!good) return false;
  if (!r.at_end()) return refuse(why, r, "found " + std::to_string(r.left()) + " bytes behind the message, expected its end");
  return true;
}

bool parse_pgcopy(std::string_view line, std::size_t columns, arena& memory, pg_change& out, std::string& why) {
  out.op = operation::insert;
  out.old_kind = pg_change::old_row::none;
  out.old.clear();
  out.fresh.clear();
  if (columns == 0 && line.empty()) return true;
  const char* p = line.data();
  const char* const end = p + line.size();
  for (;;) {
    const char* const start = p;
    bool escaped = false;
    while (p != end && *p != '\t') {
      if (*p == '\\') {
        escaped = true;
        if (++p == end) {
          why = "not a line of COPY: found a backslash at its end, expected a character behind it";
          return false;
        }
      }
      ++p;
    }
    const std::string_view raw(start, static_cast<std::size_t>(p - start));
    if (!escaped) {
      out.fresh.push_back(cell::text(raw));
    } else if (raw == "\\N") {
      out.fresh.push_back(cell::null());
    } else {
      char* const place = memory.allocate(raw.size());
      char* to = place;
      for (std::size_t i = 0; i < raw.size(); ++i) {
        if (raw[i] != '\\') {
          *to++ = raw[i];
          continue;
        }
        const char c = raw[++i];
        // COPY TO writes these and the doubled backslash; octal and hexadecimal ones only COPY FROM would take.
        switch (c) {
        case 'b':
          *to++ = '\b';
          break;
        case 'f':
          *to++ = '\f';
          break;
        case 'n':
          *to++ = '\n';
          break;
        case 'r':
          *to++ = '\r';
          break;
        case 't':
          *to++ = '\t';
          break;
        case 'v':
          *to++ = '\v';
          break;
        case '\\':
          *to++ = '\\';
          break;
        default:
          why = "not a line of COPY: found a backslash and " + shown(static_cast<unsigned char>(c)) +
                ", expected one that COPY TO writes";
          return false;
        }
      }
      const auto size = static_cast<std::size_t>(to - place);
      memory.shrink(raw.size(), size);
      out.fresh.push_back(cell::text({place, size}));
    }
    if (p == end) break;
    ++p;
  }
  return true;
}

} // namespace millrace::actors::transform
