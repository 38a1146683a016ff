#include "base/time.h"

#include <cstdlib>
#include <ctime>
#include <gtest/gtest.h>

namespace varve {
namespace {

using namespace std::chrono_literals;
using std::chrono::microseconds;

// POSIX rules, not names: they need no database of zones on the machine.
constexpr char kBerlin[] = "CET-1CEST,M3.5.0,M10.5.0/3";

class TimeTest : public testing::Test {
 protected:
  void SetUp() override { zone(kBerlin); }
  void TearDown() override {
    unsetenv("TZ");
    tzset();
  }
  static void zone(const char* rule) {
    setenv("TZ", rule, 1);
    tzset();
  }
  static Timestamp at(std::string_view rfc) {
    auto t = parse_rfc3339(rfc);
    EXPECT_TRUE(t) << rfc;
    return t.value_or(Timestamp{});
  }
  // What parse_moment makes of a text, as RFC 3339; or its message.
  static std::string moment(std::string_view text) {
    auto t = parse_moment(text, at("2026-11-23T13:00:00.5Z"));
    return t ? to_rfc3339(*t) : t.error().message;
  }
};

TEST_F(TimeTest, Rfc3339BothWays) {
  for (const char* text : {"1970-01-01T00:00:00Z", "2026-11-23T14:32:05Z", "2026-11-23T14:32:05.123456Z",
                           "2026-11-23T14:32:05.000001Z", "1969-12-31T23:59:59.999999Z",
                           "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2024-02-29T00:00:00Z"})
    EXPECT_EQ(to_rfc3339(at(text)), text);
  EXPECT_EQ(at("1970-01-01T00:00:01Z").time_since_epoch(), 1s);
  EXPECT_EQ(at("2026-11-23 14:32:05+01:00"), at("2026-11-23T13:32:05Z"));
  EXPECT_EQ(at("2026-11-23t14:32:05z"), at("2026-11-23T14:32:05Z"));
  EXPECT_EQ(at("2026-11-23T14:32:05-0530"), at("2026-11-23T20:02:05Z"));
  EXPECT_EQ(at("2026-11-23T14:32:05+14"), at("2026-11-23T00:32:05Z"));
  EXPECT_EQ(at("2026-11-23T14:32:05-00:00"), at("2026-11-23T14:32:05Z"));
  EXPECT_EQ(at("2026-11-23T14:32:05.9999999Z"), at("2026-11-23T14:32:05.999999Z")) << "truncated";
  EXPECT_EQ(at("2026-11-23T14:32:05.1Z"), at("2026-11-23T14:32:05.100000Z"));
  EXPECT_EQ(at("2026-11-23T14:32:05,123456789Z"), at("2026-11-23T14:32:05.123456Z"));
}

TEST_F(TimeTest, Rfc3339Refused) {
  for (const char* text : {"",
                           "2026",
                           "2026-11-23",
                           "2026-11-23T14:32Z",
                           "2026-11-23T14:32:05",
                           "2026-13-01T00:00:00Z",
                           "2026-00-01T00:00:00Z",
                           "2026-02-29T00:00:00Z",
                           "2026-04-31T00:00:00Z",
                           "2026-11-23T24:00:00Z",
                           "2026-11-23T14:60:00Z",
                           "2026-11-23T14:32:60Z",
                           "2026-11-23T14:32:61Z",
                           "2026-11-23T14:32:05.Z",
                           "2026-11-23T14:32:05.1234567890Z",
                           "2026-11-23T14:32:05ZZ",
                           "2026-11-23T14:32:05+1",
                           "2026-11-23T14:32:05+24:00",
                           "2026-11-23T14:32:05+01:60",
                           "2026-11-23T14:32:05+01:",
                           "26-11-23T14:32:05Z",
                           "+2026-11-23T14:32:05Z",
                           "12026-11-23T14:32:05Z",
                           "0000-01-01T00:00:00Z",
                           "0001-01-01T00:00:00+01:00",
                           "9999-12-31T23:59:59-01:00",
                           "2026-11-23T14:32:05Z\n",
                           "2026/11/23T14:32:05Z",
                           "2026-11-23T14:32:05 EST"}) {
    auto t = parse_rfc3339(text);
    ASSERT_FALSE(t) << text;
    EXPECT_EQ(t.error().code, Code::kUsage) << text;
    EXPECT_FALSE(t.error().hint.empty()) << text;
  }
  EXPECT_NE(parse_rfc3339("2026-11-23T14:32:05").error().hint.find("+01:00"), std::string::npos);
}

TEST_F(TimeTest, ExtremesAreClampedNotGarbled) {
  EXPECT_EQ(to_rfc3339(Timestamp::max()), "9999-12-31T23:59:59.999999Z");
  EXPECT_EQ(to_rfc3339(Timestamp::min()), "0001-01-01T00:00:00Z");
  EXPECT_EQ(to_local(Timestamp::max()).substr(0, 5), "10000");
  EXPECT_EQ(to_ago(Timestamp::min(), Timestamp::max()).substr(0, 7), "3652058");
  EXPECT_EQ(to_human(microseconds::min()), "-106751991 days");
  EXPECT_TRUE(parse_moment("5 minutes ago", Timestamp::max()));
  EXPECT_FALSE(parse_moment("5 minutes ago", Timestamp::min()));
}

TEST_F(TimeTest, Local) {
  EXPECT_EQ(to_local(at("2026-11-23T14:32:05.9Z")), "2026-11-23 15:32:05 +01:00");
  EXPECT_EQ(to_local(at("2026-07-01T00:00:00Z")), "2026-07-01 02:00:00 +02:00");
  EXPECT_EQ(to_local(at("1969-12-31T23:59:59.5Z")), "1970-01-01 00:59:59 +01:00");
  zone("NST3:30");
  EXPECT_EQ(to_local(at("2026-11-23T14:32:05Z")), "2026-11-23 11:02:05 -03:30");
}

TEST_F(TimeTest, MomentsPeopleType) {
  EXPECT_EQ(moment("now"), "2026-11-23T13:00:00.500000Z");
  EXPECT_EQ(moment(" Now "), "2026-11-23T13:00:00.500000Z");
  EXPECT_EQ(moment("5 minutes ago"), "2026-11-23T12:55:00.500000Z");
  EXPECT_EQ(moment("2h ago"), "2026-11-23T11:00:00.500000Z");
  EXPECT_EQ(moment("2h  AGO"), "2026-11-23T11:00:00.500000Z");
  EXPECT_EQ(moment("an hour ago"), "2026-11-23T12:00:00.500000Z");
  EXPECT_EQ(moment("1h30m ago"), "2026-11-23T11:30:00.500000Z");
  EXPECT_EQ(moment("1 hour 30 minutes ago"), "2026-11-23T11:30:00.500000Z");
  EXPECT_EQ(moment("3 days ago"), "2026-11-20T13:00:00.500000Z");
  EXPECT_EQ(moment("yesterday 14:30"), "2026-11-22T13:30:00Z");
  EXPECT_EQ(moment("Yesterday at 14:30:05.25"), "2026-11-22T13:30:05.250000Z");
  EXPECT_EQ(moment("yesterday"), "2026-11-21T23:00:00Z");
  EXPECT_EQ(moment("today 08:00"), "2026-11-23T07:00:00Z");
  EXPECT_EQ(moment("14:32:05"), "2026-11-23T13:32:05Z");
  EXPECT_EQ(moment("14:32"), "2026-11-23T13:32:00Z");
  EXPECT_EQ(moment("2026-11-23"), "2026-11-22T23:00:00Z");
  EXPECT_EQ(moment("2026-11-23 14:32"), "2026-11-23T13:32:00Z");
  EXPECT_EQ(moment("2026-11-23T14:32:05.123456789"), "2026-11-23T13:32:05.123456Z");
  EXPECT_EQ(moment("2026-07-01 12:00"), "2026-07-01T10:00:00Z") << "summer time";
  EXPECT_EQ(moment("2026-11-23T14:32:05Z"), "2026-11-23T14:32:05Z");
  EXPECT_EQ(moment("2026-11-23 14:32 UTC"), "2026-11-23T14:32:00Z");
  EXPECT_EQ(moment("2026-11-23 15:32:05 +01:00"), "2026-11-23T14:32:05Z") << "what to_local prints";
}

TEST_F(TimeTest, LocalDayIsTheZonesDay) {
  auto t = parse_moment("00:10", at("2026-11-22T23:30:00Z"));  // already the 23rd in Berlin
  ASSERT_TRUE(t);
  EXPECT_EQ(to_rfc3339(*t), "2026-11-22T23:10:00Z");
}

TEST_F(TimeTest, ClockChangesAreNotGuessed) {
  EXPECT_NE(moment("2026-03-29 02:30").find("forward"), std::string::npos);
  EXPECT_NE(moment("2026-10-25 02:30").find("twice"), std::string::npos);
  EXPECT_EQ(moment("2026-10-25 02:30 +02:00"), "2026-10-25T00:30:00Z");
  EXPECT_EQ(moment("2026-10-25 03:00"), "2026-10-25T02:00:00Z");
  EXPECT_EQ(moment("2026-10-25 01:59:59"), "2026-10-24T23:59:59Z");
  EXPECT_EQ(moment("2026-03-29 03:00"), "2026-03-29T01:00:00Z");
}

TEST_F(TimeTest, JunkIsRefusedWithExamples) {
  for (const char* text : {"",
                           " ",
                           "soon",
                           "ago",
                           "5 ago",
                           "minutes ago",
                           "5 minutes",
                           "-5 minutes ago",
                           "5 fortnights ago",
                           "1.5h ago",
                           "99999999999999999999 s ago",
                           "9223372036854775807 years ago",
                           "5000 years ago",
                           "tomorrow",
                           "yesterday 25:00",
                           "yesterday 14",
                           "today today",
                           "14:3",
                           "1432",
                           "14:32:60",
                           "yesterday 23:59:60",
                           "14:32Z",
                           "2026-11-23T",
                           "2026-11-31",
                           "2026-1-2",
                           "23.11.2026",
                           "2026-11-23 14:32 Mars",
                           "now now",
                           "\x1b[31m",
                           "2026-11-23T14:32:05ZZ"}) {
    auto t = parse_moment(text, at("2026-11-23T13:00:00Z"));
    ASSERT_FALSE(t) << text << " gave " << to_rfc3339(*t);
    EXPECT_EQ(t.error().code, Code::kUsage) << text;
    EXPECT_NE(t.error().hint.find("5 minutes ago"), std::string::npos) << text;
    EXPECT_EQ(t.error().message.find('\x1b'), std::string::npos);
  }
}

TEST(Duration, Parse) {
  const std::pair<const char*, Seconds> good[] = {{"90s", 90s},
                                                  {"15m", 15min},
                                                  {"2h", 2h},
                                                  {"35d", 35 * 24h},
                                                  {"8w", 8 * 7 * 24h},
                                                  {"1y", 365 * 24h},
                                                  {"1h30m", 90min},
                                                  {"1 h 30 min", 90min},
                                                  {"0s", 0s},
                                                  {"1D", 24h},
                                                  {"10000y", 10000 * 365 * 24h}};
  for (auto [text, seconds] : good) {
    auto d = parse_duration(text);
    ASSERT_TRUE(d) << text;
    EXPECT_EQ(*d, seconds) << text;
  }
  for (const char* text :
       {"", "5", "s", "5x", "-5s", "+5s", "1.5h", "5s5", "1h,30m", "99999999999999999999s",
        "9223372036854775807s", "9223372036854775807y", "20000y", "400000000000s1s", "5mo"}) {
    auto d = parse_duration(text);
    ASSERT_FALSE(d) << text;
    EXPECT_EQ(d.error().code, Code::kUsage);
    EXPECT_NE(d.error().hint.find("1h30m"), std::string::npos);
  }
}

TEST(Duration, Human) {
  const std::pair<microseconds, const char*> cases[] = {{0s, "0 s"},
                                                        {1us, "1 ms"},
                                                        {350ms, "350 ms"},
                                                        {1s, "1 s"},
                                                        {1400ms, "1.4 s"},
                                                        {3s, "3 s"},
                                                        {59s, "59 s"},
                                                        {60s, "1 min"},
                                                        {245s, "4 min 5 s"},
                                                        {2h + 10min, "2 h 10 min"},
                                                        {2h + 10s, "2 h"},
                                                        {24h, "1 day"},
                                                        {3 * 24h, "3 days"},
                                                        {28h, "1 day 4 h"},
                                                        {400 * 24h + 5h, "400 days"},
                                                        {-5s, "-5 s"}};
  for (auto [d, text] : cases) EXPECT_EQ(to_human(d), text);
}

TEST(Duration, Ago) {
  const Timestamp t{1'000'000s};
  EXPECT_EQ(to_ago(t, t), "now");
  EXPECT_EQ(to_ago(t - 3s, t), "3 s ago");
  EXPECT_EQ(to_ago(t - 48h, t), "2 days ago");
  EXPECT_EQ(to_ago(t + 90s, t), "in 1 min 30 s");
}

TEST(Clock, NowIsNow) {
  const auto seconds = std::chrono::floor<Seconds>(now()).time_since_epoch().count();
  EXPECT_NEAR(static_cast<double>(seconds), static_cast<double>(std::time(nullptr)), 2.0);
}

}  // namespace
}  // namespace varve
