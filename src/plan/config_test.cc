#include "plan/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace varve::plan {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kWhole[] = R"([repository.main]
url = "file:///srv/backups"
passphrase_file = "key"
limit_rate = "20MiB"

[repository.plain]
url = "second"
encryption = "none"

[source.app]
engine = "sqlite"
path = "/srv/*.db"
repositories = ["main", "plain"]
plan = "gold"

[source.other]
engine = "sqlite"
path = "data/other.db"

[plan.gold]
objectives = { rpo = "5m", rto = "30m", window = "35d" }
schedule   = { full = "Sun 02:00", differential = "daily 02:00", incremental = "hourly", log = "continuous" }
retention  = { last = 2, daily = 14, weekly = 8, monthly = 12, yearly = 7 }
copies     = ["plain"]
)";

Error error_of(const std::string& text) {
  auto result = parse_configuration(text, "/etc/varve/varve.toml");
  EXPECT_FALSE(result.has_value()) << text;
  return result ? Error{} : result.error();
}

TEST(Config, Whole) {
  auto result = parse_configuration(kWhole, "/etc/varve/varve.toml");
  ASSERT_TRUE(result.has_value()) << result.error().describe();
  const Configuration& c = *result;
  EXPECT_EQ(c.path, "/etc/varve/varve.toml");
  EXPECT_EQ(c.repositories.at("main").url, "file:///srv/backups");
  EXPECT_EQ(c.repositories.at("main").encryption, "passphrase");
  EXPECT_EQ(c.repositories.at("main").passphrase_file, "/etc/varve/key");
  EXPECT_EQ(c.repositories.at("main").limit_rate.otherwise, 20u << 20);
  EXPECT_FALSE(c.repositories.at("main").retain);
  EXPECT_EQ(c.repositories.at("plain").url, "/etc/varve/second");
  EXPECT_EQ(c.sources.at("app").address, "sqlite:/srv/*.db");
  EXPECT_EQ(c.sources.at("other").address, "sqlite:/etc/varve/data/other.db");
  EXPECT_THAT(c.sources.at("app").repositories, ElementsAre("main", "plain"));
  const PlanConfig& gold = c.plans.at("gold");
  EXPECT_EQ(gold.objectives.rpo, minutes(5));
  EXPECT_EQ(gold.retention.daily, 14u);
  EXPECT_EQ(gold.retention.window, hours(24 * 35));
  EXPECT_EQ(gold.schedule.at("full"), "Sun 02:00");
  EXPECT_THAT(gold.copies, ElementsAre("plain"));
}

TEST(Config, NothingAtAll) {
  auto result = parse_configuration("", "varve.toml");
  ASSERT_TRUE(result.has_value());
  EXPECT_TRUE(result->sources.empty());
}

TEST(Config, RatesByTimeOfDayAndLocks) {
  auto result = parse_configuration(
      "[repository.main]\nurl = \"/x\"\nretain = \"30d\"\n"
      "limit_rate = { \"08:00-18:00\" = \"5MiB\", otherwise = \"50MiB\" }\n"
      "[plan.p]\nlimit_rate = { \"22:00-06:00\" = 0, otherwise = 1000 }\n[plan.q]\n",
      "varve.toml");
  ASSERT_TRUE(result.has_value()) << result.error().describe();
  const RepositoryConfig& main = result->repositories.at("main");
  EXPECT_EQ(main.retain, hours(24 * 30));
  ASSERT_EQ(main.limit_rate.spans.size(), 1u);
  EXPECT_EQ(main.limit_rate.spans[0].rate, 5u << 20);
  EXPECT_EQ(main.limit_rate.otherwise, 50u << 20);
  ASSERT_TRUE(result->plans.at("p").limit_rate);
  EXPECT_EQ(result->plans.at("p").limit_rate->otherwise, 1000u);
  EXPECT_FALSE(result->plans.at("q").limit_rate);
}

TEST(Config, AnOwnWindowOfTheRetentionWins) {
  auto result = parse_configuration(
      "[plan.p]\nobjectives = { window = \"35d\" }\nretention = { window = \"7d\" }\n", "varve.toml");
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->plans.at("p").retention.window, hours(24 * 7));
}

TEST(Config, UnknownKeyNamesLineAndNearest) {
  const Error e = error_of("[repository.main]\nurl = \"/srv\"\npasphrase_file = \"x\"\n");
  EXPECT_EQ(e.code, Code::kUsage);
  EXPECT_THAT(e.message,
              HasSubstr("/etc/varve/varve.toml:3: unknown key \"pasphrase_file\" in [repository.main]"));
  EXPECT_THAT(e.hint, HasSubstr("did you mean \"passphrase_file\"?"));
}

struct Wrong {
  const char* text;
  const char* message;
};
class ConfigWrong : public testing::TestWithParam<Wrong> {};

