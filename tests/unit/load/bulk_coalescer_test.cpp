// The coalescer against changes applied one by one, and against its own rules.

#include "support.hpp"

#include "actors/load/bulk/coalescer.hpp"
#include "actors/load/bulk/versions.hpp"

#include <map>
#include <random>

using namespace millrace::test;
using namespace millrace::actors::load::bulk;
using enum millrace::actors::data_type;

namespace {

std::uint64_t seed() {
  const char* set = std::getenv("MILLRACE_SEED");
  const auto value = set ? std::strtoull(set, nullptr, 10) : std::random_device{}();
  BOOST_TEST_MESSAGE("MILLRACE_SEED=" << value);
  return value;
}

transform::table_layout_ptr shape() { return layout_of(0, {{"id", int64}, {"a", int64}, {"b", int64}}, {0}); }

struct kept {
  std::int64_t a = -1, b = -1, extra = 0; ///< extra: a column of the destination that no change carries
  bool deleted = false;
  friend bool operator==(const kept&, const kept&) = default;
};
using table_state = std::map<std::int64_t, kept>;

void assign(kept& k, const cell* c) {
  if (c[1].k != cell::kind::missing) k.a = c[1].k == cell::kind::null ? -1 : c[1].i;
  if (c[2].k != cell::kind::missing) k.b = c[2].k == cell::kind::null ? -1 : c[2].i;
  k.deleted = false;
}

/// As the destination's modes say, one change at a time. False: the change would be refused.
bool apply_one(table_state& t, const transform::row_set& set, const transform::row& r, bool soft) {
  const auto* c = set.cells_of(r);
  const bool complete = c[1].k != cell::kind::missing && c[2].k != cell::kind::missing;
  if (r.op == operation::remove) {
    if (!soft)
      t.erase(c[0].i);
    else if (t.contains(c[0].i))
      t[c[0].i].deleted = true;
    return true;
  }
  if (r.has_before_key) {
    const auto before = set.cells[r.before_key].i;
    if (before != c[0].i && t.contains(before)) {
      t[c[0].i] = t[before];
      t.erase(before);
      assign(t[c[0].i], c);
      return true;
    }
  }
  if (!complete && r.op != operation::insert && !t.contains(c[0].i)) return false;
  assign(t[c[0].i], c);
  return true;
}

bool apply_net(table_state& t, std::span<const net_row> rows) {
  for (const auto& n : rows) {
    const auto id = n.cells[0].i;
    switch (n.what) {
    case net_row::kind::erase:
      t.erase(id);
      continue;
    case net_row::kind::mark:
      if (t.contains(id)) t[id].deleted = true;
      continue;
    case net_row::kind::move:
      if (t.contains(n.before[0].i)) {
        t[id] = t[n.before[0].i];
        t.erase(n.before[0].i);
        break;
      }
      [[fallthrough]];
    case net_row::kind::write:
      if (n.erase_first) t.erase(id);
      if (!n.complete && !n.inserts && !t.contains(id)) return false;
    }
    assign(t[id], n.cells);
    t[id].deleted = n.deleted;
  }
  return true;
}

} // namespace

BOOST_AUTO_TEST_SUITE(bulk_coalescer)

BOOST_AUTO_TEST_CASE(random_changes_have_the_effect_of_one_by_one) {
  std::mt19937_64 random(seed());
  std::size_t cuts = 0, merged = 0, total = 0;
  for (int round = 0; round < 3000; ++round) {
    const bool soft = round % 2;
    const auto layout = shape();
    table_state one, net;
    for (std::int64_t id = 0; id < 8; ++id)
      if (random() % 2) one[id] = {id, id, 7, false};
    net = one;
    rows made(layout);
    table_state probe = one; // only what would not be refused: a refusal is found by narrowing the range
    for (int n = 0; n < 40; ++n) {
      const auto id = static_cast<std::int64_t>(random() % 8);
      const auto value = [&] { return random() % 6 == 0 ? null() : i(static_cast<std::int64_t>(random() % 1000)); };
      const auto part = [&] { return random() % 3 == 0 ? missing() : value(); };
      rows trial(layout);
      const auto kind = random() % 10;
      const auto before = static_cast<std::int64_t>(random() % 8);
      const auto a = part(), b = part(), c = value(), d = value();
      const auto put = [&](rows& to) {
        if (kind < 3)
          to.insert({i(id), c, d});
        else if (kind < 7)
          to.update({i(id), a, b});
        else if (kind < 9)
          to.remove({i(id), null(), null()});
        else
          to.move({i(before)}, {i(id), a, b});
      };
      put(trial);
      const auto set = trial.done();
      if (apply_one(probe, *set, set->rows[0], soft)) put(made);
    }
    const auto set = made.done();
    coalescer sum;
    sum.begin(*layout, {0, 1, 2}, soft);
    for (std::uint32_t n = 0; n < set->rows.size(); ++n) {
      BOOST_REQUIRE(apply_one(one, *set, set->rows[n], soft));
      ++total;
      if (sum.add(*set, set->rows[n], n)) continue;
      ++cuts;
      merged += sum.rows().size();
      BOOST_REQUIRE(apply_net(net, sum.rows()));
      sum.begin(*layout, {0, 1, 2}, soft);
      BOOST_REQUIRE_MESSAGE(sum.add(*set, set->rows[n], n), "a first change must be taken");
    }
    merged += sum.rows().size();
    BOOST_REQUIRE(apply_net(net, sum.rows()));
    BOOST_REQUIRE_MESSAGE(one == net, "round " << round << " differs");
  }
  BOOST_TEST(merged < total); // it does merge
  BOOST_TEST(cuts < total / 2);
}

