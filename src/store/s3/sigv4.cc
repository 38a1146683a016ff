#include "store/s3/sigv4.h"

#include <algorithm>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <map>

#include "base/text.h"
#include "crypto/signing.h"

namespace varve::store::s3 {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";

// Spaces around a value go, and runs of them become one.
std::string collapsed(std::string_view value) {
  std::string out;
  for (const char c : trim(value)) {
    const char plain = c == '\t' || c == '\n' || c == '\r' ? ' ' : c;
    if (plain != ' ' || out.back() != ' ') out += plain;
  }
  return out;
}

// By name in lower case; values of one name in their order, with commas between.
std::map<std::string, std::string> signed_headers(const SigningInput& input) {
  std::map<std::string, std::string> out;
  out["host"] = input.host;
  for (const net::Header& h : input.headers) {
    auto [at, fresh] = out.try_emplace(to_lower(h.name));
    at->second += (fresh ? "" : ",") + collapsed(h.value);
  }
  return out;
}

std::string names_of(const std::map<std::string, std::string>& headers) {
  std::string out;
  for (const auto& [name, value] : headers) out += (out.empty() ? "" : ";") + name;
  return out;
}

std::string scope(const SigningInput& input) {
  return fmt::format("{}/{}/{}/aws4_request", amz_date(input.at).substr(0, 8), input.region, input.service);
}

}  // namespace

bool Credentials::operator==(const Credentials& o) const {
  return access_key == o.access_key &&
         crypto::equal(as_bytes(secret_key.text()), as_bytes(o.secret_key.text())) &&
         crypto::equal(as_bytes(session_token.text()), as_bytes(o.session_token.text()));
}

std::string payload_hash(std::span<const ByteView> body) {
  return to_hex(crypto::sha256(body));
}

std::string amz_date(Timestamp at) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(at);
  return fmt::format("{:%Y%m%dT%H%M%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(seconds)));
}

std::string canonical_query(const Query& query) {
  Query encoded;
  for (const auto& [name, value] : query)
    encoded.emplace_back(net::percent_encode(name), net::percent_encode(value));
  std::sort(encoded.begin(), encoded.end());
  std::string out;
  for (const auto& [name, value] : encoded) out += (out.empty() ? "" : "&") + name + "=" + value;
  return out;
}

std::string canonical_request(const SigningInput& input) {
  const auto headers = signed_headers(input);
  std::string out = fmt::format("{}\n{}\n{}\n", input.method, input.path, canonical_query(input.query));
  for (const auto& [name, value] : headers) out += fmt::format("{}:{}\n", name, value);
  return out + fmt::format("\n{}\n{}", names_of(headers), input.payload);
}

std::string string_to_sign(const SigningInput& input) {
  return fmt::format("{}\n{}\n{}\n{}", kAlgorithm, amz_date(input.at), scope(input),
                     to_hex(crypto::sha256(as_bytes(canonical_request(input)))));
}

std::string authorization(const SigningInput& input, const Credentials& credentials) {
  const crypto::SecretText first("AWS4" + std::string(credentials.secret_key.text()));
  crypto::Sha256 key = crypto::hmac_sha256(as_bytes(first.text()), as_bytes(amz_date(input.at).substr(0, 8)));
  for (const std::string_view part :
       {std::string_view(input.region), std::string_view(input.service), std::string_view("aws4_request")})
    key = crypto::hmac_sha256(key, as_bytes(part));
  const std::string signature = to_hex(crypto::hmac_sha256(key, as_bytes(string_to_sign(input))));
  crypto::wipe(key);
  return fmt::format("{} Credential={}/{}, SignedHeaders={}, Signature={}", kAlgorithm,
                     credentials.access_key, scope(input), names_of(signed_headers(input)), signature);
}

}  // namespace varve::store::s3
