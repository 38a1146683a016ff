#include "store/azure/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>

#include "store/azure/testing_azure.h"

namespace varve::store::azure {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Result<Account> account(const std::map<std::string, std::string>& settings,
                        std::map<std::string, std::string> environment = {}) {
  return find_account(settings_with(settings), environment_with(std::move(environment)));
}

TEST(AzureAccount, IsFoundInOrder) {
  const std::string connection =
      "DefaultEndpointsProtocol=https;AccountName=theirs;AccountKey=a2V5;EndpointSuffix=core.chinacloudapi."
      "cn";
  EXPECT_EQ(account({{"account", "mine"}})->endpoint, "https://mine.blob.core.windows.net");
  EXPECT_EQ(account({}, {{"AZURE_STORAGE_ACCOUNT", "env"}})->name, "env");
  const auto theirs = account({}, {{"AZURE_STORAGE_CONNECTION_STRING", connection}});
  ASSERT_TRUE(theirs);
  EXPECT_EQ(theirs->name, "theirs");
  EXPECT_EQ(theirs->endpoint, "https://theirs.blob.core.chinacloudapi.cn");
  // A connection string for another account says nothing about this one.
  EXPECT_EQ(account({{"account", "mine"}}, {{"AZURE_STORAGE_CONNECTION_STRING", connection}})->endpoint,
            "https://mine.blob.core.windows.net");
  const auto emulator = account({{"endpoint", "http://127.0.0.1:10000/testacct/"}});
  ASSERT_TRUE(emulator);
  EXPECT_EQ(emulator->name, "testacct");
  EXPECT_EQ(emulator->endpoint, "http://127.0.0.1:10000/testacct");
  EXPECT_EQ(account({{"endpoint", "https://other.blob.core.usgovcloudapi.net"}})->name, "other");
  EXPECT_EQ(account({{"endpoint", "https://blobs.example.com"}, {"account", "mine"}})->name, "mine");
  EXPECT_FALSE(account({}));
}

TEST(AzureAccount, WhatIsNoneIsRefused) {
  for (const char* endpoint :
       {"ftp://host", "host", "https://", "https:///x", "https://user:word@host", "https://host?sig=secret",
        "https://host/#x", "https://ho st", "https://host\\x"}) {
    const auto refused = account({{"account", "a"}, {"endpoint", endpoint}});
    ASSERT_FALSE(refused) << endpoint;
    EXPECT_EQ(refused.error().code, Code::kUsage);
    EXPECT_THAT(refused.error().describe(), Not(HasSubstr("secret")));
  }
  EXPECT_FALSE(account({{"account", "a/b"}}));
  EXPECT_FALSE(account({{"account", "a.evil.example"}})) << "would be another host";
}

TEST(AzureConnectionString, FieldsAndMistakes) {
  const auto sas = parse_connection_string(
      "BlobEndpoint=https://acct.blob.core.windows.net;SharedAccessSignature=sv=2021&sig=abc%3D");
  ASSERT_TRUE(sas);
  EXPECT_EQ(sas->account, "acct");
  EXPECT_EQ(sas->sas, "sv=2021&sig=abc%3D");
  for (const char* wrong : {"", "AccountKey=verysecret==", "verysecret", "UseDevelopmentStorage=true"}) {
    const auto refused = parse_connection_string(wrong);
    ASSERT_FALSE(refused) << wrong;
    EXPECT_EQ(refused.error().code, Code::kUsage);
    EXPECT_THAT(refused.error().describe() + refused.error().hint, Not(HasSubstr("verysecret")));
  }
}

TEST(AzureSettings, LoopbackIsThisMachineOnly) {
  for (const char* url : {"http://127.0.0.1:1/x", "http://localhost", "http://[::1]:8/x"})
    EXPECT_TRUE(is_loopback(url)) << url;
  for (const char* url : {"http://127.0.0.1.evil.example", "http://localhost.evil.example", "http://10.0.0.1",
                          "http://x/127.0.0.1"})
    EXPECT_FALSE(is_loopback(url)) << url;
}

}  // namespace
}  // namespace varve::store::azure
