// COPY's binary format: its bytes, and that the server makes of them exactly what it makes of the text.

#include "actors/load/postgres/copy_binary.hpp"
#include "actors/load/postgres/copy_text.hpp"
#include "postgres_support.hpp"

#include <bit>
#include <random>

using namespace millrace::test;
using load::postgres::binary_form;
using load::postgres::boolean_text;
using load::postgres::copy_binary;
using load::postgres::copy_text;

namespace {

std::string hex(std::string_view bytes) {
  std::string out;
  for (const unsigned char c : bytes) {
    constexpr char digits[] = "0123456789abcdef";
    out += digits[c >> 4];
    out += digits[c & 15];
  }
  return out;
}

/// Length and value of one field; "declined" if it is left to text.
std::string field_of(const cell& c, binary_form form, boolean_text b = boolean_text::word) {
  copy_binary out;
  return out.cell(c, form, b) ? hex(out.view()) : "declined";
}

cell bytes(std::string_view v) { return cell::blob(v); }

std::mt19937_64 seeded() {
  const char* set = std::getenv("MILLRACE_SEED");
  const auto value = set ? std::strtoull(set, nullptr, 10) : std::random_device{}();
  BOOST_TEST_MESSAGE("MILLRACE_SEED=" << value);
  return std::mt19937_64(value);
}

/// Two tables of one column: what is sent as text, and what is sent as binary.
struct pair_of_tables {
  pair_of_tables(const std::string& database, std::string type_) : client(server().conninfo(database)), type(std::move(type_)) {
    client.query("CREATE TEMP TABLE by_text(id int, v " + type + "); CREATE TEMP TABLE by_binary(id int, v " + type + ")");
    const auto base = client.query("WITH RECURSIVE d(t) AS (SELECT atttypid FROM pg_attribute WHERE attrelid = "
                                   "'by_text'::regclass AND attname = 'v' UNION ALL SELECT typbasetype FROM d JOIN pg_type p ON "
                                   "p.oid = d.t WHERE typtype = 'd') SELECT oid, typtype = 'e' FROM d JOIN pg_type p ON p.oid = "
                                   "d.t WHERE typtype <> 'd'");
    form = load::postgres::binary_form_of(static_cast<std::uint32_t>(std::stoul(base)), base.ends_with("|t"));
    boolean = form == binary_form::boolean ? boolean_text::letter : boolean_text::word;
    binary.header();
  }
  /// False: it is left to text.
  bool add(const cell& c) {
    copy_binary alone;
    if (!alone.cell(c, form, boolean)) return false;
    binary.begin_row(2);
    BOOST_REQUIRE(binary.cell(i(count), binary_form::int4, boolean));
    BOOST_REQUIRE(binary.cell(c, form, boolean));
    text.cell(i(count), boolean);
    text.cell(c, boolean);
    text.end_row();
    ++count;
    return true;
  }
  /// The SQLSTATE, or nothing.
  std::string copy(const char* sql, std::string_view data) {
    PQclear(PQexec(client.get(), sql));
    PQputCopyData(client.get(), data.data(), static_cast<int>(data.size()));
    PQputCopyEnd(client.get(), nullptr);
    std::string out;
    while (auto* r = PQgetResult(client.get())) {
      if (const char* state = PQresultErrorField(r, PG_DIAG_SQLSTATE)) out = state;
      PQclear(r);
    }
    return out;
  }
  /// What both made of it: "same", or how they differ.
  std::string outcome() {
    binary.trailer();
    const auto a = copy("COPY by_text FROM STDIN", text.view());
    const auto b = copy("COPY by_binary FROM STDIN (FORMAT binary)", binary.view());
    binary.clear();
    text.clear();
    binary.header();
    if (a != b) return "as text '" + a + "', as binary '" + b + "'";
    if (!a.empty()) return "rejected " + a;
    const auto differ =
        client.query("SELECT t.v::text || ' is not ' || b.v::text FROM by_text t FULL JOIN by_binary b USING (id) "
                     "WHERE NOT coalesce(t *= b AND t::text = b::text, false) LIMIT 3");
    const auto rows = client.query("SELECT count(*) FROM by_binary");
    client.query("TRUNCATE by_text, by_binary");
    if (differ.empty() && rows != std::to_string(count)) return rows + " rows of " + std::to_string(count);
    count = 0;
    return differ.empty() ? "same" : differ;
  }

