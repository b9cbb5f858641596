// Exact decimals for expressions: decimals are text in SQLite, its own operators would make floats of them.
#include "actors/transform/number.hpp"
#include "actors/transform/sql_engine.hpp"

#include <boost/multiprecision/cpp_int.hpp>

namespace millrace::actors::transform {

namespace {
using integer = boost::multiprecision::cpp_int;

struct decimal {
  integer digits; ///< value * 10^scale
  std::size_t scale = 0;
};

bool read(sqlite3_context* ctx, sqlite3_value* v, const char* function, decimal& out) {
  const auto refuse = [&](const std::string& what) {
    sqlite3_result_error(ctx, (std::string(function) + ": " + what).c_str(), -1);
    return false;
  };
  arena memory;
  std::string_view text;
  char buffer[32];
  switch (sqlite3_value_type(v)) {
  case SQLITE_FLOAT:
    text = shortest(sqlite3_value_double(v), buffer);
    break;
  case SQLITE_BLOB:
    return refuse("found bytes, expected a decimal");
  default:
    text = {reinterpret_cast<const char*>(sqlite3_value_text(v)), static_cast<std::size_t>(sqlite3_value_bytes(v))};
  }
  std::string_view plain;
  if (text.size() > 4 * max_expanded_digits || to_decimal(text, memory, plain) != number_error::none)
    return refuse("found '" + std::string(text.substr(0, 60)) + "', expected a decimal");
  if (plain.size() > max_expanded_digits + 2) return refuse("more than 1000 digits");
  std::string digits;
  const bool negative = plain.front() == '-';
  if (negative) plain.remove_prefix(1);
  const auto point = plain.find('.');
  digits = plain.substr(0, point);
  if (point != std::string_view::npos) {
    digits += plain.substr(point + 1);
    out.scale = plain.size() - point - 1;
  }
  digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size() - 1)); // a leading 0 would mean octal
  out.digits = integer(digits);
  if (negative) out.digits = -out.digits;
  return true;
}

void align(decimal& a, decimal& b) {
  decimal& low = a.scale < b.scale ? a : b;
  const std::size_t scale = std::max(a.scale, b.scale);
  low.digits *= boost::multiprecision::pow(integer(10), static_cast<unsigned>(scale - low.scale));
  low.scale = scale;
}

void write(sqlite3_context* ctx, const decimal& v, const char* function) {
  std::string text = integer(boost::multiprecision::abs(v.digits)).str();
  if (text.size() > max_expanded_digits) {
    sqlite3_result_error(ctx, (std::string(function) + ": the result has more than 1000 digits").c_str(), -1);
    return;
  }
  if (v.scale > 0) {
    if (text.size() <= v.scale) text.insert(0, v.scale + 1 - text.size(), '0');
    text.insert(text.size() - v.scale, 1, '.');
  }
  if (v.digits < 0) text.insert(0, 1, '-');
  sqlite3_result_text(ctx, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
}

enum class operation { add, sub, mul, cmp };
constexpr const char* names[] = {"decimal_add", "decimal_sub", "decimal_mul", "decimal_cmp"};

template <operation op>
void function(sqlite3_context* ctx, int, sqlite3_value** args) {
  if (sqlite3_value_type(args[0]) == SQLITE_NULL || sqlite3_value_type(args[1]) == SQLITE_NULL) return;
  const char* name = names[static_cast<int>(op)];
  decimal a, b;
  if (!read(ctx, args[0], name, a) || !read(ctx, args[1], name, b)) return;
  if constexpr (op == operation::mul) {
    write(ctx, {a.digits * b.digits, a.scale + b.scale}, name);
    return;
  }
  align(a, b);
  if constexpr (op == operation::cmp)
    sqlite3_result_int(ctx, a.digits.compare(b.digits) < 0 ? -1 : a.digits.compare(b.digits) > 0 ? 1 : 0);
  if constexpr (op == operation::add) write(ctx, {a.digits + b.digits, a.scale}, name);
  if constexpr (op == operation::sub) write(ctx, {a.digits - b.digits, a.scale}, name);
}

template <operation op>
void add(sqlite3* db) {
  sqlite3_create_function_v2(db, names[static_cast<int>(op)], 2, SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS, nullptr,
                             function<op>, nullptr, nullptr, nullptr);
}
} // namespace

void add_decimal_functions(sqlite3* db) {
  add<operation::add>(db);
  add<operation::sub>(db);
  add<operation::mul>(db);
  add<operation::cmp>(db);
}

} // namespace millrace::actors::transform
