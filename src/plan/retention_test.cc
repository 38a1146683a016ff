#include "plan/retention.h"

#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <set>

namespace varve::plan {
namespace {

using std::chrono::hours;
using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;

Timestamp at(const std::string& text) {
  return parse_rfc3339(text).value();
}

std::vector<Candidate> candidates(const std::vector<std::string>& moments) {
  std::vector<Candidate> out;
  for (const auto& m : moments) out.push_back({m, at(m)});
  return out;
}

std::vector<std::string> kept(const std::vector<Decision>& decisions) {
  std::vector<std::string> out;
  for (const auto& d : decisions)
    if (d.keep) out.push_back(d.id);
  return out;
}

const Decision& of(const std::vector<Decision>& decisions, const std::string& id) {
  return *std::find_if(decisions.begin(), decisions.end(), [&](const Decision& d) { return d.id == id; });
}

TEST(Retention, EmptyKeepsEverything) {
  const auto all = candidates({"2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"});
  EXPECT_EQ(kept(decide(all, {}, at("2030-01-01T00:00:00Z"))).size(), 2u);
}

TEST(Retention, NoCandidates) {
  EXPECT_THAT(decide({}, {.last = 3, .window = hours(1)}, at("2026-01-01T00:00:00Z")), IsEmpty());
}

TEST(Retention, LastCountsFromTheNewest) {
  const auto all = candidates({"2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z", "2026-11-03T00:00:00Z"});
  const auto decisions = decide(all, {.last = 2}, at("2026-11-03T00:00:00Z"));
  EXPECT_THAT(kept(decisions), ElementsAre("2026-11-02T00:00:00Z", "2026-11-03T00:00:00Z"));
  EXPECT_THAT(decisions[0].reasons, IsEmpty());
  EXPECT_THAT(decisions[2].reasons, ElementsAre("newest", "last"));
}

TEST(Retention, DaysAreUtcAndTheNewestOfADayStandsForIt) {
  const auto all = candidates({"2026-11-22T23:59:59.999999Z", "2026-11-23T00:00:00Z", "2026-11-23T12:00:00Z",
                               "2026-11-23T23:59:59Z", "2026-11-24T00:00:01Z"});
  const auto decisions = decide(all, {.daily = 3}, at("2026-11-24T00:00:02Z"));
  EXPECT_THAT(kept(decisions),
              ElementsAre("2026-11-22T23:59:59.999999Z", "2026-11-23T23:59:59Z", "2026-11-24T00:00:01Z"));
  EXPECT_THAT(of(decisions, "2026-11-23T23:59:59Z").reasons, ElementsAre("daily 2026-11-23"));
}

TEST(Retention, DaysWithoutBackupsDoNotCount) {
  const auto all = candidates({"2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-11-23T00:00:00Z"});
  EXPECT_EQ(kept(decide(all, {.daily = 3}, at("2026-11-24T00:00:00Z"))).size(), 3u);
}

// 2026 has 53 ISO weeks; 2025-12-29 (Monday) already belongs to 2026-W01, and 2027-01-03 (Sunday) still to
// 2026-W53.
TEST(Retention, IsoWeeksAtTheBordersOfTheYear) {
  const auto all = candidates({"2025-12-28T23:59:59Z", "2025-12-29T00:00:00Z", "2026-01-04T23:59:59Z",
                               "2026-12-31T10:00:00Z", "2027-01-03T23:59:59Z", "2027-01-04T00:00:00Z"});
  const auto decisions = decide(all, {.weekly = 10}, at("2027-01-05T00:00:00Z"));
  EXPECT_THAT(kept(decisions), ElementsAre("2025-12-28T23:59:59Z", "2026-01-04T23:59:59Z",
                                           "2027-01-03T23:59:59Z", "2027-01-04T00:00:00Z"));
  EXPECT_THAT(of(decisions, "2025-12-28T23:59:59Z").reasons, Contains("weekly 2025-W52"));
  EXPECT_THAT(of(decisions, "2026-01-04T23:59:59Z").reasons, Contains("weekly 2026-W01"));
  EXPECT_THAT(of(decisions, "2027-01-03T23:59:59Z").reasons, Contains("weekly 2026-W53"));
  EXPECT_THAT(of(decisions, "2027-01-04T00:00:00Z").reasons, Contains("weekly 2027-W01"));
}

TEST(Retention, MonthsAndYears) {
  const auto all = candidates({"2024-02-29T00:00:00Z", "2024-12-31T23:59:59Z", "2025-01-01T00:00:00Z",
                               "2025-01-31T00:00:00Z", "2025-02-01T00:00:00Z"});
  const auto months = decide(all, {.monthly = 2}, at("2025-02-02T00:00:00Z"));
  EXPECT_THAT(kept(months), ElementsAre("2025-01-31T00:00:00Z", "2025-02-01T00:00:00Z"));
  EXPECT_THAT(months[3].reasons, ElementsAre("monthly 2025-01"));
  const auto years = decide(all, {.yearly = 5}, at("2025-02-02T00:00:00Z"));
  EXPECT_THAT(kept(years), ElementsAre("2024-12-31T23:59:59Z", "2025-02-01T00:00:00Z"));
  EXPECT_THAT(years[1].reasons, ElementsAre("yearly 2024"));
}

TEST(Retention, WindowKeepsTheNewestBeforeIt) {
  const auto all = candidates(
      {"2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z", "2026-11-10T00:00:00Z", "2026-11-11T00:00:00Z"});
  const auto decisions = decide(all, {.window = hours(24 * 3)}, at("2026-11-12T00:00:00Z"));
  EXPECT_THAT(kept(decisions),
              ElementsAre("2026-11-02T00:00:00Z", "2026-11-10T00:00:00Z", "2026-11-11T00:00:00Z"));
}

TEST(Retention, AnEndlessWindowKeepsAll) {
  const auto all = candidates({"0001-01-01T00:00:00Z", "2026-11-02T00:00:00Z"});
  EXPECT_EQ(kept(decide(all, {.window = Seconds::max()}, at("2026-11-12T00:00:00Z"))).size(), 2u);
}

TEST(Retention, HeldIsKeptAndSaysSo) {
  auto all = candidates({"2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"});
  all[0].held = true;
  const auto decisions = decide(all, {.last = 1}, at("2026-11-12T00:00:00Z"));
  EXPECT_TRUE(decisions[0].keep);
  EXPECT_THAT(decisions[0].reasons, ElementsAre("held"));
}

TEST(Retention, AnUnreadableOneStandsForNothing) {
  auto all = candidates({"2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z", "2026-11-02T10:00:00Z"});
  all[2].readable = false;
  const auto decisions = decide(all, {.daily = 1}, at("2026-11-12T00:00:00Z"));
  EXPECT_THAT(decisions[1].reasons, ElementsAre("newest", "daily 2026-11-02"));
  EXPECT_THAT(decisions[2].reasons, ElementsAre("unreadable"));
  EXPECT_FALSE(decisions[0].keep);
}

struct Random {
  std::mt19937_64 engine;
  uint64_t below(uint64_t n) { return engine() % n; }
  Retention retention() {
    Retention r;
    r.last = static_cast<uint32_t>(below(4));
    r.daily = static_cast<uint32_t>(below(5));
    r.weekly = static_cast<uint32_t>(below(4));
    r.monthly = static_cast<uint32_t>(below(4));
    r.yearly = static_cast<uint32_t>(below(3));
    if (below(3) == 0) r.window = hours(below(24 * 40));
    return r;
  }
  std::vector<Candidate> history(Timestamp from) {
    std::vector<Candidate> out;
    Timestamp t = from;
    for (uint64_t i = 0, n = below(60); i < n; ++i) {
      t += std::chrono::minutes(below(60 * 24 * 12));
      out.push_back({std::to_string(i), t, below(20) == 0, below(15) != 0});
    }
    return out;
  }
};

TEST(RetentionProperty, TheNewestReadableAlwaysStays) {
  Random random{std::mt19937_64(7)};
  for (int round = 0; round < 2000; ++round) {
    const auto all = random.history(at("2024-12-20T00:00:00Z"));
    const auto decisions = decide(all, random.retention(), at("2027-06-01T00:00:00Z"));
    ASSERT_EQ(decisions.size(), all.size());
    for (size_t i = all.size(); i-- > 0;) {
      ASSERT_EQ(decisions[i].id, all[i].id);
      ASSERT_EQ(decisions[i].keep, !decisions[i].reasons.empty());
      if (all[i].held || !all[i].readable) {
        ASSERT_TRUE(decisions[i].keep);
      }
    }
    const auto newest = std::find_if(all.rbegin(), all.rend(), [](const Candidate& c) { return c.readable; });
    if (newest != all.rend()) {
      ASSERT_TRUE(of(decisions, newest->id).keep);
    }
  }
}

// More of anything never keeps less.
TEST(RetentionProperty, MoreRetentionKeepsNoLess) {
  Random random{std::mt19937_64(11)};
  for (int round = 0; round < 2000; ++round) {
    const auto all = random.history(at("2024-12-20T00:00:00Z"));
    const Retention less = random.retention();
    if (less.empty()) continue;
    Retention more = less;
    more.last += static_cast<uint32_t>(random.below(2));
    more.daily += static_cast<uint32_t>(random.below(3));
    more.weekly += static_cast<uint32_t>(random.below(3));
    more.monthly += static_cast<uint32_t>(random.below(3));
    more.yearly += static_cast<uint32_t>(random.below(3));
    if (more.window) *more.window += hours(random.below(100));
    const auto now = at("2026-01-01T00:00:00Z");
    const auto a = decide(all, less, now), b = decide(all, more, now);
    for (size_t i = 0; i < all.size(); ++i) {
      ASSERT_TRUE(!a[i].keep || b[i].keep);
    }
  }
}

// Applying the same retention to what it kept removes nothing more.
TEST(RetentionProperty, ASecondRunRemovesNothing) {
  Random random{std::mt19937_64(13)};
  for (int round = 0; round < 2000; ++round) {
    const auto all = random.history(at("2024-12-20T00:00:00Z"));
    const auto retention = random.retention();
    const auto now = at("2026-01-01T00:00:00Z");
    const auto first = decide(all, retention, now);
    std::vector<Candidate> left;
    for (size_t i = 0; i < all.size(); ++i)
      if (first[i].keep) left.push_back(all[i]);
    for (const auto& d : decide(left, retention, now)) ASSERT_TRUE(d.keep) << d.id;
  }
}

// Counted independently: how many days have a readable backup, and as many daily reasons as that or as asked.
TEST(RetentionProperty, AsManyDaysAsAsked) {
  Random random{std::mt19937_64(17)};
  for (int round = 0; round < 500; ++round) {
    const auto all = random.history(at("2024-12-20T00:00:00Z"));
    const auto asked = static_cast<uint32_t>(1 + random.below(20));
    std::set<int64_t> days;
    for (const auto& c : all)
      if (c.readable) days.insert(c.moment.time_since_epoch() / hours(24));
    size_t reasons = 0;
    for (const auto& d : decide(all, {.daily = asked}, at("2026-01-01T00:00:00Z")))
      for (const auto& r : d.reasons) reasons += r.starts_with("daily ");
    EXPECT_EQ(reasons, std::min<size_t>(asked, days.size()));
  }
}

}  // namespace
}  // namespace varve::plan