  millrace::testing::postgres_client client;
  std::string type;
  binary_form form = binary_form::none;
  boolean_text boolean = boolean_text::word;
  copy_binary binary;
  copy_text text;
  std::int64_t count = 0;
};

constexpr const char* types_made = "CREATE TYPE mood AS ENUM ('sad', 'ok', 'ganz glücklich', 'true');"
                                   "CREATE DOMAIN cents AS numeric(10,2) CHECK (value >= 0);"
                                   "CREATE DOMAIN short AS varchar(4); CREATE DOMAIN shorter AS short CHECK (value <> 'no')";

} // namespace

BOOST_FIXTURE_TEST_SUITE(postgres_binary, postgres_fixture)

BOOST_AUTO_TEST_CASE(the_bytes_are_those_of_the_documented_format) {
  copy_binary out;
  out.header();
  out.begin_row(2);
  out.null();
  BOOST_REQUIRE(out.cell(missing(), binary_form::int4, boolean_text::word));
  out.trailer();
  BOOST_TEST(hex(out.view()) == "5047434f50590aff0d0a00"
                                "0000000000000000"
                                "0002ffffffffffffffffffff");
  using enum binary_form;
  BOOST_TEST(field_of(b(true), boolean) == "0000000101");
  BOOST_TEST(field_of(i(-2), int2) == "00000002fffe");
  BOOST_TEST(field_of(i(-32769), int2) == "declined");
  BOOST_TEST(field_of(i(2147483647), int4) == "000000047fffffff");
  BOOST_TEST(field_of(i(2147483648), int4) == "declined");
  BOOST_TEST(field_of(t("-9223372036854775808"), int8) == "000000088000000000000000");
  BOOST_TEST(field_of(t("9223372036854775808"), int8) == "declined");
  BOOST_TEST(field_of(f(-0.0), float8) == "000000088000000000000000");
  BOOST_TEST(field_of(f(1e-46), float4) == "declined");
  BOOST_TEST(field_of(t(""), text) == "00000000");
  BOOST_TEST(field_of(f(1.5), text) == "00000003312e35");
  BOOST_TEST(field_of(t("{}"), jsonb) == "00000003017b7d");
  BOOST_TEST(field_of(bytes({"\0\xff", 2}), bytea) == "0000000200ff");
  BOOST_TEST(field_of(bytes("x"), text) == "declined");
  //                              length  digits weight sign dscale digits
  BOOST_TEST(field_of(t("1.50"), numeric) == "0000000c"
                                             "0002"
                                             "0000"
                                             "0000"
                                             "0002"
                                             "0001"
                                             "1388");
  BOOST_TEST(field_of(t("-12345"), numeric) == "0000000c"
                                               "0002"
                                               "0001"
                                               "4000"
                                               "0000"
                                               "0001"
                                               "0929");
  BOOST_TEST(field_of(t(".00012"), numeric) == "0000000c"
                                               "0002"
                                               "ffff"
                                               "0000"
                                               "0005"
                                               "0001"
                                               "07d0");
  BOOST_TEST(field_of(t("1.50e1"), numeric) == field_of(t("15.0"), numeric));
  BOOST_TEST(field_of(t("15e-3"), numeric) == field_of(t(".015"), numeric));
  BOOST_TEST(field_of(t("NaN"), numeric) == "00000008"
                                            "0000"
                                            "0000"
                                            "c000"
                                            "0000");
  for (const auto* odd :
       {"", "-", ".", "e5", "1e", "1e+-5", "1e--5", "+1", " 1", "1 ", "1,5", "-NaN", "nan", "1e1001", "0x1f", "1_0"})
    BOOST_TEST(field_of(t(odd), numeric) == "declined", odd);
  BOOST_TEST(field_of(t("2000-01-01"), date) == "0000000400000000");
  BOOST_TEST(field_of(t("1999-12-31"), date) == "00000004ffffffff");
  BOOST_TEST(field_of(t("infinity"), date) == "000000047fffffff");
  BOOST_TEST(field_of(t("2000-01-01T00:00:01.5Z"), timestamptz) == "00000008000000000016e360");
  BOOST_TEST(field_of(t("2000-01-01 01:00:01.5+01"), timestamptz) == "00000008000000000016e360");
  BOOST_TEST(field_of(t("2000-01-01 00:00:01.5+01"), timestamp) == "00000008000000000016e360");
  BOOST_TEST(field_of(t("2000-01-01 00:00:00"), timestamptz) == "declined"); // of the session's zone
  BOOST_TEST(field_of(t("123e4567-E89b-12d3-a456-426614174000"), uuid) == "00000010123e4567e89b12d3a456426614174000");
  BOOST_TEST(field_of(t("123e4567e89b-12d3-a456-426614174000-"), uuid) == "declined");
  BOOST_TEST(field_of(t("x"), none) == "declined");
}

