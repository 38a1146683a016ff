// The places that give credentials: files, a program, and services that a test server plays.
#include "store/s3/credentials.h"

#include <gtest/gtest.h>
#include <map>

#include "net/testing_server.h"
#include "os/file.h"

namespace varve::store::s3 {
namespace {

using net::testing::Connection;
using net::testing::each;
using net::testing::Received;
using net::testing::TestServer;

constexpr const char* kJson =
    R"({"Code":"Success","AccessKeyId":"AKJSON","SecretAccessKey":"secret","Token":"token","Expiration":"2036-01-01T00:00:00Z"})";
constexpr const char* kSts =
    "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>"
    "<AccessKeyId>AKSTS</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</"
    "SessionToken>"
    "<Expiration>2036-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";
constexpr const char* kWebSts =
    "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
    "<AccessKeyId>AKWEB</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</"
    "SessionToken>"
    "<Expiration>2036-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
    "</AssumeRoleWithWebIdentityResponse>";

class CredentialsFrom : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_.emplace(std::move(*os::TempDir::create("varve-aws")));
    env_["HOME"] = dir_->path().native();
    env_["AWS_EC2_METADATA_DISABLED"] = "true";
  }
  std::string write(const std::string& name, std::string_view text) {
    EXPECT_TRUE(os::make_directories(dir_->path() / ".aws"));
    EXPECT_TRUE(os::replace_file(dir_->path() / ".aws" / name, as_bytes(text)));
    return (dir_->path() / ".aws" / name).native();
  }
  Result<FetchedCredentials> fetch(const std::string& profile = {}) {
    const auto chain = credential_chain({.env =
                                             [env = env_](std::string_view name) {
                                               const auto at = env.find(std::string(name));
                                               return at == env.end() ? std::string() : at->second;
                                             },
                                         .profile = profile,
                                         .region = "eu-west-1"});
    return chain(Context{}.with_deadline(std::chrono::seconds(20)));
  }
  std::string key(const std::string& profile = {}) {
    const auto got = fetch(profile);
    if (!got) return "<" + got.error().describe() + ">";
    return got->value.access_key + (got->value.session_token.empty() ? "" : "+") + (got->expires ? "!" : "");
  }

  std::map<std::string, std::string> env_;
  std::optional<os::TempDir> dir_;
};

TEST_F(CredentialsFrom, Nowhere) {
  const auto none = fetch();
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Code::kDenied);
  EXPECT_FALSE(none.error().hint.empty());
}

TEST_F(CredentialsFrom, TheEnvironmentBeforeTheProfile) {
  write("credentials",
        "[default]\naws_access_key_id = AKFILE\naws_secret_access_key = s\n"
        "[ops]\naws_access_key_id = AKOPS\naws_secret_access_key = s\naws_session_token = t\n");
  EXPECT_EQ(key(), "AKFILE");
  env_["AWS_PROFILE"] = "ops";
  EXPECT_EQ(key(), "AKOPS+");
  env_["AWS_ACCESS_KEY_ID"] = "AKENV";
  EXPECT_NE(key().find("one of"), std::string::npos) << "half of it is not passed over";
  env_["AWS_SECRET_ACCESS_KEY"] = "s";
  EXPECT_EQ(key(), "AKENV");
  EXPECT_EQ(key("ops"), "AKOPS+") << "asked for by name";
  EXPECT_NE(key("none").find("no profile"), std::string::npos);
  env_["AWS_SECRET_ACCESS_KEY"] = "s\nx";
  const auto broken = fetch();
  EXPECT_EQ(broken.error().code, Code::kDenied);
}

