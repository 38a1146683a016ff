#include "store/azure/answers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace varve::store::azure {
namespace {

using ::testing::HasSubstr;

Result<Listing> listing(std::string_view xml) {
  return parse_listing(to_buffer(as_bytes(xml)));
}

std::string blob(const std::string& name, const std::string& more = "") {
  return "<Blob><Name>" + name +
         "</Name><Properties><Last-Modified>Sun, 06 Nov 1994 08:49:37 GMT</Last-Modified>"
         "<Content-Length>12</Content-Length></Properties>" +
         more + "</Blob>";
}

std::string page(const std::string& blobs, const std::string& marker = "") {
  return "\xEF\xBB\xBF<?xml version=\"1.0\" "
         "encoding=\"utf-8\"?><EnumerationResults><Prefix>p</Prefix><Blobs>" +
         blobs + "</Blobs><NextMarker>" + marker + "</NextMarker></EnumerationResults>";
}

TEST(AzureListing, BlobsAndMarker) {
  const auto out = listing(page(blob("a") + blob("b&amp;c", "<VersionId>v1</VersionId>"), "2!mark&amp;er"));
  ASSERT_TRUE(out) << out.error().describe();
  ASSERT_EQ(out->blobs.size(), 2u);
  EXPECT_EQ(out->blobs[0].name, "a");
  EXPECT_EQ(out->blobs[0].size, 12u);
  EXPECT_EQ(to_rfc3339(out->blobs[0].modified), "1994-11-06T08:49:37Z");
  EXPECT_EQ(out->blobs[1].name, "b&c");
  EXPECT_EQ(out->blobs[1].version, "v1");
  EXPECT_EQ(out->next, "2!mark&er");
  EXPECT_TRUE(listing(page(""))->blobs.empty());
}

TEST(AzureListing, FoldersAreLeftOut) {
  const auto out = listing(
      page("<Blob><Name>d</Name><Properties><ResourceType>directory</ResourceType></Properties></Blob>" +
           blob("d/x")));
  ASSERT_TRUE(out);
  ASSERT_EQ(out->blobs.size(), 1u);
  EXPECT_EQ(out->blobs[0].name, "d/x");
}

TEST(AzureListing, WhatIsNoneIsRefused) {
  std::string deep, bomb = "<!DOCTYPE l [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]>";
  for (int i = 0; i < 200'000; ++i) deep += "<a>";
  for (const std::string& wrong :
       {std::string(), std::string("<html><body>Sign in</body></html>"), std::string("{}"),
        std::string("<EnumerationResults/>"), page("<Blob/>"), page("<Blob><Name>a</Name></Blob>"), deep,
        page(blob("a")).substr(0, 120), page(blob(std::string(5000, 'n'))), page("", std::string(9000, 'm')),
        std::string(3 << 20, '<'), bomb + "<EnumerationResults>&b;</EnumerationResults>",
        std::string("\0\xff\xfe<", 4)}) {
    const auto out = listing(wrong);
    ASSERT_FALSE(out) << wrong.substr(0, 100);
    EXPECT_EQ(out.error().code, Code::kUnreachable);
  }
}

TEST(AzureAnswers, ContentRanges) {
  const auto part = parse_content_range("bytes 10-19/100");
  ASSERT_TRUE(part);
  EXPECT_EQ(*part->first, 10u);
  EXPECT_EQ(*part->last, 19u);
  EXPECT_EQ(part->size, 100u);
  const auto none = parse_content_range("bytes */100");
  ASSERT_TRUE(none);
  EXPECT_FALSE(none->first);
  EXPECT_EQ(none->size, 100u);
  EXPECT_TRUE(parse_content_range("bytes 100-99/100")) << "Azurite's, for nothing at the end";
  for (const char* wrong :
       {"", "bytes", "bytes 0-9", "bytes 0-9/*", "bytes 9-0/10", "bytes 0-10/10", "bytes 0--9/10",
        "bytes -5/10", "bytes 0-9/10 ", "items 0-9/10", "bytes 0-9/99999999999999999999", "bytes 0-9/-10",
        "bytes 50-49/100", "bytes 0-18446744073709551615/0"})
    EXPECT_FALSE(parse_content_range(wrong)) << wrong;
}

TEST(AzureAnswers, VersionsAreMoments) {
  EXPECT_EQ(to_rfc3339(*parse_version("2024-05-01T12:00:00.1234567Z")), "2024-05-01T12:00:00.123456Z");
  EXPECT_EQ(to_rfc3339(*parse_version("2024-05-01T12:00:00Z")), "2024-05-01T12:00:00Z");
  for (const char* wrong : {"", "Z", "yesterday", "2024-05-01T12:00:00.1234567", "2024-05-01"})
    EXPECT_FALSE(parse_version(wrong)) << wrong;
}

net::HttpResponse answer(int status, const std::string& code, bool from_service = true) {
  net::HttpResponse out;
  out.status = status;
  if (from_service) out.headers.push_back({"x-ms-request-id", "id-1"});
  if (!code.empty()) out.headers.push_back({"x-ms-error-code", code});
  return out;
}

TEST(AzureAnswers, FailuresByTheirCode) {
  const auto check = [](int status, const char* code, Code expected, Retry retry) {
    const Error error = failure_of(answer(status, code), "doing it");
    EXPECT_EQ(code_name(error.code), code_name(expected)) << status << code;
    EXPECT_EQ(error.retry, retry) << status << code;
    EXPECT_THAT(error.describe(), HasSubstr("id-1"));
  };
  check(404, "BlobNotFound", Code::kNotFound, Retry::kNever);
  check(404, "", Code::kNotFound, Retry::kNever);  // HEAD
  check(404, "ContainerNotFound", Code::kUnreachable, Retry::kNever);
  check(409, "ContainerBeingDeleted", Code::kUnreachable, Retry::kTransient);
  check(409, "BlobImmutableDueToPolicy", Code::kConflict, Retry::kNever);
  check(409, "SomethingNew", Code::kConflict, Retry::kNever);
  check(412, "LeaseIdMissing", Code::kConflict, Retry::kNever);
  check(503, "ServerBusy", Code::kUnreachable, Retry::kThrottled);
  check(500, "OperationTimedOut", Code::kUnreachable, Retry::kTransient);
  check(500, "InternalError", Code::kUnreachable, Retry::kTransient);
  check(400, "Md5Mismatch", Code::kUnreachable, Retry::kTransient);
  check(400, "InvalidHeaderValue", Code::kUnreachable, Retry::kNever);
  check(403, "AuthenticationFailed", Code::kDenied, Retry::kNever);
  check(403, "AuthorizationPermissionMismatch", Code::kDenied, Retry::kNever);
  check(401, "NoAuthenticationInformation", Code::kDenied, Retry::kNever);
  check(409, "BlobArchived", Code::kUnreachable, Retry::kNever);
  net::HttpResponse busy = answer(503, "ServerBusy");
  busy.headers.push_back({"retry-after", "7"});
  EXPECT_EQ(failure_of(busy, "").retry_after, std::chrono::seconds(7));
}

TEST(AzureAnswers, APagesOfAProxyIsNoAnswer) {
  for (const int status : {200, 302, 403, 404, 409, 412}) {
    const Error error = failure_of(answer(status, "", false), "doing it");
    EXPECT_EQ(error.code, Code::kUnreachable) << status;
    EXPECT_EQ(error.retry, Retry::kTransient) << status;
  }
  EXPECT_EQ(failure_of(answer(503, "", false), "").retry, Retry::kThrottled);
  EXPECT_EQ(failure_of(answer(407, "", false), "").code, Code::kDenied);
}

TEST(AzureAnswers, WordsOfTheBody) {
  net::HttpResponse out = answer(403, "");
  out.body =
      to_buffer(as_bytes("<?xml version=\"1.0\"?><Error><Code>Some&#x1b;Code</Code><Message>No, never.\n"
                         "RequestId:1\nTime:2</Message></Error>"));
  EXPECT_EQ(words_of(out).message, "No, never.");
  const std::string text = failure_of(out, "doing it").describe();
  EXPECT_THAT(text, HasSubstr("No, never."));
  EXPECT_EQ(text.find('\x1b'), text.npos) << "what the service says does not reach a terminal raw";
  out.body = to_buffer(as_bytes("<html>"));
  EXPECT_EQ(words_of(out).code, "");
}

}  // namespace
}  // namespace varve::store::azure