// What one column may be given: the values go one by one, so that a rejection is compared too; those behind `declined` are left
// to text by the encoder.
BOOST_AUTO_TEST_CASE(every_value_is_stored_or_rejected_as_its_text_is) {
  query(types_made);
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  const std::string big(9000, '7'), long_text(300000, 'x'), deep = "0." + std::string(9000, '3');
  struct column_case {
    const char* type;
    std::vector<cell> taken, declined;
  };
  const std::vector<cell> decimals = {t("0"),
                                      t("-0"),
                                      t("-0.000"),
                                      t("0.0"),
                                      t("00012.50"),
                                      t("1.50"),
                                      t("1e-20"),
                                      t("1E+20"),
                                      t("-1.5e3"),
                                      t("1.50e1"),
                                      t(".5"),
                                      t("5."),
                                      t("9999"),
                                      t("10000"),
                                      t("99999999"),
                                      t("1000000000000"),
                                      t("0.0001"),
                                      t("0.00010"),
                                      t("0.00001"),
                                      t("-0.00009999"),
                                      t("123456789012345678901234567890.123456789"),
                                      t("NaN"),
                                      t("Infinity"),
                                      t("-Infinity"),
                                      i(0),
                                      i(-7),
                                      i(std::numeric_limits<std::int64_t>::min()),
                                      f(0.1),
                                      f(1e300),
                                      f(-1.5e-7),
                                      f(nan),
                                      f(inf),
                                      t(big),
                                      t(deep),
                                      t("0e0"),
                                      t("0e5")};
  const std::vector<cell> moments = {t("2024-02-29T12:34:56.123456Z"),
                                     t("2024-02-29T12:34:56.5Z"),
                                     t("1969-12-31T23:59:59.999999Z"),
                                     t("1999-12-31T23:59:59.9Z"),
                                     t("1900-02-28T00:00:00Z"),
                                     t("0001-01-01T00:00:00Z"),
                                     t("9999-12-31T23:59:59.999999Z"),
                                     t("2024-05-01 12:00:00+00"),
                                     t("2024-05-01T12:00:00+02:00"),
                                     t("2024-05-01 12:00:00.25-11"),
                                     t("0001-01-01T00:00:00+14"),
                                     t("9999-12-31T23:59:59-05:30"),
                                     t("infinity"),
                                     t("-infinity"),
                                     t("2024-05-01T12:00:00-00")};
  const std::vector<cell> odd_moments = {t("0044-03-15 12:00:00 BC"),
                                         t("10000-01-01 00:00:00+00"),
                                         t("2024-02-30T00:00:00Z"),
                                         t("2024-01-01T24:00:00Z"),
                                         t("2024-01-01T00:00:60Z"),
                                         t("2024-01-01T00:00:00.1234567Z"),
                                         t("2024-01-01T00:00:00.Z"),
                                         t("0000-01-01T00:00:00Z"),
                                         t("2024-01-01T00:00:00+0200"),
                                         t("2024-01-01T00:00:00 UTC"),
                                         t("2024-01-01T00:00"),
                                         t(""),
                                         t("now"),
                                         i(20240101),
                                         f(1),
                                         b(true)};
  const auto with = [](std::vector<cell> all, std::initializer_list<cell> more) {
    all.insert(all.end(), more);
    return all;
  };
  const std::vector<cell> texts = {t(""),     t("a"),     t("zwölf ✓ 𝄞"), t("tab\t\\N \\. \n\r"),
                                   t("   "),  t("ab   "), t("abcde"),     t("ab        "),
                                   t("äöüß"), i(-12),     f(1e20),        f(-0.0),
                                   f(nan),    b(true),    b(false),       t("\xff")};
  const std::vector<column_case> all = {
      {"boolean",
       {b(true), b(false), t("t"), t("false"), t("true"), t("f"), i(1), i(0), null()},
       {t("yes"), i(2), t(""), f(1.5)}},
      {"smallint",
       {i(-32768), i(32767), t("12"), t("-007"), f(3), null()},
       {i(32768), i(-32769), t(" 1"), t("+1"), f(1.5), b(true)}},
      {"integer", {i(-2147483648LL), i(2147483647), t("0")}, {i(2147483648LL), t("1.0"), t(""), f(1e20)}},
      {"bigint",
       {i(std::numeric_limits<std::int64_t>::min()), i(std::numeric_limits<std::int64_t>::max())},
       {t("9223372036854775808")}},
      {"real",
       {f(0.1), f(-0.0), f(nan), f(-nan), f(inf), f(-inf), f(3.4028234663852886e38), f(16777217), f(1.1754943508222875e-38),
        f(std::bit_cast<double>(0x3ff0000010000000ull)), f(std::bit_cast<double>(0x3ff0000030000000ull)), i(16777217),
        t("0.30000001"), t("1e10"), t("-1.5E-3"), t("0e-99"), t("Infinity")},
       {f(1e39), f(1e-46), t("1e39"), t("0x10"), t("inf"), t("nan"), t(" 1"), t(".5"), t(""), b(true)}},
      {"double precision",
       {f(0.1), f(-0.0), f(nan), f(-nan), f(inf), f(5e-324), f(2.2250738585072014e-308), f(1.7976931348623157e308),
        i(9007199254740993), t("0.1"), t("-Infinity"), t("NaN"), t("17976931348623157e292")},
       {t("1e400"), t("1e-400"), t("179769313486231580793e289"), t("-nan"), t("1d"), t("--1")}},
      {"text", texts, {bytes("x")}},
      {"varchar(4)", texts, {}},
      {"char(4)", texts, {}},
      {"shorter", with(texts, {t("no")}), {}},
      {"bytea",
       {bytes({"\0\1\xff\\", 4}), bytes(""), t("abc"), t(""), i(5), b(true), bytes(long_text)},
       {t("\\x00"), t("a\\"), t("ä")}},
      {"numeric", decimals, {t("1e1001"), t("+1"), t(" 1"), t(""), t("1_000"), t("0x10"), t("nan"), t("inf"), b(true)}},
      {"numeric(10,2)", with(decimals, {t("99999999.994"), t("99999999.995"), t("0.005"), t("-0.015"), t("0.004999999")}), {}},
      {"numeric(3,-2)", with(decimals, {t("99949"), t("99950"), t("50")}), {}},
      {"numeric(3,5)", with(decimals, {t("0.00999"), t("0.009999")}), {}},
      {"cents", with(decimals, {t("1.005")}), {}},
      {"date",
       {t("0001-01-01"), t("9999-12-31"), t("2024-02-29"), t("1900-03-01"), t("1969-12-31"), t("infinity"), t("-infinity")},
       {t("0044-03-15 BC"), t("10000-01-01"), t("2023-02-29"), t("0000-01-01"), t("2024-1-1"), t("2024-13-01"),
        t("2024-02-29T00:00:00Z"), t("20240229"), i(20240229), t("Infinity")}},
      {"timestamp", with(moments, {t("2024-01-01"), t("2024-01-01 10:00:00"), t("2024-01-01T10:00:00.000001")}), odd_moments},
      {"timestamp(3)", with(moments, {t("2024-01-01 10:00:00.0005"), t("1960-01-01 10:00:00.0015")}), {}},
      {"timestamptz", moments, with(odd_moments, {t("2024-01-01"), t("2024-01-01 10:00:00")})},
      {"timestamptz(0)", with(moments, {t("2024-12-31T23:59:59.5Z"), t("2024-12-31T23:59:58.5Z")}), {}},
      {"uuid",
       {t("123e4567-e89b-12d3-a456-426614174000"), t("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF")},
       {t("{123e4567-e89b-12d3-a456-426614174000}"), t("123e4567e89b12d3a456426614174000"),
        t("x23e4567-e89b-12d3-a456-426614174000"), i(1)}},
      {"json",
       {t("{\"a\": [1, 2.50, \"\\u00e4\"]}"), t(" 1 "), t("{"), t(""), i(5), b(true), f(nan), t("\"\\ud800\"")},
       {bytes("1")}},
      {"jsonb",
       {t("{\"b\":1, \"a\": [1.50, null, \"ä\"]}"), t("\"\\u0000\""), t("{"), t(""), i(5), b(false), f(1e20), f(inf),
        t("1e999999")},
       {}},
      {"mood",
       {t("sad"), t("ganz glücklich"), b(true), t("Sad"), t(""), t(std::string_view(long_text).substr(0, 100))},
       {bytes("ok")}},
      {"interval", {}, {t("1 day")}},
      {"integer[]", {}, {t("{1}")}},
  };
  std::size_t rejected = 0, same = 0;
  for (const auto& c : all) {
    pair_of_tables tables(database, c.type);
    tables.client.query("SET timezone = 'Asia/Kathmandu'; SET datestyle = 'SQL, DMY'");
    for (std::size_t at = 0; at < c.taken.size(); ++at) {
      const auto& value = c.taken[at];
      copy_text shown;
      shown.cell(value, boolean_text::word);
      const auto name = std::string(c.type) + ": " + std::string(shown.view().substr(0, 60));
      if (!tables.add(value)) {
        BOOST_ERROR(name << " was declined");
        continue;
      }
      const auto outcome = tables.outcome();
      tables.count = 0;
      BOOST_CHECK_MESSAGE(outcome == "same" || outcome.starts_with("rejected "), name << ": " << outcome);
      ++(outcome == "same" ? same : rejected);
    }
    for (const auto& value : c.declined) BOOST_CHECK_MESSAGE(!tables.add(value), c.type << ": " << value.view() << " was taken");
  }
  BOOST_TEST(same > 250u); // the comparison is of values, not of errors
  BOOST_TEST(rejected > 20u);
}

