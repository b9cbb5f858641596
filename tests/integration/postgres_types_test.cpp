// Every type with its edge values: as the snapshot copies it, as the stream brings it, and as a replay into new tables gives it.

#include "tests/integration/support/postgres.hpp"

namespace millrace::testing {
namespace {

struct typed_column {
  const char* name;
  const char* type;
  std::vector<const char*> values; ///< SQL; a row takes the one of its number, or NULL
};

const std::vector<typed_column>& columns() {
  static const std::vector<typed_column> all = {
      {"c_bool", "boolean", {"true", "false"}},
      {"c_int2", "smallint", {"-32768", "32767"}},
      {"c_int4", "integer", {"-2147483648", "2147483647"}},
      {"c_int8", "bigint", {"-9223372036854775808", "9223372036854775807"}},
      {"c_oid", "oid", {"0", "4294967295"}},
      {"c_numeric", "numeric", {"'NaN'", "'Infinity'", "'-Infinity'", "1e130", "-0.000000000000000000000000000000000001"}},
      {"c_numeric_10_2", "numeric(10,2)", {"12345678.90", "-0.01", "0.00"}},
      {"c_real", "real", {"'NaN'", "'Infinity'", "3.4028235e38", "1e-45", "0.1"}},
      {"c_double", "double precision", {"'NaN'", "'-Infinity'", "1.7976931348623157e308", "5e-324", "'-0'"}},
      {"c_money", "money", {"'-92233720368547758.08'", "12.34"}},
      {"c_text", "text", {"''", R"(E'a\tb\nc\\d\re\\N')", "'Größe ''x'' \"y\" 漢字 😀'", "repeat('long', 5000)", R"('\.')"}},
      {"c_varchar", "character varying(10)", {"'0123456789'", "''"}},
      {"c_char", "character(5)", {"'ab'", "''"}},
      {"c_name", "name", {"'a name'"}},
      {"c_bytea", "bytea", {R"('\x')", R"('\x00ff5c0a')", "decode(repeat('ab', 3000), 'hex')"}},
      {"c_date", "date", {"'infinity'", "'-infinity'", "'0044-03-15 BC'", "'5874897-12-31'", "'2024-02-29'"}},
      {"c_time", "time without time zone", {"'24:00:00'", "'00:00:00.000001'"}},
      {"c_timetz", "time with time zone", {"'12:00:00+15:59'", "'23:59:59.999999-08'"}},
      {"c_timestamp",
       "timestamp without time zone",
       {"'infinity'", "'4713-01-01 00:00:00 BC'", "'294276-12-31 23:59:59.999999'", "'2024-01-01 12:00:00.5'"}},
      {"c_timestamptz",
       "timestamp with time zone",
       {"'-infinity'", "'0001-01-01 00:00:00+00 BC'", "'294276-12-31 23:59:59+00'", "'2024-06-01 12:00:00.123456+05:30'"}},
      {"c_interval", "interval", {"'-178000000 years'", "'1 year 2 mons -3 days 04:05:06.789'", "'0'"}},
      {"c_uuid", "uuid", {"'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"}},
      {"c_json", "json", {R"('{"b" : 1, "a":[1.50, null], "b":2}')", "'null'", "'\"text\"'"}},
      {"c_jsonb", "jsonb", {R"('{"b": 1, "a": [1.50, null], "ü": "\u0001"}')", "'7'"}},
      {"c_xml", "xml", {"'<a b=\"c\">d</a>'"}},
      {"c_inet", "inet", {"'192.168.0.1/24'", "'::1'"}},
      {"c_cidr", "cidr", {"'10.0.0.0/8'"}},
      {"c_macaddr", "macaddr", {"'08:00:2b:01:02:03'"}},
      {"c_macaddr8", "macaddr8", {"'08:00:2b:01:02:03:04:05'"}},
      {"c_bit", "bit(3)", {"B'101'"}},
      {"c_varbit", "bit varying(5)", {"B''", "B'10101'"}},
      {"c_tsvector", "tsvector", {"'a:1A fat:2B,4C cat:5'", "''"}},
      {"c_tsquery", "tsquery", {"'fat & (rat | cat)'"}},
      {"c_point", "point", {"'(1.5,-2)'"}},
      {"c_box", "box", {"'(1,1),(0,0)'"}},
      {"c_path", "path", {"'[(0,0),(1,1)]'"}},
      {"c_circle", "circle", {"'<(0,0),2>'"}},
      {"c_int4range", "int4range", {"'[1,5)'", "'empty'", "'(,)'"}},
      {"c_tstzrange", "tstzrange", {"'[2024-01-01 00:00:00+00,)'"}},
      {"c_multirange", "int4multirange", {"'{[1,3),[5,7)}'", "'{}'"}},
      {"c_int_array", "integer[]", {"'{}'", "'{1,NULL,-3}'", "'{{1,2},{3,4}}'", "'[0:1]={7,8}'"}},
      {"c_text_array", "text[]", {R"('{"a,b","c\"d",NULL,"NULL",""}')"}},
      {"c_pg_lsn", "pg_lsn", {"'16/B374D848'"}},
      {"c_mood", "mood", {"'very happy'", "'sad'"}},
      {"c_pair", "pair", {"ROW(1, 'a \"b\", c')::pair", "ROW(NULL, NULL)::pair"}},
      {"c_amount", "amount", {"12.34"}},
      {"c_moods", "mood[]", {"'{sad,\"very happy\"}'"}},
      {"c_hstore", "hstore", {R"('a=>1, "b c"=>NULL')", "''"}},
  };
  return all;
}

const char* own_types = "CREATE TYPE mood AS ENUM ('sad', 'very happy'); CREATE TYPE pair AS (a int, b text);"
                        "CREATE DOMAIN amount AS numeric(10,2) CHECK (VALUE > 0); CREATE EXTENSION hstore";

std::string create_table() {
  std::string sql = "CREATE TABLE everything(id int PRIMARY KEY";
  for (const auto& c : columns()) sql += std::string(", ") + c.name + " " + c.type;
  return sql + ", doubled int GENERATED ALWAYS AS (id * 2) STORED)";
}
/// Rows first .. first + 5, the last without any value.
std::string insert(int first) {
  std::string sql;
  for (std::size_t row = 0; row < 6; ++row) {
    std::string names = "id", values = std::to_string(first + static_cast<int>(row));
    for (const auto& c : columns()) {
      names += std::string(", ") + c.name;
      values += std::string(", ") + (row < 5 ? c.values[row % c.values.size()] : "NULL");
    }
    sql += "INSERT INTO everything(" + names + ") VALUES (" + values + "); ";
  }
  return sql;
}
struct types_node : postgres_node {
  /// The first column that differs, so that a failure is short.
  void same_values(const std::string& table = "everything") {
    dst_becomes("SELECT count(*) FROM " + table, src("SELECT count(*) FROM everything"));
    for (const auto& c : columns()) {
      const auto text = std::string("SELECT id, ") + c.name + "::text FROM ";
      const auto expected = src(text + "everything ORDER BY id");
      if (!becomes([&] { return dst_or_why(text + table + " ORDER BY id") == expected; }, seconds{5}))
        BOOST_ERROR(c.name << " in " << table << ": expected\n"
                           << expected << "\nfound\n"
                           << dst_or_why(text + table + " ORDER BY id"));
    }
  }
};
} // namespace

BOOST_FIXTURE_TEST_SUITE(postgres_types, types_node)

BOOST_AUTO_TEST_CASE(every_value_is_equal_after_snapshot_stream_and_replay) {
  src(own_types);
  dst(own_types);
  src(create_table());
  src(insert(1));
  apply("[everything]");
  same_values(); // copied
  src(insert(101));
  same_values(); // streamed
  src("UPDATE everything SET id = id + 1000 WHERE id > 103; UPDATE everything SET c_int4 = 7; DELETE FROM everything WHERE id = "
      "2");
  same_values();
  BOOST_TEST(node.dead_letters("p").dump() == "[]");
  // The types are the source's own.
  const std::string types =
      "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'everything'::regclass "
      "AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attname";
  BOOST_TEST(dst(types) == src(types));
  // A load that comes later replays the log into tables of its own.
  const auto two = spec("[everything]") + "  - { name: again, destination: { type: postgres, connection: \"" +
                   server.conninfo("dst") + "\", table: replayed } }\n";
  node.apply("p", two);
  same_values("replayed");
  BOOST_TEST(node.dead_letters("p").dump() == "[]");
}

BOOST_AUTO_TEST_CASE(types_that_the_destination_does_not_know_arrive_as_text) {
  src(own_types);
  src(create_table());
  src(insert(1));
  apply("[everything]");
  same_values();
  BOOST_TEST(dst("SELECT pg_typeof(c_mood), pg_typeof(c_hstore), pg_typeof(c_int8) FROM everything LIMIT 1") ==
             "text|text|bigint");
}

BOOST_AUTO_TEST_CASE(replica_identity_full_and_a_key_of_another_index_work) {
  src("CREATE TABLE plain(id int, v text); ALTER TABLE plain REPLICA IDENTITY FULL;"
      "CREATE TABLE coded(code text NOT NULL, v text); CREATE UNIQUE INDEX coded_key ON coded(code);"
      "ALTER TABLE coded REPLICA IDENTITY USING INDEX coded_key;"
      "INSERT INTO plain VALUES (1, 'a'), (2, 'b'); INSERT INTO coded VALUES ('x', '1'), ('y', '2')");
  apply("[plain, coded]", "", "tables: [ { name: plain, key: [id] }, coded ]");
  equal("SELECT * FROM plain ORDER BY id");
  src("UPDATE plain SET id = 3, v = 'c' WHERE id = 1; DELETE FROM plain WHERE id = 2;"
      "UPDATE coded SET code = 'z' WHERE code = 'x'; DELETE FROM coded WHERE code = 'y'");
  equal("SELECT * FROM plain ORDER BY id");
  equal("SELECT * FROM coded ORDER BY code");
}

BOOST_AUTO_TEST_CASE(a_partitioned_table_arrives_as_one) {
  src("CREATE TABLE parts(id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);"
      "CREATE TABLE parts_23 PARTITION OF parts FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');"
      "CREATE TABLE parts_24 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');"
      "INSERT INTO parts SELECT i, '2023-06-01'::date + i FROM generate_series(1, 400) i");
  apply("[parts]");
  equal("SELECT count(*), min(day), max(day) FROM parts");
  src("UPDATE parts SET day = day + 200 WHERE id < 50; DELETE FROM parts WHERE id > 390; INSERT INTO parts VALUES (500, "
      "'2024-12-31')");
  equal("SELECT count(*), min(day), max(day), sum(id) FROM parts");
  equal("SELECT * FROM parts ORDER BY id");
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
