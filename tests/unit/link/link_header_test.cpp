// Headers as bytes: what comes back, and what is refused.

#include "runtime/link/link_header.hpp"
#include "runtime/link/peers_file.hpp"
#include "tests/unit/link/link_support.hpp"

namespace millrace::testing {

BOOST_AUTO_TEST_SUITE(link_headers)

BOOST_AUTO_TEST_CASE(every_kind_comes_back_as_it_was) {
  std::vector<std::uint32_t> parts(max_parts, 7);
  for (const link_header& h :
       std::vector<link_header>{hello{1, 2, "cluster", "node", "target", 3, 4, 5, 6}, hello_reply{1, {}, "", "node", 2, 3, 4, 5},
                                hello_reply{0, refusal::version, "why", "node", 2, 3, 4, 5}, data{1, 2, 3, 4, parts},
                                ack{1, 2, 3}, goodbye{1, "why"}}) {
    auto back = decode(encode(h));
    BOOST_REQUIRE_MESSAGE(back, why(back));
    BOOST_TEST((back.value() == h));
    auto shifted = " " + encode(h); // no alignment is needed
    BOOST_TEST((decode(std::string_view(shifted).substr(1)).value() == h));
  }
}

BOOST_AUTO_TEST_CASE(long_texts_are_cut_when_sent) {
  auto back = decode(encode(goodbye{1, std::string(5000, 'x')}));
  BOOST_TEST(std::get<goodbye>(back.value()).reason.size() == max_text_bytes);
}

BOOST_AUTO_TEST_CASE(what_is_no_header_is_refused) {
  auto good = encode(hello{1, 1, "cluster", "node", "target", 3, 4, 5, 6});
  BOOST_TEST(!decode(""));
  BOOST_TEST(!decode("1234567"));
  BOOST_TEST(!decode(std::string(max_header_bytes + 8, '\0')));
  BOOST_TEST(!decode(good.substr(0, good.size() - 8)));
  BOOST_TEST(!decode(std::string(64, '\xff')));
  BOOST_TEST(!decode(encode(data{1, 1, 1, 1, std::vector<std::uint32_t>(max_parts + 1)})));
}

BOOST_AUTO_TEST_CASE(parts_must_be_as_announced) {
  const data d{1, 1, 1, 3, {4, 5}};
  auto check = [&](std::vector<std::size_t> sizes, std::uint64_t limit = 100) { return check_parts(d, sizes, limit); };
  BOOST_TEST(!check({3, 4, 5}).has_value());
  BOOST_TEST(!check({3, 4, 5}, 12).has_value());
  BOOST_TEST((check({3, 4, 5}, 11)->reason == bad_frame::too_large));
  BOOST_TEST((check({3, 4})->reason == bad_frame::sizes));
  BOOST_TEST((check({3, 4, 5, 0})->reason == bad_frame::sizes));
  BOOST_TEST((check({})->reason == bad_frame::sizes));
  BOOST_TEST((check({3, 5, 4})->reason == bad_frame::sizes));
}

BOOST_AUTO_TEST_CASE(key_files_are_private_and_never_overwritten) {
  temp_folder folder;
  auto keys = make_key_files(folder.path, "a");
  BOOST_REQUIRE_MESSAGE(keys, why(keys));
  BOOST_TEST((std::filesystem::status(folder.path / "a.key").permissions() == std::filesystem::perms(0600)));
  BOOST_TEST(read_file(folder.path / "a.pub") == "a " + keys.value().public_key + "\n");
  auto back = read_key_file(folder.path / "a.key");
  BOOST_REQUIRE_MESSAGE(back, why(back));
  BOOST_TEST(back.value().secret_key == keys.value().secret_key);
  BOOST_TEST(back.value().public_key == keys.value().public_key);
  auto before = read_file(folder.path / "a.key");
  auto again = make_key_files(folder.path, "a");
  BOOST_REQUIRE(!again);
  BOOST_TEST(again.error().is(storage::errc::conflict));
  // Half of a pair is kept as well.
  std::filesystem::remove(folder.path / "a.pub");
  BOOST_TEST(!make_key_files(folder.path, "a"));
  BOOST_TEST(!std::filesystem::exists(folder.path / "a.pub"));
  BOOST_TEST(read_file(folder.path / "a.key") == before);
  BOOST_TEST(make_key_files(folder.path, "../a").error().is(storage::errc::invalid));
  BOOST_TEST(make_key_files(folder.path / "none", "a").error().is(storage::errc::io_failed));
}

BOOST_AUTO_TEST_CASE(a_key_file_with_something_else_never_shows_it) {
  temp_folder folder;
  auto file = folder.path / "x.key";
  write_file(file, "# c\nsecret but short\n");
  std::filesystem::permissions(file, std::filesystem::perms(0600));
  auto r = read_key_file(file);
  BOOST_REQUIRE(!r);
  BOOST_TEST(r.error().message.find("x.key:2:") != std::string::npos);
  BOOST_TEST(r.error().message.find("secret but") == std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_peers_file_names_every_mistake) {
  temp_folder folder;
  auto a = make_key_files(folder.path, "a").value().public_key, b = make_key_files(folder.path, "b").value().public_key;
  auto good = parse_peers("# both\n\n  a " + a + "  # the first\r\nb\t" + b, "peers");
  BOOST_REQUIRE_MESSAGE(good, why(good));
  BOOST_TEST(*good.value().key_of("b") == b);
  BOOST_TEST(*good.value().node_of(a) == "a");
  auto bad = parse_peers("a\na " + a + "\na " + b + "\nb " + a + "\n-x " + b + "\nc short\nd " + b + " more\n", "peers");
  BOOST_REQUIRE(!bad);
  for (auto words : {"peers:1: expected NAME KEY", "peers:3: a second key for node 'a'; the first is in line 2",
                     "peers:4: node 'b' has the key of node 'a' in line 2", "peers:5: '-x' can be no node's name",
                     "peers:6: the key of 'c' is no public key", "peers:7: expected NAME KEY"})
    BOOST_TEST(bad.error().message.find(words) != std::string::npos, words << "\nis missing in\n" << bad.error().message);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
