#include "store/azure/shared_key.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <vector>

#include "base/text.h"
#include "crypto/crypto.h"
#include "crypto/signing.h"

namespace varve::store::azure {
namespace {

// In this order, and where one is absent, an empty line. Date stays empty: the request has x-ms-date.
constexpr std::string_view kStandard[] = {
    "content-encoding",  "content-language", "content-length", "content-md5",         "content-type", "date",
    "if-modified-since", "if-match",         "if-none-match",  "if-unmodified-since", "range"};

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string percent_decode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
    const int low = high >= 0 ? hex_value(text[i + 2]) : -1;
    if (low < 0) {
      out += text[i];
      continue;
    }
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

uint64_t total_size(std::span<const ByteView> pieces) {
  uint64_t out = 0;
  for (const ByteView& piece : pieces) out += piece.size();
  return out;
}

std::string canonical_resource(std::string_view url, std::string_view account) {
  const size_t scheme = url.find("://");
  const size_t slash = url.find_first_of("/?", scheme == url.npos ? 0 : scheme + 3);
  const std::string_view rest = slash == url.npos ? std::string_view() : url.substr(slash);
  const size_t mark = rest.find('?');
  const std::string_view path = rest.substr(0, mark);
  std::string out = fmt::format("/{}{}", account, path.empty() ? "/" : path);
  if (mark == rest.npos) return out;
  std::map<std::string, std::vector<std::string>> parameters;
  for (const std::string_view pair : split(rest.substr(mark + 1), '&')) {
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    const std::string_view value = equals == pair.npos ? std::string_view() : pair.substr(equals + 1);
    parameters[to_lower(percent_decode(pair.substr(0, equals)))].push_back(percent_decode(value));
  }
  for (auto& [name, values] : parameters) {
    std::sort(values.begin(), values.end());
    out += fmt::format("\n{}:{}", name, fmt::join(values, ","));
  }
  return out;
}

}  // namespace

std::string string_to_sign(const net::HttpRequest& request, std::string_view account) {
  std::map<std::string, std::string> headers;
  for (const net::Header& header : request.headers)
    headers.emplace(to_lower(header.name), std::string(trim(header.value)));
  // The length 0 is signed as an empty line.
  if (const uint64_t size = total_size(request.body); size > 0)
    headers["content-length"] = std::to_string(size);
  std::string out = request.method + "\n";
  for (const std::string_view name : kStandard) {
    const auto it = headers.find(std::string(name));
    out += (it == headers.end() ? std::string() : it->second) + "\n";
  }
  for (const auto& [name, value] : headers) {
    if (name.starts_with("x-ms-")) out += fmt::format("{}:{}\n", name, value);
  }
  return out + canonical_resource(request.url, account);
}

std::string shared_key_authorization(const net::HttpRequest& request, std::string_view account,
                                     ByteView key) {
  const crypto::Sha256 signature = crypto::hmac_sha256(key, as_bytes(string_to_sign(request, account)));
  return fmt::format("SharedKey {}:{}", account, crypto::to_base64(signature));
}

}  // namespace varve::store::azure
