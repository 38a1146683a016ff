#include "store/azure/shared_key.h"

#include <gtest/gtest.h>

#include "crypto/crypto.h"
#include "store/azure/dates.h"

namespace varve::store::azure {
namespace {

net::HttpRequest request(const std::string& method, const std::string& url,
                         std::vector<net::Header> headers) {
  net::HttpRequest out;
  out.method = method;
  out.url = url;
  out.headers = std::move(headers);
  return out;
}

// The text is the one of Microsoft's page about authorising with a shared key; the signature of it was made
// by another implementation of HMAC.
TEST(SharedKey, ThePublishedExample) {
  const auto get = request(
      "GET", "https://myaccount.blob.core.windows.net/mycontainer?restype=container&comp=metadata&timeout=20",
      {{"x-ms-version", "2015-02-21"}, {"x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT"}});
  EXPECT_EQ(string_to_sign(get, "myaccount"),
            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n"
            "/myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20");
  const auto key = crypto::from_base64(
      "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==");
  ASSERT_TRUE(key);
  EXPECT_EQ(shared_key_authorization(get, "myaccount", *key),
            "SharedKey myaccount:ZfuQJIowrCGKlm/KTSTcA7Tx12MxVvDi2ryOPQQw7Gw=");
}

TEST(SharedKey, HeadersInTheirOrder) {
  auto put = request("PUT", "http://127.0.0.1:10000/acct/box/a%2Bb/c",
                     {{"x-ms-blob-type", "BlockBlob"},
                      {"If-None-Match", "*"},
                      {"Content-MD5", "md5=="},
                      {"X-Ms-Date", " a date "},
                      {"Content-Type", "text/plain"},
                      {"Accept", "anything"}});
  const ByteView pieces[] = {as_bytes("hello "), as_bytes("world")};
  put.body = pieces;
  // The account twice, for it is in the path as well; the path as it was encoded.
  EXPECT_EQ(string_to_sign(put, "acct"),
            "PUT\n\n\n11\nmd5==\ntext/plain\n\n\n\n*\n\n\nx-ms-blob-type:BlockBlob\nx-ms-date:a date\n"
            "/acct/acct/box/a%2Bb/c");
  put.body = {};
  EXPECT_EQ(string_to_sign(put, "acct").substr(0, 7), "PUT\n\n\n\n") << "the length 0 is an empty line";
}

TEST(SharedKey, TheQueryIsDecodedAndSorted) {
  const auto list =
      request("GET", "https://a.b/box?prefix=x%2Fy%20z&Comp=list&marker=%&include=b&include=a&empty", {});
  EXPECT_EQ(string_to_sign(list, "a"),
            "GET\n\n\n\n\n\n\n\n\n\n\n\n/a/box\ncomp:list\nempty:\ninclude:a,b\nmarker:%\nprefix:x/y z");
  EXPECT_TRUE(string_to_sign(request("GET", "https://a.b?comp=list", {}), "a").ends_with("\n/a/\ncomp:list"));
  EXPECT_TRUE(string_to_sign(request("GET", "https://a.b", {}), "a").ends_with("\n/a/"));
}

TEST(HttpDates, AreWrittenAndRead) {
  const auto at = parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT");
  ASSERT_TRUE(at);
  EXPECT_EQ(to_rfc3339(*at), "1994-11-06T08:49:37Z");
  EXPECT_EQ(to_http_date(*at), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(to_http_date(Timestamp{}), "Thu, 01 Jan 1970 00:00:00 GMT");
  const auto far = parse_http_date("Fri, 31 Dec 9999 23:59:59 GMT");
  ASSERT_TRUE(far);
  EXPECT_EQ(to_http_date(*far), "Fri, 31 Dec 9999 23:59:59 GMT");
  for (const char* wrong :
       {"", "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Now 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT", "Sun, 06 Nov 1994 08:4a:37 GMT", "Sun, 6 Nov 1994 08:49:37 GMT",
        "1994-11-06T08:49:37Z", "Sun, -6 Nov 1994 08:49:37 GMT"})
    EXPECT_FALSE(parse_http_date(wrong)) << wrong;
  EXPECT_EQ(round_up(*at + std::chrono::microseconds(1)), *at + Seconds(1));
  EXPECT_EQ(round_up(*at), *at);
}

}  // namespace
}  // namespace varve::store::azure
