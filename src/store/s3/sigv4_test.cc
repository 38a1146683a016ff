// Against the values that Amazon publishes: its Signature Version 4 test suite, and the examples of the S3
// documentation.
#include "store/s3/sigv4.h"

#include <gtest/gtest.h>

namespace varve::store::s3 {
namespace {

constexpr std::string_view kEmptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

Timestamp at(std::string_view text) {
  return *parse_rfc3339(text);
}

std::string signature(const SigningInput& input, const Credentials& credentials) {
  const std::string all = authorization(input, credentials);
  return all.substr(all.rfind('=') + 1);
}

// The suite's constants: 2015-08-30, region us-east-1, service "service".
class Suite : public ::testing::Test {
 protected:
  SigningInput input(std::string method, std::string path = "/", Query query = {},
                     std::vector<net::Header> headers = {}) {
    headers.insert(headers.begin(), {"X-Amz-Date", "20150830T123600Z"});
    return {.method = std::move(method),
            .host = "example.amazonaws.com",
            .path = std::move(path),
            .query = std::move(query),
            .headers = std::move(headers),
            .payload = std::string(kEmptyHash),
            .region = "us-east-1",
            .service = "service",
            .at = at("2015-08-30T12:36:00Z")};
  }
  std::string sign(const SigningInput& in) { return signature(in, credentials_); }

  const Credentials credentials_{"AKIDEXAMPLE",
                                 crypto::SecretText("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")};
};

TEST_F(Suite, Vanilla) {
  const auto in = input("GET");
  EXPECT_EQ(canonical_request(in),
            "GET\n/\n\nhost:example.amazonaws.com\nx-amz-date:20150830T123600Z\n\nhost;x-amz-date\n" +
                std::string(kEmptyHash));
  EXPECT_EQ(string_to_sign(in),
            "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/service/aws4_request\n"
            "bb579772317eb040ac9ed261061d46c1f17a8133879d6129b6e1c25292927e63");
  EXPECT_EQ(authorization(in, credentials_),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
            "SignedHeaders=host;x-amz-date, "
            "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
  EXPECT_EQ(sign(input("POST")), "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
}

TEST_F(Suite, Queries) {
  EXPECT_EQ(sign(input("GET", "/", {{"Param2", "value2"}, {"Param1", "value1"}})),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
  const std::string unreserved = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  EXPECT_EQ(sign(input("GET", "/", {{unreserved, unreserved}})),
            "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197");
  EXPECT_EQ(sign(input("GET", "/", {{"\xe1\x88\xb4", "bar"}})),
            "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04");
  EXPECT_EQ(canonical_query({{"b", "x y&z/+"}, {"a", ""}, {"B", "1"}}), "B=1&a=&b=x%20y%26z%2F%2B");
}

TEST_F(Suite, Paths) {
  EXPECT_EQ(sign(input("GET", net::percent_encode("/\xe1\x88\xb4", true))),
            "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85");
  EXPECT_EQ(sign(input("GET", "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")),
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f");
}

TEST_F(Suite, Headers) {
  EXPECT_EQ(sign(input("GET", "/", {}, {{"My-Header1", " value1"}, {"My-Header2", " \"a   b   c\""}})),
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736");
  EXPECT_EQ(sign(input("GET", "/", {},
                       {{"My-Header1", "value2"}, {"My-Header1", "value2"}, {"My-Header1", "value1"}})),
            "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea");
  EXPECT_EQ(sign(input("POST", "/", {}, {{"My-Header1", "value1"}})),
            "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c");
}

TEST_F(Suite, Bodies) {
  auto in = input("POST", "/", {}, {{"Content-Type", "application/x-www-form-urlencoded"}});
  const ByteView body = as_bytes("Param1=value1");
  in.payload = payload_hash(std::span(&body, 1));
  EXPECT_EQ(sign(in), "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a");
}

TEST_F(Suite, SessionToken) {
  const std::string token =
      "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTf"
      "lfKD8YUuwthAx7mSEI/"
      "qkPpKPi/"
      "kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXA"
      "kiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+"
      "scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/"
      "oLxBA==";
  EXPECT_EQ(sign(input("POST", "/", {}, {{"X-Amz-Security-Token", token}})),
            "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead");
}

// docs.aws.amazon.com, "Authenticating Requests: Using the Authorization Header".
class Examples : public ::testing::Test {
 protected:
  SigningInput input(std::string method, std::string path, Query query = {},
                     std::vector<net::Header> headers = {}, std::string payload = std::string(kEmptyHash)) {
    headers.push_back({"x-amz-date", "20130524T000000Z"});
    headers.push_back({"x-amz-content-sha256", payload});
    return {.method = std::move(method),
            .host = "examplebucket.s3.amazonaws.com",
            .path = std::move(path),
            .query = std::move(query),
            .headers = std::move(headers),
            .payload = std::move(payload),
            .region = "us-east-1",
            .service = "s3",
            .at = at("2013-05-24T00:00:00Z")};
  }
  std::string sign(const SigningInput& in) { return signature(in, credentials_); }

  const Credentials credentials_{"AKIAIOSFODNN7EXAMPLE",
                                 crypto::SecretText("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")};
};

TEST_F(Examples, GetObjectWithARange) {
  EXPECT_EQ(sign(input("GET", "/test.txt", {}, {{"Range", "bytes=0-9"}})),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST_F(Examples, PutObject) {
  const ByteView body = as_bytes("Welcome to Amazon S3.");
  auto in = input("PUT", net::percent_encode("/test$file.text", true), {},
                  {{"Date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
                  payload_hash(std::span(&body, 1)));
  EXPECT_EQ(in.payload, "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
  EXPECT_EQ(sign(in), "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

TEST_F(Examples, GetBucketLifecycle) {
  EXPECT_EQ(sign(input("GET", "/", {{"lifecycle", ""}})),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
}

TEST_F(Examples, ListObjects) {
  EXPECT_EQ(sign(input("GET", "/", {{"prefix", "J"}, {"max-keys", "2"}})),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST(CredentialsTest, AreComparedWhole) {
  const Credentials a{"id", crypto::SecretText("secret"), crypto::SecretText("token")};
  Credentials b = a;
  EXPECT_TRUE(a == b);
  b.session_token = crypto::SecretText("other");
  EXPECT_FALSE(a == b);
}

}  // namespace
}  // namespace varve::store::s3