TEST_F(CredentialsFrom, AProgram) {
  const auto program = [&](const std::string& script) {
    const std::string path = write("helper.sh", "#!/bin/sh\n" + script);
    write("config", "[default]\ncredential_process = /bin/sh '" + path + "' one 'two three' $HOME\n");
    return key();
  };
  EXPECT_EQ(
      program(
          "[ \"$2\" = 'two three' ] && [ \"$3\" = '$HOME' ] && echo '{\"Version\":1,\"AccessKeyId\":\"AKP\","
          "\"SecretAccessKey\":\"s\",\"SessionToken\":\"t\",\"Expiration\":\"2036-01-01T00:00:00Z\"}'"),
      "AKP+!")
      << "no shell expands its words";
  EXPECT_EQ(program("echo '{\"Version\":1,\"AccessKeyId\":\"AKP\",\"SecretAccessKey\":\"s\"}'"), "AKP");
  EXPECT_NE(program("echo no luck >&2; exit 3").find("ended with 3: no luck"), std::string::npos);
  for (const char* bad : {"echo '{}'", "echo hello", "echo '{\"Version\":2}'", "echo '[1]'", "true",
                          "echo "
                          "'{\"Version\":1,\"AccessKeyId\":\"AKP\",\"SecretAccessKey\":\"the-secret\","
                          "\"Expiration\":\"soon\"}'"}) {
    const std::string got = program(bad);
    EXPECT_EQ(got[0], '<') << bad;
    EXPECT_EQ(got.find("the-secret"), std::string::npos);
  }
}

TEST_F(CredentialsFrom, WhatVarveDoesNotDoIsSaid) {
  write(
      "config",
      "[profile sso]\nsso_session = x\n[profile mfa]\nrole_arn = a\nsource_profile = x\nmfa_serial = m\n"
      "[profile half]\nrole_arn = a\n[profile a]\nrole_arn = r\nsource_profile = b\n"
      "[profile b]\nrole_arn = r\nsource_profile = a\n[profile far]\nrole_arn = r\nsource_profile = none\n");
  EXPECT_EQ(fetch("sso").error().code, Code::kUnsupported);
  EXPECT_EQ(fetch("mfa").error().code, Code::kUnsupported);
  EXPECT_EQ(fetch("half").error().code, Code::kDenied);
  EXPECT_NE(key("a").find("refers to itself"), std::string::npos) << key("a");
  EXPECT_NE(key("far").find("no profile \"none\""), std::string::npos) << key("far");
}