BOOST_AUTO_TEST_CASE(random_numbers_and_moments_are_stored_as_their_text_is) {
  auto random = seeded();
  const auto below = [&](std::uint64_t n) { return random() % n; };
  const auto digits = [&](std::size_t n) {
    std::string out;
    const bool sparse = below(3) == 0; // runs of zeros, whole groups of them
    while (out.size() < n) out += sparse && below(4) ? '0' : static_cast<char>('0' + below(10));
    return out;
  };
  std::deque<std::string> texts;
  const auto say = [&](std::string v) { return t(texts.emplace_back(std::move(v))); };
  const auto decimal = [&] {
    auto out = std::string(below(2) ? "-" : "") + digits(below(30) + 1);
    if (below(4)) out += "." + digits(below(25));
    if (below(6) == 0) out += (below(2) ? "e-" : "E") + std::to_string(below(60));
    return out;
  };
  const auto moment = [&](bool zone) {
    char out[80];
    std::snprintf(out, sizeof out, "%04u-%02u-%02u%c%02u:%02u:%02u", static_cast<unsigned>(below(9999) + 1),
                  static_cast<unsigned>(below(12) + 1), static_cast<unsigned>(below(28) + 1), below(2) ? 'T' : ' ',
                  static_cast<unsigned>(below(24)), static_cast<unsigned>(below(60)), static_cast<unsigned>(below(60)));
    std::string text = out;
    if (below(3)) text += "." + digits(below(6) + 1);
    if (const auto kind = below(zone ? 3 : 4); kind == 0) {
      text += "Z";
    } else if (kind < 3) {
      text += (below(2) ? "+" : "-") + std::string(1, static_cast<char>('0' + below(2))) + std::to_string(below(5));
      if (kind == 2) text += ":" + std::to_string(below(50) + 10);
    }
    return text;
  };
  for (const auto* type : {"numeric", "numeric(40,3)", "double precision", "real", "bigint", "date", "timestamp", "timestamp(2)",
                           "timestamptz", "timestamptz(4)"}) {
    pair_of_tables tables(database, type);
    const std::string_view name = type;
    std::size_t taken = 0;
    constexpr int tries = 4000;
    for (int k = 0; k < tries; ++k) {
      cell value;
      if (name == "numeric(40,3)") {
        value = say((below(2) ? "-" : "") + digits(below(37) + 1) + "." + digits(below(9)));
      } else if (name == "numeric") {
        value = say(decimal());
      } else if (name == "bigint") {
        value = i(static_cast<std::int64_t>(random() >> below(64)) * (below(2) ? 1 : -1));
      } else if (name == "real" || name == "double precision") {
        const auto bits = random();
        value = f(below(2) ? std::bit_cast<double>(bits)
                           : static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(bits))));
        if (below(4) == 0) value = say(decimal());
      } else {
        auto text = moment(name.starts_with("timestamptz"));
        value = say(name == "date" ? text.substr(0, 10) : text);
      }
      taken += tables.add(value);
    }
    BOOST_TEST(taken > tries / 3, type << ": " << taken << " were not left to text");
    BOOST_TEST(tables.outcome() == "same", type);
  }
}