TEST_P(ConfigWrong, IsSaid) {
  const Error e = error_of(GetParam().text);
  EXPECT_EQ(e.code, Code::kUsage);
  EXPECT_THAT(e.message, HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    All, ConfigWrong,
    testing::Values(
        Wrong{"[repositry.main]\nurl=\"x\"\n", ":1: unknown section \"repositry\""},
        Wrong{"repository = 3\n", ":1: \"repository\" must be sections"},
        Wrong{"[repository]\nurl = \"x\"\n", ":2: \"url\" stands in [repository], which has no name"},
        Wrong{"[repository.main]\n", ":1: [repository.main] has no url"},
        Wrong{"[repository.main]\nurl = 3\n", ":2: \"url\" in [repository.main] must be text in quotes"},
        Wrong{"[repository.main]\nurl = \"/x\"\nencryption = \"rot13\"\n",
              ":3: unknown encryption \"rot13\""},
        Wrong{"[repository.main]\nurl = \"/x\"\nkey_file = \"k\"\npassphrase_file = \"p\"\n",
              "more than one way"},
        Wrong{"[repository.main]\nurl = \"/x\"\nencryption = \"none\"\nkey_file = \"k\"\n", ":4: "},
        Wrong{"[repository.main]\nurl = \"/x\"\nlimit_rate = \"fast\"\n", ":3: "},
        Wrong{"[repository.main]\nurl = \"/x\"\nlimit_rate = -1\n", ":3: "},
        Wrong{"[repository.main]\nurl = \"/x\"\nlimit_rate = { \"8-18\" = 1 }\n",
              ":3: \"8-18\" is no part of a day"},
        Wrong{"[repository.main]\nurl = \"s4://x\"\n", ":2: there is no kind of store called \"s4\""},
        Wrong{"[repository.main]\nurl = \"/x\"\nregion = \"eu\"\n", ":3: unknown key \"region\""},
        Wrong{"[repository.\"../x\"]\nurl = \"/x\"\n", ":1: \"../x\" cannot be the name of a repository"},
        Wrong{"[source.app]\npath = \"/x\"\n", ":1: [source.app] has no engine"},
        Wrong{"[source.app]\nengine = \"oracle\"\npath = \"/x\"\n", ":2: unknown engine \"oracle\""},
        Wrong{"[source.app]\nengine = \"sqlite\"\n", ":1: [source.app] has no path"},
        Wrong{"[source.app]\nengine = \"sqlite\"\npath = \"/x\"\nplan = \"gold\"\n",
              ":4: source \"app\" names the plan"},
        Wrong{"[source.app]\nengine = \"sqlite\"\npath = \"/x\"\nrepositories = [\"m\"]\n",
              ":4: source \"app\" names"},
        Wrong{"[source.app]\nengine = \"sqlite\"\npath = \"/x\"\nrepositories = [1]\n", ":4: "},
        Wrong{"[source.app]\nengine = \"sqlite\"\npath = \"/x\\u0000y\"\n", ":3: \"path\" has a zero byte"},
        Wrong{"[plan.p]\ncopies = [\"offsite\"]\n", ":2: plan \"p\" names the repository \"offsite\""},
        Wrong{"[plan.p]\ncopies = \"offsite\"\n", ":2: \"copies\" in [plan.p] must be a list"},
        Wrong{"[repository.m]\nurl = \"/x\"\n[source.app]\nengine = \"sqlite\"\npath = \"/x\"\n"
              "repositories = [\"m\"]\nplan = \"p\"\n[plan.p]\ncopies = [\"m\"]\n",
              ":7: source \"app\" is backed up to \"m\", and its plan \"p\" copies it there"},
        Wrong{"[plan.p]\nretention = { daily = -1 }\n", ":2: \"daily\" in retention of [plan.p] must be"},
        Wrong{"[plan.p]\nretention = { dayly = 1 }\n", ":2: unknown key \"dayly\""},
        Wrong{"[plan.p]\nretention = 7\n", ":2: \"retention\" in [plan.p] must be a table"},
        Wrong{"[plan.p]\nobjectives = { rpo = \"soon\" }\n", ":2: "},
        Wrong{"[plan.p]\nschedule = { full = \"Sun 25:00\" }\n",
              ":2: cannot read the schedule \"Sun 25:00\""},
        Wrong{"[plan.p]\nschedule = { full = \"continuous\" }\n", ":2: cannot read the schedule"},
        Wrong{"[plan.p]\nschedule = { fulll = \"hourly\" }\n", ":2: unknown key \"fulll\""},
        Wrong{"[plan.p\n", "/etc/varve/varve.toml:1: "}, Wrong{"a = 1\na = 2\n", "/etc/varve/varve.toml:2: "},
        Wrong{"\xff\xfe = 1\n", "/etc/varve/varve.toml:1: "}));

}  // namespace
}  // namespace varve::plan
