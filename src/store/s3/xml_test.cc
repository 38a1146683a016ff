// Answers as the services write them, and as nobody should.
#include "store/s3/xml.h"

#include <gtest/gtest.h>

#include "store/s3/integrity.h"
#include "store/s3/read.h"
#include "store/s3/times.h"

namespace varve::store::s3 {
namespace {

TEST(S3Xml, Listings) {
  const auto page = parse_list(as_bytes(R"(<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><EncodingType>url</EncodingType>
<Contents><Key>p/a%2Bb+c</Key><LastModified>2026-11-24T18:58:13.500Z</LastModified><ETag>&quot;x&quot;</ETag>
<Size>1099511627776</Size></Contents>
<Contents><Key>p/z</Key><LastModified>2026-11-24T18:58:13Z</LastModified><Size>0</Size></Contents>
<IsTruncated>true</IsTruncated><NextContinuationToken>t/+=</NextContinuationToken></ListBucketResult>)"));
  ASSERT_TRUE(page) << page.error().describe();
  ASSERT_EQ(page->objects.size(), 2u);
  EXPECT_EQ(page->objects[0].key, "p/a+b c");
  EXPECT_EQ(page->objects[0].size, uint64_t{1} << 40);
  EXPECT_EQ(to_rfc3339(page->objects[0].modified), "2026-11-24T18:58:13.500000Z");
  EXPECT_EQ(page->next, "t/+=");
  const auto empty =
      parse_list(as_bytes("<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"));
  ASSERT_TRUE(empty);
  EXPECT_TRUE(empty->objects.empty() && empty->next.empty());
}

TEST(S3Xml, ListingsThatWouldMislead) {
  const std::string good = "<Key>a</Key><LastModified>2026-11-24T18:58:13Z</LastModified><Size>1</Size>";
  const auto list = [](const std::string& inside) {
    return parse_list(as_bytes("<ListBucketResult>" + inside + "</ListBucketResult>"));
  };
  EXPECT_TRUE(list("<Contents>" + good + "</Contents>"));
  for (const std::string& bad :
       {std::string("<IsTruncated>true</IsTruncated>"), std::string("<IsTruncated>yes</IsTruncated>"),
        std::string("<Contents></Contents>"), "<Contents><Key/>" + good.substr(12) + "</Contents>",
        std::string("<Contents><Key>a</Key><LastModified>soon</LastModified><Size>1</Size></Contents>"),
        std::string("<Contents><Key>a</Key><LastModified>2026-11-24T18:58:13Z</LastModified><Size>-1</Size></"
                    "Contents>"),
        std::string("<Contents><Key>a</Key><LastModified>2026-11-24T18:58:13Z</LastModified>"
                    "<Size>18446744073709551616</Size></Contents>"),
        "<EncodingType>url</EncodingType><Contents><Key>a%2</Key>" + good.substr(12) + "</Contents>",
        "<Contents><Key>" + std::string(10'000, 'a') + "</Key>" + good.substr(12) + "</Contents>"})
    EXPECT_FALSE(list(bad)) << bad.substr(0, 100);
}

TEST(S3Xml, WhatIsNoAnswer) {
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "<a>";
  for (const std::string& bad :
       {std::string(), std::string("hello"), std::string("<html><body>Log in</body></html>"),
        std::string("<ListBucketResult>"), std::string("<ListBucketResult><Contents></ListBucketResult>"),
        std::string("\xff\xfe<\0L\0", 6), deep, std::string((16 << 20) + 1, ' '),
        std::string("<!DOCTYPE x [<!ENTITY a \"b\">]><x>&a;</x>")}) {
    const ByteView body = as_bytes(bad);
    EXPECT_FALSE(parse_list(body));
    EXPECT_FALSE(parse_versions(body));
    EXPECT_FALSE(parse_delete(body));
    EXPECT_FALSE(parse_upload_id(body));
    EXPECT_FALSE(parse_complete(body));
    EXPECT_FALSE(parse_uploads(body));
    EXPECT_FALSE(parse_versioning(body));
    EXPECT_FALSE(parse_lock_configuration(body));
    EXPECT_FALSE(parse_retention(body));
    EXPECT_FALSE(parse_sts(body));
    EXPECT_FALSE(parse_error(body));
    EXPECT_FALSE(parse_sts_error(body));
  }
}

TEST(S3Xml, VersionsKeepTheirOrder) {
  const auto page = parse_versions(
      as_bytes("<ListVersionsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>"
               "<NextVersionIdMarker>v1</NextVersionIdMarker>"
               "<DeleteMarker><Key>k</Key><VersionId>v3</VersionId><IsLatest>true</IsLatest>"
               "<LastModified>2026-11-24T18:58:15Z</LastModified></DeleteMarker>"
               "<Version><Key>k</Key><VersionId>v2</VersionId><LastModified>2026-11-24T18:58:14Z</"
               "LastModified><Size>7</Size></Version>"
               "<DeleteMarker><Key>k</Key><VersionId>null</VersionId><LastModified>2026-11-24T18:58:13Z</"
               "LastModified></DeleteMarker>"
               "</ListVersionsResult>"));
  ASSERT_TRUE(page) << page.error().describe();
  ASSERT_EQ(page->versions.size(), 3u);
  EXPECT_TRUE(page->versions[0].delete_marker);
  EXPECT_EQ(page->versions[1].version, "v2");
  EXPECT_EQ(page->versions[1].size, 7u);
  EXPECT_EQ(page->versions[2].version, "null");
  EXPECT_TRUE(page->more);
  EXPECT_EQ(page->next_key + page->next_version, "kv1");
}

TEST(S3Xml, Errors) {
  const auto e = parse_error(
      as_bytes("<?xml version=\"1.0\"?>\n<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region "
               "'a' is wrong</Message>"
               "<Region>eu-west-1</Region><RequestId>1</RequestId></Error>"));
  ASSERT_TRUE(e);
  EXPECT_EQ(e->code + "|" + e->message + "|" + e->region,
            "AuthorizationHeaderMalformed|the region 'a' is wrong|eu-west-1");
  EXPECT_FALSE(parse_error(as_bytes("<Error></Error>")));
  const auto sts = parse_sts_error(as_bytes(
      "<ErrorResponse "
      "xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>AccessDenied"
      "</Code><Message>no</Message></Error></ErrorResponse>"));
  ASSERT_TRUE(sts);
  EXPECT_EQ(sts->code, "AccessDenied");
}

TEST(S3Xml, TheRest) {
  const auto deleted = parse_delete(as_bytes(
      "<DeleteResult><Deleted><Key>a</Key><VersionId>v</VersionId></Deleted><Error><Key>b&amp;c</Key>"
      "<Code>AccessDenied</Code><Message>m</Message></Error></DeleteResult>"));
  ASSERT_TRUE(deleted);
  EXPECT_EQ(deleted->each[0].key + deleted->each[0].version, "av");
  EXPECT_EQ(deleted->each[1].key + deleted->each[1].code, "b&cAccessDenied");
  EXPECT_FALSE(parse_delete(as_bytes("<DeleteResult><Error><Key>b</Key></Error></DeleteResult>")));
  EXPECT_FALSE(*parse_versioning(as_bytes("<VersioningConfiguration/>")));
  EXPECT_TRUE(*parse_versioning(
      as_bytes("<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>")));
  EXPECT_FALSE(
      parse_versioning(as_bytes("<VersioningConfiguration><Status>On</Status></VersioningConfiguration>")));
  const auto held =
      parse_retention(as_bytes("<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>2027-01-01T00:00:00.001Z</"
                               "RetainUntilDate></Retention>"));
  ASSERT_TRUE(held);
  EXPECT_EQ(to_rfc3339(held->until), "2027-01-01T00:00:00.001000Z");
  EXPECT_FALSE(parse_retention(as_bytes("<Retention><Mode>NONE</Mode></Retention>")));
  EXPECT_EQ(*parse_upload_id(as_bytes(
                "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")),
            "u");
  // What precedes it while the service assembles the object.
  EXPECT_EQ(*parse_complete(
                as_bytes("\n \n<?xml version=\"1.0\"?><CompleteMultipartUploadResult><ETag>&quot;e-2&quot;"
                         "</ETag></CompleteMultipartUploadResult>")),
            "\"e-2\"");
  EXPECT_EQ(xml_escaped("a&b<c>\"d'"), "a&amp;b&lt;c&gt;&quot;d'");
}

TEST(S3Times, HttpDates) {
  EXPECT_EQ(to_rfc3339(*parse_http_date("Tue, 24 Nov 2026 18:58:13 GMT")), "2026-11-24T18:58:13Z");
  for (const char* bad :
       {"", "Tue, 24 Nov 2026 18:58:13 UTC", "Tue, 31 Feb 2026 18:58:13 GMT", "Tue, 24 Now 2026 18:58:13 GMT",
        "Tue, 24 Nov 2026 24:58:13 GMT", "Tue, -4 Nov 2026 18:58:13 GMT", "Tuesday, 24-Nov-26 18:58:13 GMT"})
    EXPECT_FALSE(parse_http_date(bad)) << bad;
}

TEST(S3Times, RetentionIsRoundedUp) {
  EXPECT_EQ(to_milliseconds(*parse_rfc3339("2026-11-24T18:58:13.123Z")), "2026-11-24T18:58:13.123Z");
  EXPECT_EQ(to_milliseconds(*parse_rfc3339("2026-11-24T18:58:13.123001Z")), "2026-11-24T18:58:13.124Z");
  EXPECT_EQ(to_milliseconds(*parse_rfc3339("2026-11-24T18:58:59.999001Z")), "2026-11-24T18:59:00.000Z");
}

TEST(S3Ranges, ContentRange) {
  const auto r = parse_content_range("bytes 5-9/300");
  ASSERT_TRUE(r);
  EXPECT_EQ(r->first + r->last + r->whole, 314u);
  for (const char* bad :
       {"", "bytes", "bytes */300", "bytes 5-9/*", "bytes 9-5/300", "bytes 5-300/300", "5-9/300",
        "bytes -9/300", "bytes 5-9", "bytes 5/9-300", "bytes 5-99999999999999999999/300"})
    EXPECT_FALSE(parse_content_range(bad)) << bad;
}

TEST(S3Integrity, ChecksumText) {
  const ByteView body = as_bytes("123456789");
  EXPECT_EQ(crc32c_text(std::span(&body, 1)), "4waSgw==");
  EXPECT_EQ(parse_crc32c("4waSgw=="), 0xe3069283u);
  for (const char* bad : {"", "4waSgw==-3", "4waSgw", "AAAA", "####"}) EXPECT_FALSE(parse_crc32c(bad)) << bad;
}

}  // namespace
}  // namespace varve::store::s3
