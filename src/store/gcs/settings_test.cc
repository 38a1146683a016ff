// What can be set for gs:// addresses, and what is told to grant.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "store/gcs/gcs_store.h"

namespace varve::store {
namespace {

Result<gcs::Options> options(const std::string& address) {
  auto place = parse_place(address);
  if (!place) return fail(std::move(place).error());
  if (auto known = place->settings.check(gcs_settings()); !known) return fail(std::move(known).error());
  return GcsStore::read_options(*place);
}

class NoTokens : public gcs::TokenSource {
 public:
  Result<Fetched> fetch(const Context&, const std::string&) override { return fail(Code::kDenied, "none"); }
  std::string describe() const override { return "nobody"; }
};

TEST(GcsSettings, AreRead) {
  const auto all = options(
      "gs://my-bucket/a/b/?storage_class=nearline&retention=locked&keep_versions=true&user_project=p"
      "&kms_key=projects/p/locations/l/keyRings/r/cryptoKeys/k&endpoint=https://storage.example:8443/"
      "&as_of=2026-01-01T00:00:00Z&ca_file=/ca.pem");
  ASSERT_TRUE(all) << all.error().describe();
  EXPECT_EQ(all->bucket, "my-bucket");
  EXPECT_EQ(all->prefix, "a/b/");
  EXPECT_EQ(all->storage_class, "NEARLINE");
  EXPECT_EQ(all->lock_retention, true);
  EXPECT_TRUE(all->keep_versions);
  EXPECT_EQ(all->endpoint, "https://storage.example:8443");
  EXPECT_TRUE(all->as_of);
  const auto none = options("gs://my-bucket");
  ASSERT_TRUE(none);
  EXPECT_EQ(none->prefix, "");
  EXPECT_EQ(none->endpoint, "https://storage.googleapis.com");
  EXPECT_FALSE(none->lock_retention);
  EXPECT_FALSE(none->keep_versions);
}

TEST(GcsSettings, ThatCannotBe) {
  for (const char* address :
       {"gs://My_Bucket", "gs://ab", "gs://bucket/a//b", "gs://bucket/../x", "gs://bucket/%0a",
        "gs://bucket?storage_class=COLD", "gs://bucket?retention=yes", "gs://bucket?kms_key=k",
        "gs://bucket?endpoint=http://storage.example", "gs://bucket?endpoint=https://",
        "gs://bucket?endpoint=x", "gs://bucket?endpoint=https://a@b", "gs://bucket?endpoint=https://a/path",
        "gs://bucket?as_of=today", "gs://bucket?as_of=2999-01-01T00:00:00Z", "gs://bucket?region=eu"}) {
    const auto refused = options(address);
    ASSERT_FALSE(refused) << address;
    EXPECT_EQ(refused.error().code, Code::kUsage) << address;
  }
}

TEST(GcsSettings, ThePolicyGrantsNoMoreThanIsUsed) {
  const auto policy = [](const std::string& address) {
    return GcsStore(*options(address), std::make_unique<NoTokens>()).policy();
  };
  const std::string plain = policy("gs://bucket/x");
  EXPECT_NE(plain.find("--permissions=storage.objects.get,storage.objects.list,storage.objects.create,"
                       "storage.objects.delete,storage.buckets.get\n"),
            std::string::npos)
      << plain;
  EXPECT_NE(plain.find("gs://bucket "), std::string::npos);
  EXPECT_EQ(plain.find("etRetention"), std::string::npos);
  EXPECT_NE(
      policy("gs://bucket?retention=unlocked").find("storage.objects.update,storage.objects.setRetention\n"),
      std::string::npos);
  EXPECT_NE(policy("gs://bucket?retention=locked").find("storage.objects.overrideUnlockedRetention"),
            std::string::npos);
  EXPECT_EQ(policy("gs://bucket?as_of=2026-01-01T00:00:00Z").find("objects.create"), std::string::npos);
}

TEST(GcsSettings, SessionsLieWithWhomWeAsked) {
  gcs::Api api(*options("gs://bucket?endpoint=https://storage.example:8443"), std::make_unique<NoTokens>());
  EXPECT_TRUE(api.session_is_ours("https://storage.example:8443/upload?upload_id=x"));
  EXPECT_TRUE(api.session_is_ours("https://storage.googleapis.com/upload?upload_id=x"));
  for (const char* url : {"http://storage.example:8443/", "https://storage.example/", "https://evil.example/",
                          "https://storage.googleapis.com.evil.example/", "https://x@storage.googleapis.com/",
                          "http://storage.googleapis.com/", "https://evilgoogleapis.com/", "", "nonsense",
                          "https://evil.example?.googleapis.com", "https://evil.example#.googleapis.com"})
    EXPECT_FALSE(api.session_is_ours(url)) << url;
}

}  // namespace
}  // namespace varve::store
