// The room table of the style guide, as a test: dependencies point one way, and a room's libraries stay in it.

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

namespace millrace::testing {
namespace {

struct rule {
  std::string room;
  std::vector<std::string> forbidden; ///< beginnings of what stands between the quotes or angle brackets
  std::vector<std::string> forbidden_in_headers;
};

// What belongs to one room only: RocksDB and curl behind storage's .cpp files, CAF in actors (and runtime, which wires it),
// ZeroMQ in runtime. storage/rocks/ is the inside of an implementation: its headers may show RocksDB because nobody else may
// include them.
const std::string inside = "storage/rocks/";
const std::vector<rule> rules = {
    {"schemas", {"storage/", "actors/", "runtime/", "tests/", "caf/", "rocksdb/", "zmq", "sqlite3", "lua", "curl/", "libpq"}, {}},
    {"storage", {"actors/", "runtime/", "tests/", "caf/", "zmq", "libpq"}, {"rocksdb/", "curl/"}},
    {"actors", {"runtime/", "tests/", "rocksdb/", "zmq", inside}, {}},
    {"runtime", {"tests/", "libpq", inside}, {}},
};

const std::regex include_line(R"(^[ \t]*#[ \t]*include[ \t]*["<]([^">]+)[">])");

struct finding {
  std::string where, what;
};

std::vector<finding> check_text(const rule& room, const std::string& name, bool header, const std::string& text) {
  std::vector<finding> found;
  int number = 1;
  for (std::size_t at = 0; at < text.size(); ++number) {
    const auto end = std::min(text.find('\n', at), text.size());
    const auto line = text.substr(at, end - at);
    at = end + 1;
    std::smatch match;
    if (!std::regex_search(line, match, include_line)) continue;
    const auto included = match[1].str();
    const auto banned = [&](const std::vector<std::string>& list) {
      return std::any_of(list.begin(), list.end(), [&](const auto& start) { return included.starts_with(start); });
    };
    const bool dots = included.find("../") != std::string::npos; // would go round the names above
    const bool shown = header && (banned(room.forbidden_in_headers) || included.starts_with(inside)) && !name.starts_with(inside);
    if (banned(room.forbidden) || shown || dots) found.push_back({name + ":" + std::to_string(number), included});
  }
  return found;
}

std::string read(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

} // namespace

BOOST_AUTO_TEST_SUITE(rooms)

BOOST_AUTO_TEST_CASE(no_room_includes_what_the_table_forbids) {
  const std::filesystem::path root = MILLRACE_SOURCE_DIR;
  for (const auto& room : rules) {
    std::size_t files = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root / room.room)) {
      const auto extension = entry.path().extension();
      if (extension != ".hpp" && extension != ".cpp") continue;
      ++files;
      for (const auto& bad :
           check_text(room, std::filesystem::relative(entry.path(), root).string(), extension == ".hpp", read(entry.path())))
        BOOST_ERROR(bad.where << " includes " << bad.what << ", which " << room.room << "/ must not");
    }
    if (room.room != "schemas") BOOST_TEST(files > 0u, room.room << "/ has no sources: is the test looking in the right place?");
  }
}

BOOST_AUTO_TEST_CASE(a_forbidden_include_is_found) {
  const auto storage = *std::find_if(rules.begin(), rules.end(), [](const auto& r) { return r.room == "storage"; });
  BOOST_TEST(check_text(storage, "x.cpp", false, "#include <caf/all.hpp>\n").size() == 1u);
  BOOST_TEST(check_text(storage, "x.cpp", false, "  # include \"actors/node.hpp\"\n#include \"../runtime/x.hpp\"\n").size() ==
             2u);
  BOOST_TEST(check_text(storage, "x.hpp", true, "#include <rocksdb/db.h>\n#include \"storage/rocks/keys.hpp\"\n").size() == 2u);
  BOOST_TEST(check_text(storage, "storage/rocks/x.hpp", true, "#include <rocksdb/db.h>\n").size() == 0u);
  BOOST_TEST(check_text(storage, "x.cpp", false, "#include <rocksdb/db.h>\n// #include <caf/all.hpp>\n").size() == 0u);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
