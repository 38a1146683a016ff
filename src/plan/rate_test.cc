#include "plan/rate.h"

#include <cstdlib>
#include <ctime>
#include <gtest/gtest.h>

namespace varve::plan {
namespace {

RateLimit::Span span(std::string_view text, uint64_t rate) {
  auto out = parse_span(text);
  EXPECT_TRUE(out) << text;
  if (!out) return {};
  out->rate = rate;
  return *out;
}

class RateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ::setenv("TZ", "Europe/Berlin", 1);
    ::tzset();
  }
  void TearDown() override {
    ::unsetenv("TZ");
    ::tzset();
  }
  static Timestamp at(const char* text) { return *parse_rfc3339(text); }
};

TEST_F(RateTest, ByTheLocalClock) {
  const RateLimit limit{{span("08:00-18:00", 5), span("22:00-06:00", 50)}, 20};
  EXPECT_EQ(limit.at(at("2026-11-23T07:59:59+01:00")), 20u);
  EXPECT_EQ(limit.at(at("2026-11-23T08:00:00+01:00")), 5u);
  EXPECT_EQ(limit.at(at("2026-11-23T17:59:59+01:00")), 5u);
  EXPECT_EQ(limit.at(at("2026-11-23T18:00:00+01:00")), 20u);
  EXPECT_EQ(limit.at(at("2026-11-23T22:00:00+01:00")), 50u);
  EXPECT_EQ(limit.at(at("2026-11-24T05:59:00+01:00")), 50u);
  EXPECT_EQ(limit.at(at("2026-11-24T06:00:00+01:00")), 20u);
  EXPECT_EQ(limit.at(at("2026-07-24T08:00:00+02:00")), 5u) << "in summer too";
}

TEST_F(RateTest, WholeDaysAndTheDaysEnd) {
  EXPECT_EQ((RateLimit{{span("18:00-24:00", 7)}, 1}.at(at("2026-11-23T23:59:59+01:00"))), 7u);
  EXPECT_EQ((RateLimit{{span("00:00-00:00", 7)}, 1}.at(at("2026-11-23T12:00:00+01:00"))), 7u);
  EXPECT_EQ((RateLimit{{}, 9}.at(at("2026-11-23T12:00:00+01:00"))), 9u);
  EXPECT_TRUE(RateLimit{}.none());
}

TEST_F(RateTest, WhatIsNoPartOfADay) {
  for (const char* bad :
       {"", "08:00", "8:00-18:00", "08:00-18:60", "24:01-06:00", "24:00-06:00", "a-b", "08:00-18:00-20:00"}) {
    auto out = parse_span(bad);
    ASSERT_FALSE(out) << bad;
    EXPECT_EQ(out.error().code, Code::kUsage);
    EXPECT_FALSE(out.error().hint.empty());
  }
}

}  // namespace
}  // namespace varve::plan