TEST_F(CredentialsFrom, AnInstance) {
  std::mutex mutex;
  std::vector<std::string> asked;
  std::atomic<int> token_status = 200, role_status = 200;
  TestServer metadata(each([&](Connection& c, Received& r) {
    {
      std::lock_guard lock(mutex);
      asked.push_back(r.method + " " + r.target);
    }
    const std::string roles = "/latest/meta-data/iam/security-credentials/";
    if (r.target == "/latest/api/token")
      c.answer(token_status,
               r.method == "PUT" && r.header("x-aws-ec2-metadata-token-ttl-seconds") ? "session" : "", "");
    else if (r.header("x-aws-ec2-metadata-token") != "session")
      c.answer(401, "");
    else if (r.target == roles)
      c.answer(role_status, "my role\n");
    else if (r.target == roles + "my%20role")
      c.answer(200, kJson);
    else
      c.answer(404, "");
  }));
  env_["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = metadata.url();
  EXPECT_NE(key().find("no credentials"), std::string::npos) << "switched off";
  EXPECT_TRUE(asked.empty());
  env_.erase("AWS_EC2_METADATA_DISABLED");
  EXPECT_EQ(key(), "AKJSON+!");
  EXPECT_EQ(asked.front(), "PUT /latest/api/token");
  role_status = 404;
  EXPECT_NE(key().find("no credentials"), std::string::npos) << "an instance without a role";
  role_status = 500;
  EXPECT_EQ(fetch().error().retry, Retry::kTransient);
  token_status = 403;
  EXPECT_NE(key().find("403"), std::string::npos) << "no falling back to version 1";
  env_["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = "http://127.0.0.1:1";
  EXPECT_NE(key().find("no credentials"), std::string::npos);
}

TEST_F(CredentialsFrom, AContainer) {
  TestServer agent(each([&](Connection& c, Received& r) {
    if (r.target != "/creds?id=1" || r.header("authorization") != "from-a-file")
      return void(c.answer(400, "{\"message\":\"no\"}"));
    c.answer(200, kJson);
  }));
  env_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = agent.url("/creds?id=1");
  EXPECT_NE(key().find("400"), std::string::npos);
  env_["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "from-the-environment";
  env_["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = write("token", "from-a-file\n");
  EXPECT_EQ(key(), "AKJSON+!");
  for (const char* far : {"http://example.org/", "http://127.0.0.1@example.org/", "http://169.254.169.254/",
                          "ftp://127.0.0.1/", "http://127.0.0.1.example.org/"}) {
    env_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = far;
    EXPECT_EQ(fetch().error().code, Code::kDenied) << far;
    EXPECT_NE(key().find("neither"), std::string::npos) << far;
  }
}

TEST_F(CredentialsFrom, ARole) {
  std::mutex mutex;
  std::vector<Received> asked;
  std::atomic<bool> refuse = false;
  TestServer sts(each([&](Connection& c, Received& r) {
    {
      std::lock_guard lock(mutex);
      asked.push_back(r);
    }
    if (refuse)
      c.answer(403,
               "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not "
               "you</Message></Error></ErrorResponse>");
    else if (r.body.find("Action=AssumeRoleWithWebIdentity&") != std::string::npos)
      c.answer(200, kWebSts);
    else
      c.answer(200, kSts);
  }));
  env_["AWS_ENDPOINT_URL_STS"] = sts.url("");
  write("config",
        "[profile role]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = base\nexternal_id = e&1\n"
        "role_session_name = me\n"
        "[profile self]\nrole_arn = arn:r\nsource_profile = self\naws_access_key_id = "
        "AKSELF\naws_secret_access_key = s\n"
        "[profile env]\nrole_arn = arn:r\ncredential_source = Environment\n"
        "[profile web]\nrole_arn = arn:r\nweb_identity_token_file = " +
            write("jwt", "a.b.c\n") + "\n");
  write("credentials", "[base]\naws_access_key_id = AKBASE\naws_secret_access_key = s\n");
  EXPECT_EQ(key("role"), "AKSTS+!");
  EXPECT_EQ(asked.back().body,
            "Action=AssumeRole&ExternalId=e%261&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx&RoleSessionName=me&"
            "Version=2011-06-15");
  EXPECT_NE(asked.back().header("authorization")->find("Credential=AKBASE/"), std::string::npos);
  EXPECT_NE(asked.back().header("authorization")->find("/eu-west-1/sts/aws4_request"), std::string::npos);
  EXPECT_EQ(key("self"), "AKSTS+!");
  EXPECT_NE(key("env").find("no credentials to assume"), std::string::npos);
  env_["AWS_ACCESS_KEY_ID"] = "AKENV";
  env_["AWS_SECRET_ACCESS_KEY"] = "s";
  EXPECT_EQ(key("env"), "AKSTS+!");
  EXPECT_EQ(key("web"), "AKWEB+!");
  EXPECT_FALSE(asked.back().header("authorization")) << "the token is the proof";
  EXPECT_NE(asked.back().body.find("WebIdentityToken=a.b.c"), std::string::npos);

  env_.erase("AWS_ACCESS_KEY_ID");
  env_.erase("AWS_SECRET_ACCESS_KEY");
  env_["AWS_ROLE_ARN"] = "arn:r";
  env_["AWS_WEB_IDENTITY_TOKEN_FILE"] = dir_->path() / ".aws/jwt";
  EXPECT_EQ(key(), "AKWEB+!");
  refuse = true;
  const auto refused = fetch();
  EXPECT_EQ(refused.error().code, Code::kDenied);
  EXPECT_NE(refused.error().describe().find("not you"), std::string::npos);
  EXPECT_EQ(refused.error().describe().find("a.b.c"), std::string::npos);
}

}  // namespace
}  // namespace varve::store::s3
