#include "actors/transform/csv_record.hpp"

namespace millrace::actors::transform {

bool split_csv(std::string_view record, arena& memory, std::vector<csv_cell>& out, std::string& why) {
  out.clear();
  if (!record.empty() && record.back() == '\n') record.remove_suffix(1);
  if (!record.empty() && record.back() == '\r') record.remove_suffix(1);
  const char* p = record.data();
  const char* end = p + record.size();
  const auto refuse = [&](const char* expected) {
    why = "at byte " + std::to_string(p - record.data()) + ": expected " + expected;
    return false;
  };
  for (;;) {
    csv_cell cell;
    if (p != end && *p == '"') {
      cell.quoted = true;
      const char* start = ++p;
      std::size_t doubled = 0;
      for (;; ++p) {
        if (p == end) return refuse("the cell's closing quote");
        if (*p != '"') continue;
        if (p + 1 == end || p[1] != '"') break;
        ++doubled;
        ++p;
      }
      cell.text = {start, static_cast<std::size_t>(p - start)};
      if (doubled > 0) {
        char* const plain = memory.allocate(cell.text.size() - doubled);
        char* to = plain;
        for (const char* from = start; from != p; ++from) {
          *to++ = *from;
          if (*from == '"') ++from; // its twin
        }
        cell.text = {plain, static_cast<std::size_t>(to - plain)};
      }
      ++p;
      if (p != end && *p != ',') return refuse("',' or the end behind a closing quote");
    } else {
      const char* start = p;
      while (p != end && *p != ',') {
        if (*p == '"') return refuse("no quote inside an unquoted cell");
        ++p;
      }
      cell.text = {start, static_cast<std::size_t>(p - start)};
    }
    out.push_back(cell);
    if (p == end) return true;
    ++p; // the comma: another cell follows, be it empty
  }
}

} // namespace millrace::actors::transform
