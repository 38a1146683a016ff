#include "cli/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/model.h"

namespace varve::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class CommandLineTest : public testing::Test {
 protected:
  CommandLineTest() {
    Command root = line_.root();
    root.option("--repo", repo_, "REPO", "where").environment("VARVE_TEST_REPO");
    root.flag("-q,--quiet", quiet_, "less");
    root.command("backup", "back up", "More about it.\n\nAnd more.")
        .positional("SOURCE", source_, "what")
        .option("--type", type_, "auto|full", "which")
        .option("--keep", keep_, "N", "how many")
        .option("--table", tables_, "NAME", "a table")
        .example("varve backup app.db", "one file")
        .action([this](Session&) { return ran("backup"); });
    Command log = root.command("log", "the log");
    log.command("follow", "follow it").positional("SOURCE", source_, "what", true).action([this](Session&) {
      return ran("follow");
    });
    root.command("docs", "texts").hidden().action([this](Session&) { return ran("docs"); });
  }

  Result<int> ran(const char* what) {
    ran_ = what;
    return 0;
  }
  Error error(const std::vector<std::string>& arguments) {
    auto parsed = line_.parse(arguments);
    EXPECT_FALSE(parsed.has_value());
    return parsed ? Error{} : parsed.error();
  }

  CommandLine line_{"varve", "a program", "That does things."};
  std::string repo_, source_, type_, ran_;
  std::optional<uint32_t> keep_;
  std::vector<std::string> tables_;
  bool quiet_ = false;
};

TEST_F(CommandLineTest, GlobalOptionsBeforeAndAfter) {
  auto parsed =
      line_.parse({"--repo", "r", "backup", "app.db", "-q", "--table", "a", "--table=b", "--keep", "7"});
  ASSERT_TRUE(parsed.has_value()) << parsed.error().describe();
  EXPECT_EQ(parsed->command, "backup");
  EXPECT_EQ(repo_, "r");
  EXPECT_EQ(source_, "app.db");
  EXPECT_TRUE(quiet_);
  EXPECT_EQ(keep_, 7u);
  EXPECT_THAT(tables_, ElementsAre("a", "b"));
}

TEST_F(CommandLineTest, GlobalOptionsBelowACommandOfACommand) {
  auto parsed = line_.parse({"log", "follow", "app.db", "--repo", "r"});
  ASSERT_TRUE(parsed.has_value()) << parsed.error().describe();
  EXPECT_EQ(parsed->command, "log follow");
  EXPECT_EQ(repo_, "r");
}

TEST_F(CommandLineTest, ASourceMayBeNamedLikeACommand) {
  ASSERT_TRUE(line_.parse({"backup", "log"}).has_value());
  EXPECT_EQ(source_, "log");
}

TEST_F(CommandLineTest, TheEnvironmentGivesWayToTheOption) {
  setenv("VARVE_TEST_REPO", "from-environment", 1);
  ASSERT_TRUE(line_.parse({"backup"}).has_value());
  EXPECT_EQ(repo_, "from-environment");
  unsetenv("VARVE_TEST_REPO");
}

TEST_F(CommandLineTest, TheOptionBeatsTheEnvironment) {
  setenv("VARVE_TEST_REPO", "from-environment", 1);
  ASSERT_TRUE(line_.parse({"backup", "--repo", "given"}).has_value());
  EXPECT_EQ(repo_, "given");
  unsetenv("VARVE_TEST_REPO");
}

TEST_F(CommandLineTest, UnknownCommand) {
  EXPECT_EQ(error({"bakcup", "--type", "full"}).message, "unknown command \"varve bakcup\"");
  EXPECT_EQ(error({"bakcup"}).hint, "did you mean \"varve backup\"?");
  EXPECT_THAT(error({"zzzzzzzz"}).hint, HasSubstr("commands: backup, log"));
  EXPECT_THAT(error({"zzzzzzzz"}).hint, Not(HasSubstr("docs")));
}

TEST_F(CommandLineTest, UnknownOption) {
  const Error e = error({"backup", "--tpye", "full"});
  EXPECT_EQ(e.code, Code::kUsage);
  EXPECT_EQ(e.message, "unknown option --tpye");
  EXPECT_THAT(e.hint, HasSubstr("did you mean --type?"));
  EXPECT_THAT(error({"backup", "--rpo", "x"}).hint, HasSubstr("--repo"));
}

