// Addresses and settings, providers and what they need, and the policy that follows.
#include "store/s3/options.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "store/s3/policy.h"

namespace varve::store::s3 {
namespace {

Result<Options> read(const std::string& address, std::map<std::string, std::string> env = {}) {
  auto place = parse_place(address);
  if (!place) return fail(std::move(place).error());
  TRY_OK(place->settings.check(s3_settings()));
  const Environment environment = [env = std::move(env)](std::string_view name) {
    const auto at = env.find(std::string(name));
    return at == env.end() ? std::string() : at->second;
  };
  return read_options(*place, environment, Profiles{});
}

TEST(S3Options, AmazonNeedsNothing) {
  const auto o = read("s3://backups/prod/db");
  ASSERT_TRUE(o) << o.error().describe();
  EXPECT_EQ(o->bucket, "backups");
  EXPECT_EQ(o->prefix, "prod/db/");
  EXPECT_EQ(o->region, "us-east-1");
  EXPECT_EQ(o->quirks.name, "aws");
  EXPECT_TRUE(o->quirks.create_only && o->quirks.checksums && o->quirks.batch_delete);
  EXPECT_FALSE(o->path_style);
  EXPECT_TRUE(o->endpoint.tls);
  EXPECT_EQ(read("s3://backups")->prefix, "");
}

TEST(S3Options, TheRegionIsFound) {
  EXPECT_EQ(read("s3://b-1?region=eu-west-1", {{"AWS_REGION", "x"}})->region, "eu-west-1");
  EXPECT_EQ(read("s3://b-1", {{"AWS_REGION", "x"}, {"AWS_DEFAULT_REGION", "y"}})->region, "x");
  EXPECT_EQ(read("s3://b-1", {{"AWS_DEFAULT_REGION", "y"}})->region, "y");
  EXPECT_EQ(read("s3://b-1?endpoint=https://s3.us-west-004.backblazeb2.com", {{"AWS_REGION", "x"}})->region,
            "us-west-004");
  EXPECT_EQ(read("s3://b-1?endpoint=https://s3.gra.io.cloud.ovh.net")->region, "gra");
  EXPECT_EQ(read("s3://b-1?endpoint=https://s3.dualstack.eu-west-1.amazonaws.com")->region, "eu-west-1");
  EXPECT_EQ(read("s3://b-1?endpoint=https://a1.r2.cloudflarestorage.com", {{"AWS_REGION", "x"}})->region,
            "auto");
  EXPECT_EQ(read("s3://b-1?endpoint=http://10.0.0.1:9000&provider=minio")->region, "us-east-1");
  EXPECT_EQ(read("s3://b-1?endpoint=https://s3.fr-par.scw.cloud")->region, "fr-par");
  for (const char* bad : {"a/b", "a.b", "A", "-a", "a:1", "a%0a"})
    EXPECT_EQ(read(std::string("s3://b-1?region=") + bad).error().code, Code::kUsage) << bad;
}

TEST(S3Options, ProvidersAreToldByTheirHosts) {
  const auto provider = [](const std::string& endpoint) {
    return std::string(read("s3://b-1?endpoint=" + endpoint)->quirks.name);
  };
  EXPECT_EQ(provider("https://s3.eu-central-1.wasabisys.com"), "wasabi");
  EXPECT_EQ(provider("https://storage.googleapis.com"), "gcs");
  EXPECT_EQ(provider("https://S3.EU-west-1.AmazonAWS.com/"), "aws");
  EXPECT_EQ(provider("https://s3.cn-north-1.amazonaws.com.cn"), "aws");
  EXPECT_EQ(provider("https://amazonaws.com.evil.example"), "other");
  EXPECT_EQ(provider("https://notamazonaws.com"), "other");
  EXPECT_EQ(provider("https://minio.example.org:9000"), "other");
  EXPECT_EQ(read("s3://b-1?endpoint=https://m.example.org&provider=minio")->quirks.name, "minio");
  const auto unknown = read("s3://b-1?endpoint=https://m.example.org&provider=minoi");
  EXPECT_NE(unknown.error().hint.find("minio, ceph"), std::string::npos) << unknown.error().hint;
  EXPECT_EQ(read("s3://b-1?provider=b2").error().code, Code::kUsage) << "needs an endpoint";
  for (const Quirks& q : all_quirks()) EXPECT_TRUE(quirks_of(q.name, "")) << q.name;
}

TEST(S3Options, TheBucketStandsInTheHostWhereItFits) {
  EXPECT_FALSE(read("s3://b-1?endpoint=https://s3.eu-west-1.amazonaws.com")->path_style);
  EXPECT_TRUE(read("s3://a.b.c")->path_style) << "no certificate for *.host covers dots";
  EXPECT_TRUE(read("s3://Capital")->path_style);
  EXPECT_TRUE(read("s3://b-1?path_style=true")->path_style);
  for (const char* host : {"http://127.0.0.1:7480", "http://localhost:9000", "https://minio:9000",
                           "https://%5B::1%5D:9000", "https://s3.example.org"})
    EXPECT_TRUE(read(std::string("s3://b-1?endpoint=") + host)->path_style) << host;
  EXPECT_FALSE(read("s3://b-1?endpoint=https://s3.example.org&path_style=false")->path_style);
  EXPECT_TRUE(read("s3://b-1?endpoint=http://127.0.0.1:1&path_style=false")->path_style);
}

TEST(S3Options, Endpoints) {
  const auto plain = read("s3://b-1?endpoint=http://h.example:80/");
  EXPECT_FALSE(plain->endpoint.tls);
  EXPECT_EQ(plain->endpoint.host, "h.example") << "as the Host header has it";
  EXPECT_TRUE(read("s3://b-1?endpoint=h.example:9000")->endpoint.tls) << "http only where it is written";
  EXPECT_EQ(read("s3://b-1",
                 {{"AWS_ENDPOINT_URL_S3", "https://a.example"}, {"AWS_ENDPOINT_URL", "https://b.example"}})
                ->endpoint.host,
            "a.example");
  for (const char* bad :
       {"ftp://h", "https://", "https://h/path", "https://user@h", "https://h%20x", "https://a..b",
        "https://h?x", "http:///", "https://h:", "https://:9000", "https://h:90000", "https://h:9a"})
    EXPECT_EQ(read(std::string("s3://b-1?endpoint=") + bad).error().code, Code::kUsage) << bad;
}

TEST(S3Options, WhatCannotBeIsRefused) {
  for (const char* bad : {"s3://ab",
                          "s3://a..b",
                          "s3://-abc",
                          "s3://a_b?x=1",
                          "s3://abc/a//b",
                          "s3://abc/../x",
                          "s3://abc/a%0ab",
                          "s3://abc?sse=none",
                          "s3://abc?kms_key_id=x",
                          "s3://abc?sse=kms&kms_key_id=a%20b",
                          "s3://abc?storage_class=A%20B",
                          "s3://abc?storage_class=deep_archive",
                          "s3://abc?part_size=1MiB",
                          "s3://abc?part_size=2GiB",
                          "s3://abc?as_of=yesterday",
                          "s3://abc?object_lock_mode=strict",
                          "s3://abc?legal_hold=perhaps",
                          "s3://abc?regoin=x",
                          "s3://abc?endpoint=https://a.r2.cloudflarestorage.com&object_lock_mode=governance",
                          "s3://abc?endpoint=https://storage.googleapis.com&as_of=2026-01-01T00:00:00Z"}) {
    const auto o = read(bad);
    ASSERT_FALSE(o) << bad;
    EXPECT_EQ(o.error().code, Code::kUsage) << bad << ": " << o.error().describe();
  }
  EXPECT_EQ(read("s3://abc?storage_class=glacier_ir")->storage_class, "GLACIER_IR");
}

TEST(S3Policy, GrantsWhatIsUsedAndNoMore) {
  const auto actions = [](const std::string& address) {
    std::set<std::string> out;
    const auto policy = nlohmann::json::parse(policy_of(*read(address)));
    for (const auto& statement : policy["Statement"])
      for (const auto& action : statement["Action"]) out.insert(action.get<std::string>());
    return out;
  };
  EXPECT_EQ(actions("s3://abc?keep_versions=true"),
            (std::set<std::string>{"s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:GetObject",
                                   "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"}));
  EXPECT_TRUE(actions("s3://abc").contains("s3:DeleteObjectVersion"));
  EXPECT_TRUE(actions("s3://abc?object_lock_mode=compliance").contains("s3:PutObjectRetention"));
  EXPECT_FALSE(actions("s3://abc?as_of=2026-01-01T00:00:00Z").contains("s3:PutObject"));
  const auto json = nlohmann::json::parse(policy_of(*read("s3://abc/p?region=cn-north-1")));
  EXPECT_EQ(json["Statement"][0]["Resource"], "arn:aws-cn:s3:::abc");
  EXPECT_EQ(json["Statement"][1]["Resource"], "arn:aws-cn:s3:::abc/p/*");
}

}  // namespace
}  // namespace varve::store::s3