BOOST_AUTO_TEST_CASE(no_two_net_rows_name_one_key) {
  const auto set = rows(shape())
                       .insert({i(1), i(1), i(1)})
                       .update({i(1), i(2), missing()})
                       .remove({i(2), null(), null()})
                       .insert({i(2), i(3), i(3)})
                       .done();
  coalescer sum;
  sum.begin(*set->layouts[0], {0, 1, 2}, false);
  for (std::uint32_t n = 0; n < 4; ++n) BOOST_TEST(sum.add(*set, set->rows[n], n));
  BOOST_REQUIRE_EQUAL(sum.rows().size(), 2u);
  BOOST_TEST(sum.rows()[0].fresh);
  BOOST_TEST(sum.rows()[0].complete);
  BOOST_TEST(sum.rows()[0].cells[1].i == 2);
  BOOST_TEST(sum.rows()[0].cells[2].i == 1);
  BOOST_TEST(sum.rows()[0].change == 1u);
  BOOST_TEST(sum.rows()[1].erase_first);
  BOOST_TEST(!sum.rows()[1].fresh);
}

BOOST_AUTO_TEST_CASE(columns_that_do_not_reach_the_destination_do_not_make_a_row_partial) {
  const auto set = rows(shape()).insert({i(1), i(1), missing()}).done();
  coalescer sum;
  sum.begin(*set->layouts[0], {0, 1}, false);
  BOOST_TEST(sum.add(*set, set->rows[0], 0));
  BOOST_TEST(sum.rows()[0].complete);
}

BOOST_AUTO_TEST_CASE(keys_of_different_kinds_or_lengths_are_different) {
  key_map map;
  std::vector<cell> keys{i(1), t("1"), t(""), null(), f(1), b(true), t("11")};
  for (std::uint32_t n = 0; n < keys.size(); ++n) map.at(key_ref::alone(&keys[n], 1)) = n;
  BOOST_TEST(map.size() == keys.size());
  for (std::uint32_t n = 0; n < keys.size(); ++n) BOOST_TEST(map.find(key_ref::alone(&keys[n], 1)) == n);
  map.clear();
  BOOST_TEST(map.find(key_ref::alone(&keys[0], 1)) == key_map::none);
}

BOOST_AUTO_TEST_CASE(versions_end_where_the_next_change_of_their_key_begins) {
  constexpr std::int64_t start = 1700000000000000;
  const auto layout = shape();
  const auto set = rows(layout, 10, start)
                       .insert({i(1), i(1), i(1)})
                       .update({i(1), i(2), missing()})
                       .move({i(1)}, {i(5), missing(), i(9)})
                       .remove({i(7), null(), null()})
                       .done();
  version_list list;
  list.begin(*layout, {0, 1, 2});
  for (std::uint32_t n = 0; n < 4; ++n) list.add(*set, set->rows[n], n);
  BOOST_REQUIRE_EQUAL(list.versions().size(), 3u);
  BOOST_TEST(list.closings().size() == 3u); // keys 1, 5 and 7 as they were before
  BOOST_TEST(list.versions()[0].to_us.has_value());
  BOOST_TEST(list.versions()[1].to_us.has_value());
  BOOST_TEST(!list.versions()[2].to_us);
  BOOST_TEST(list.versions()[1].complete);
  BOOST_TEST(list.versions()[2].complete);
  BOOST_TEST(list.versions()[2].cells[1].i == 2);
  BOOST_TEST(list.versions()[2].offset == 12u);
}

BOOST_AUTO_TEST_SUITE_END()