TEST_F(CommandLineTest, WrongValues) {
  EXPECT_THAT(error({"backup", "--type", "ful"}).message, HasSubstr("\"ful\" is none of auto, full"));
  EXPECT_THAT(error({"backup", "--keep", "-1"}).message, HasSubstr("\"-1\" is not a whole number"));
  EXPECT_EQ(error({"backup", "--keep"}).message, "--keep needs a value");
  EXPECT_EQ(error({"backup", "--type", "full", "--type", "auto"}).message, "--type is given more than once");
  EXPECT_THAT(error({"backup", "a", "b"}).message, HasSubstr("does not expect \"b\""));
  EXPECT_EQ(error({"log", "follow"}).message, "varve log follow needs SOURCE");
  EXPECT_EQ(error({"log"}).message, "varve log needs a command");
  EXPECT_EQ(error({"-q"}).message, "varve needs a command");
}

TEST_F(CommandLineTest, NothingPrintsTheHelpAndIsWrong) {
  auto parsed = line_.parse({});
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->exit_code, 2);
  EXPECT_THAT(parsed->text, HasSubstr("Usage: varve"));
}

TEST_F(CommandLineTest, HelpOfACommand) {
  auto parsed = line_.parse({"backup", "--help"});
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->exit_code, 0);
  EXPECT_THAT(parsed->text, HasSubstr("varve backup: back up"));
  EXPECT_THAT(parsed->text, HasSubstr("Usage: varve backup [OPTIONS] [SOURCE]"));
  EXPECT_THAT(parsed->text, HasSubstr("--table NAME"));
  EXPECT_THAT(parsed->text, HasSubstr("(may be repeated)"));
  EXPECT_THAT(parsed->text, HasSubstr("--repo"));
  EXPECT_THAT(parsed->text, HasSubstr("# one file\n  varve backup app.db"));
}

TEST_F(CommandLineTest, HelpOfTheWhole) {
  auto parsed = line_.parse({"--help"});
  ASSERT_TRUE(parsed.has_value());
  EXPECT_THAT(parsed->text, HasSubstr("where [$VARVE_TEST_REPO]"));
  EXPECT_THAT(parsed->text, HasSubstr("log follow"));
  EXPECT_THAT(parsed->text, HasSubstr("Exit status:\n  0 "));
  EXPECT_THAT(parsed->text, Not(HasSubstr("docs")));
}

TEST_F(CommandLineTest, TheModelTellsEverythingOnce) {
  const CommandModel model = describe(line_.app());
  ASSERT_EQ(model.commands.size(), 3u);
  const CommandModel& backup = model.commands[0];
  EXPECT_EQ(backup.path, "varve backup");
  EXPECT_EQ(backup.about, "More about it.\n\nAnd more.");
  ASSERT_EQ(backup.options.size(), 3u);
  EXPECT_THAT(backup.options[0].choices(), ElementsAre("auto", "full"));
  EXPECT_TRUE(backup.options[2].repeatable);
  EXPECT_FALSE(backup.options[1].repeatable);
  EXPECT_EQ(visible_commands(model).size(), 3u);
}

TEST_F(CommandLineTest, TextsLeaveOutWhatIsHidden) {
  const CommandModel model = describe(line_.app());
  EXPECT_THAT(man_page(model, "1.0"), Not(HasSubstr("varve docs")));
  EXPECT_THAT(man_page(model, "1.0"), HasSubstr(".SS varve backup"));
  EXPECT_THAT(markdown_reference(model), HasSubstr("`--type auto\\|full`"));
  for (const char* shell : {"bash", "zsh", "fish"}) {
    auto script = completion_script(model, shell);
    ASSERT_TRUE(script.has_value());
    EXPECT_THAT(*script, HasSubstr("auto full"));
    EXPECT_THAT(*script, Not(HasSubstr("docs")));
  }
  EXPECT_EQ(completion_script(model, "tcsh").error().code, Code::kUsage);
}

}  // namespace
}  // namespace varve::cli