BOOST_AUTO_TEST_CASE(what_is_taken_of_texts_that_are_nearly_values_is_what_the_server_takes) {
  auto random = seeded();
  constexpr std::string_view bytes = "0123456789.-+eE:TZ \\xaf", seeds[] = {"2024-02-29T12:34:56.123456+05:30",
                                                                            "2023-02-28 23:59:59",
                                                                            "-123456.789e-20",
                                                                            "123e4567-e89b-12d3-a456-426614174000",
                                                                            "-Infinity",
                                                                            "infinity",
                                                                            "NaN",
                                                                            "true",
                                                                            "-32768",
                                                                            "2024-12-31"};
  for (const auto* type : {"boolean", "smallint", "bigint", "real", "double precision", "numeric", "date", "timestamp",
                           "timestamptz", "uuid", "bytea"}) {
    pair_of_tables tables(database, type);
    for (int k = 0; k < 30000; ++k) {
      std::string value(seeds[random() % std::size(seeds)]);
      for (auto edits = random() % 4; edits > 0; --edits) {
        const auto at = random() % (value.size() + 1);
        const char c = bytes[random() % bytes.size()];
        if (const auto kind = random() % 4; kind == 0 && at < value.size())
          value[at] = c;
        else if (kind == 1)
          value.insert(at, 1, c);
        else if (kind == 2)
          value.resize(at);
        else
          value.erase(at, 1);
      }
      tables.add(t(value)); // copied by both
    }
    BOOST_TEST(tables.count > 100, type << ": " << tables.count);
    BOOST_TEST(tables.outcome() == "same", type);
  }
}

BOOST_AUTO_TEST_SUITE_END()
