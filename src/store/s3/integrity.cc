#include "store/s3/integrity.h"

#include <array>

#include "codec/crc32c.h"
#include "crypto/crypto.h"
#include "crypto/signing.h"

namespace varve::store::s3 {

std::string crc32c_text(std::span<const ByteView> body) {
  std::array<std::byte, 4> bytes;
  store_be(bytes.data(), codec::crc32c(body));
  return crypto::to_base64(bytes);
}

std::optional<uint32_t> parse_crc32c(std::string_view text) {
  const auto bytes = crypto::from_base64(text);
  if (!bytes || bytes->size() != 4) return std::nullopt;
  return load_be<uint32_t>(bytes->data());
}

void add_integrity(const Quirks& quirks, std::span<const ByteView> body, std::vector<net::Header>* headers) {
  if (!quirks.checksums) return add_md5(body, headers);
  headers->push_back({"x-amz-checksum-crc32c", crc32c_text(body)});
  // Ceph looks at the checksum only when this is there.
  headers->push_back({"x-amz-sdk-checksum-algorithm", "CRC32C"});
}

void add_md5(std::span<const ByteView> body, std::vector<net::Header>* headers) {
  headers->push_back({"Content-MD5", crypto::to_base64(crypto::md5(body))});
}

}  // namespace varve::store::s3
