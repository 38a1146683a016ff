// Signature Version 4 of Amazon's services, as a pure function: parts of a request in, headers out.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/time.h"
#include "crypto/crypto.h"
#include "net/http.h"

namespace varve::store::s3 {

struct Credentials {
  std::string access_key;
  crypto::SecretText secret_key;
  crypto::SecretText session_token = {};  // empty for those that do not run out
  std::string source = {};                // "the environment": for people

  bool operator==(const Credentials& o) const;
};

// Names and values as they are, not encoded.
using Query = std::vector<std::pair<std::string, std::string>>;

// What a body is signed as when the connection protects it.
inline constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";
std::string payload_hash(std::span<const ByteView> body);  // SHA-256, in hexadecimal

struct SigningInput {
  std::string method;
  std::string host;  // as in the Host header: with the port where it is not the scheme's own
  std::string path;  // percent-encoded once, as it is sent
  Query query = {};
  std::vector<net::Header> headers = {};  // to be signed, besides Host
  std::string payload = {};               // payload_hash() or kUnsignedPayload
  std::string region = {};
  std::string service = {};
  Timestamp at = {};
};

// Percent-encoded and in the order that is signed; the URL takes it byte for byte.
std::string canonical_query(const Query& query);
std::string canonical_request(const SigningInput& input);
std::string string_to_sign(const SigningInput& input);
// The value of the Authorization header.
std::string authorization(const SigningInput& input, const Credentials& credentials);

// "20150830T123600Z"
std::string amz_date(Timestamp at);

}  // namespace varve::store::s3
