// The files of profiles, as people and tools write them.
#include "store/s3/environment.h"

#include <gtest/gtest.h>
#include <map>

#include "os/file.h"

namespace varve::store::s3 {
namespace {

TEST(Ini, IsReadAsTheToolsDo) {
  const auto ini = parse_ini(
      "\xef\xbb\xbf# a comment\r\n"
      "[default]\r\n"
      "AWS_Access_Key_ID = AKID # not part of it\r\n"
      "aws_secret_access_key=a/b+c=#d\n"
      "region =\n"
      "s3 =\n"
      "  max_concurrent_requests = 20\n"
      "\tregion = nested\n"
      "; another\n"
      "[ profile   ops ]\n"
      "credential_process = /bin/x --a '#b' # c\n"
      "[profile \"with space\"]\n"
      "a = 1\n"
      "[default]\n"
      "a = 2\n"
      "a = 3");
  ASSERT_TRUE(ini) << ini.error().describe();
  EXPECT_EQ(ini->size(), 3u);
  EXPECT_EQ(ini->at("default"), (IniSection{{"aws_access_key_id", "AKID"},
                                            {"aws_secret_access_key", "a/b+c=#d"},
                                            {"region", ""},
                                            {"s3", ""},
                                            {"a", "3"}}));
  EXPECT_EQ(ini->at("profile ops").at("credential_process"), "/bin/x --a '#b' # c");
  EXPECT_EQ(ini->at("profile with space").at("a"), "1");
  EXPECT_TRUE(parse_ini("")->empty());
}

TEST(Ini, WhatCannotBeReadIsToldWithoutRepeatingIt) {
  for (const std::string text : {"[default\n", "secret\n", "a = 1\n", "[x]\nsecret\n", "[x]\n= secret\n"}) {
    const auto ini = parse_ini(text);
    ASSERT_FALSE(ini) << text;
    EXPECT_EQ(ini.error().code, Code::kUsage);
    EXPECT_EQ(ini.error().describe().find("secret"), std::string::npos);
  }
  EXPECT_FALSE(parse_ini(std::string_view("[a]\nb = \0\n", 10)));
}

class Files : public ::testing::Test {
 protected:
  void SetUp() override { dir_.emplace(std::move(*os::TempDir::create("varve-aws"))); }
  void write(const std::string& name, std::string_view text) {
    ASSERT_TRUE(os::make_directories(dir_->path() / ".aws"));
    ASSERT_TRUE(os::replace_file(dir_->path() / ".aws" / name, as_bytes(text)));
  }
  Environment env(std::map<std::string, std::string> more = {}) {
    more["HOME"] = dir_->path().native();
    return [more](std::string_view name) {
      const auto at = more.find(std::string(name));
      return at == more.end() ? std::string() : at->second;
    };
  }
  std::optional<os::TempDir> dir_;
};

TEST_F(Files, AreJoined) {
  EXPECT_FALSE(Profiles::load(env())->find("default")) << "absent files are empty";
  write("config",
        "[default]\nregion = a\n[profile default]\noutput = x\n[profile ops]\nregion = b\nk = "
        "config\n[ops]\nk=no\n");
  write("credentials", "[ops]\nk = credentials\n[only]\nx = 1\n[profile ops]\nk = no\n");
  const auto profiles = Profiles::load(env());
  ASSERT_TRUE(profiles) << profiles.error().describe();
  EXPECT_EQ(*profiles->find("default"), (IniSection{{"region", "a"}, {"output", "x"}}));
  EXPECT_EQ(*profiles->find("ops"), (IniSection{{"region", "b"}, {"k", "credentials"}}));
  EXPECT_EQ(*profiles->find("only"), (IniSection{{"x", "1"}}));
  EXPECT_FALSE(profiles->find("none"));
}

TEST_F(Files, MayLieElsewhere) {
  write("mine", "[profile x]\na = 1\n");
  const auto profiles = Profiles::load(env({{"AWS_CONFIG_FILE", "~/.aws/mine"}}));
  ASSERT_TRUE(profiles);
  EXPECT_TRUE(profiles->find("x"));
  write("config", "nothing");
  EXPECT_EQ(Profiles::load(env()).error().code, Code::kUsage);
  write("config", std::string((1 << 20) + 1, '#'));
  EXPECT_FALSE(Profiles::load(env())) << "bounded";
}

}  // namespace
}  // namespace varve::store::s3
