// What servers say, well and badly.
#include "store/gcs/answers.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "store/gcs/json.h"

namespace varve::store::gcs {
namespace {

TEST(GcsAnswers, AnObject) {
  const auto object = parse_object(R"({"name":"p/a","size":"5","generation":"1700000000000001",
      "metageneration":"2","crc32c":"n03x6A==","timeCreated":"2026-01-02T03:04:05.678Z",
      "retention":{"mode":"Locked","retainUntilTime":"2027-01-01T00:00:00.000001Z"},
      "retentionExpirationTime":"2028-01-01T00:00:00Z","something":{"new":[1,2]}})");
  ASSERT_TRUE(object) << object.error().describe();
  EXPECT_EQ(object->name, "p/a");
  EXPECT_EQ(object->size, 5u);
  EXPECT_EQ(object->generation, 1700000000000001u);
  EXPECT_EQ(object->metageneration, 2u);
  EXPECT_EQ(object->crc32c, 0x9f4df1e8u);
  EXPECT_EQ(to_rfc3339(object->created), "2026-01-02T03:04:05.678000Z");
  EXPECT_FALSE(object->deleted);
  ASSERT_TRUE(object->retention);
  EXPECT_TRUE(object->retention->locked);
  EXPECT_EQ(to_rfc3339(object->retention->until), "2027-01-01T00:00:00.000001Z");
  EXPECT_EQ(to_rfc3339(*object->retained_by), "2028-01-01T00:00:00Z") << "the bucket's own policy is longer";
}

TEST(GcsAnswers, WhatIsNoObject) {
  for (const char* text :
       {"", "null", "[]", "\"name\"", "{}", R"({"name":5})", R"({"name":"a","size":"-1"})",
        R"({"name":"a","size":"1 "})", R"({"name":"a","size":1.5})", R"({"name":"a","size":-1})",
        R"({"name":"a","size":"99999999999999999999"})", R"({"name":"a","crc32c":"AAAA"})",
        R"({"name":"a","crc32c":"!!!!!!=="})", R"({"name":"a","timeCreated":"yesterday"})",
        R"({"name":"a","retention":{"mode":"Loose","retainUntilTime":"2027-01-01T00:00:00Z"}})",
        R"({"name":"a","retention":{"mode":"Locked"}})", "{\"name\":\"\xff\"}", R"({"name":"a"}x)",
        "<html><body>Sign in</body></html>"}) {
    const auto object = parse_object(text);
    ASSERT_FALSE(object) << text;
    EXPECT_EQ(object.error().code, Code::kDamaged);
  }
}

TEST(GcsAnswers, JsonIsBounded) {
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_FALSE(parse_json(R"({"a":)" + deep + "}", 1 << 20));
  EXPECT_FALSE(parse_json(R"({"a":)" + std::string(100'000, '['), 1 << 20));
  EXPECT_FALSE(parse_json(R"({"a":"0123456789"})", 10));
  EXPECT_TRUE(parse_json(R"({"a":[[[[[[[[[[[[1]]]]]]]]]]]]})", 100));
}

TEST(GcsAnswers, AListing) {
  const auto page = parse_list(R"({"kind":"storage#objects","nextPageToken":"CgE=","items":[
      {"name":"p/a","size":"1","timeCreated":"2026-01-01T00:00:00Z"},
      {"name":"p/b","size":"2","timeCreated":"2026-01-01T00:00:00Z"}]})");
  ASSERT_TRUE(page) << page.error().describe();
  ASSERT_EQ(page->objects.size(), 2u);
  EXPECT_EQ(page->next, "CgE=");
  EXPECT_TRUE(check_listing(*page, "p/", false));
  EXPECT_FALSE(check_listing(*page, "p/b", false));
  EXPECT_TRUE(parse_list(R"({"kind":"storage#objects"})")->objects.empty());
  // Nothing at all must not pass for an empty repository.
  for (const char* text : {"{}", R"({"items":[]})", R"({"kind":"storage#objects","items":{}})",
                           R"({"kind":"storage#objects","items":[1]})", R"({"kind":"other"})",
                           R"({"kind":"storage#objects","nextPageToken":7})"})
    EXPECT_FALSE(parse_list(text)) << text;
}

TEST(GcsAnswers, NamesAscend) {
  const auto listed = [](std::vector<std::string> names, bool versions) {
    ListAnswer list;
    for (std::string& name : names) list.objects.push_back({.name = std::move(name)});
    return check_listing(list, "", versions).has_value();
  };
  EXPECT_TRUE(listed({"a", "b", "c"}, false));
  EXPECT_FALSE(listed({"a", "c", "b"}, false));
  EXPECT_FALSE(listed({"a", "a"}, false));
  EXPECT_TRUE(listed({"a", "a"}, true));
  EXPECT_TRUE(listed({"B", "a"}, false));
}

TEST(GcsAnswers, ABucket) {
  const auto bucket =
      parse_bucket(R"({"name":"b","versioning":{"enabled":true},"objectRetention":{"mode":"Enabled"}})");
  ASSERT_TRUE(bucket);
  EXPECT_TRUE(bucket->versioning);
  EXPECT_TRUE(bucket->object_retention);
  const auto plain = parse_bucket(R"({"name":"b","versioning":{"enabled":"yes"},"objectRetention":[]})");
  ASSERT_TRUE(plain);
  EXPECT_FALSE(plain->versioning);
  EXPECT_FALSE(plain->object_retention);
  EXPECT_FALSE(parse_bucket("{}"));
}

TEST(GcsAnswers, Errors) {
  const auto error = parse_error(
      R"({"error":{"code":412,"message":"no","errors":[{"reason":"conditionNotMet","message":"no"}]}})");
  ASSERT_TRUE(error);
  EXPECT_EQ(error->reason, "conditionNotMet");
  EXPECT_EQ(error->message, "no");
  EXPECT_TRUE(parse_error(R"({"error":{}})"));
  EXPECT_TRUE(parse_error(R"({"error":{"errors":[7],"message":{}}})")->reason.empty());
  for (const char* text : {"", "{}", "Not Found", R"({"error":"invalid_grant"})"})
    EXPECT_FALSE(parse_error(text)) << text;
  EXPECT_EQ(parse_refusal(R"({"error":"invalid_grant","error_description":"no"})"), "invalid_grant: no");
  EXPECT_EQ(parse_refusal("<html>"), "");
}

TEST(GcsAnswers, Tokens) {
  const auto token = parse_token(R"({"access_token":"ya29.x","expires_in":3599,"token_type":"Bearer"})");
  ASSERT_TRUE(token);
  EXPECT_EQ(token->token, "ya29.x");
  EXPECT_EQ(token->lasts, std::chrono::seconds(3599));
  EXPECT_LE(parse_token(R"({"access_token":"x","expires_in":99999999999})")->lasts, std::chrono::hours(24));
  for (const char* text :
       {R"({"access_token":"a b","expires_in":1})", R"({"access_token":"a\r\nX: y","expires_in":1})",
        R"({"access_token":"","expires_in":1})", R"({"access_token":"x"})",
        R"({"access_token":"x","expires_in":-1})"}) {
    const auto refused = parse_token(text);
    ASSERT_FALSE(refused) << text;
    EXPECT_EQ(refused.error().describe().find("X: y"), std::string::npos);
  }
  EXPECT_TRUE(parse_impersonated(R"({"accessToken":"x","expireTime":"2026-01-01T00:00:00Z"})"));
  EXPECT_FALSE(parse_impersonated(R"({"accessToken":"x","expireTime":"soon"})"));
  EXPECT_FALSE(parse_impersonated(R"({"accessToken":"x"})"));
}

TEST(GcsAnswers, Ranges) {
  const auto range = parse_content_range("bytes 5-9/100");
  ASSERT_TRUE(range);
  EXPECT_EQ(range->first, 5u);
  EXPECT_EQ(range->last, 9u);
  EXPECT_EQ(range->size, 100u);
  for (const char* text : {"", "bytes", "bytes 5-9", "bytes 9-5/100", "bytes 5-100/100", "bytes */100",
                           "bytes 5-9/*", "bytes +5-9/100", "bytes 5- 9/100", "bytes=5-9/100",
                           "bytes 5/9-100", "bytes 0-99999999999999999999/100"})
    EXPECT_FALSE(parse_content_range(text)) << text;
  EXPECT_EQ(parse_unsatisfied_range("bytes */7"), 7u);
  EXPECT_FALSE(parse_unsatisfied_range("bytes */"));
  EXPECT_FALSE(parse_unsatisfied_range("bytes */-7"));
  EXPECT_EQ(parse_received("bytes=0-524287"), 524288u);
  for (const char* text : {"", "bytes=1-5", "bytes=0-", "bytes 0-5", "0-5", "bytes=0-18446744073709551615"})
    EXPECT_FALSE(parse_received(text)) << text;
}

TEST(GcsAnswers, Checksums) {
  net::HttpResponse answer;
  EXPECT_FALSE(stored_crc32c(answer));
  answer.headers = {{"x-goog-hash", "md5=Ojk9c3dhfxgoKVVHYwFbHQ=="}, {"x-goog-hash", "crc32c=n03x6A=="}};
  EXPECT_EQ(stored_crc32c(answer), 0x9f4df1e8u);
  answer.headers = {{"x-goog-hash", "md5=Ojk9c3dhfxgoKVVHYwFbHQ==, crc32c=n03x6A=="}};
  EXPECT_EQ(stored_crc32c(answer), 0x9f4df1e8u);
  answer.headers = {{"x-goog-hash", "crc32c=,,,"}};
  EXPECT_FALSE(stored_crc32c(answer));
  EXPECT_EQ(crc32c_text(0x9f4df1e8u), "n03x6A==");
}

}  // namespace
}  // namespace varve::store::gcs
