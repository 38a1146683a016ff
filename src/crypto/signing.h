// What the clouds' protocols sign and check with: SHA-256, HMAC, MD5, RSA. Nothing here protects backups.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/error.h"

namespace varve::crypto {

using Sha256 = std::array<std::byte, 32>;
Sha256 sha256(ByteView bytes);
Sha256 sha256(std::span<const ByteView> pieces);
Sha256 hmac_sha256(ByteView key, ByteView bytes);

using Md5 = std::array<std::byte, 16>;
Md5 md5(std::span<const ByteView> pieces);  // integrity headers only
class Md5Hasher {                           // the same over parts
 public:
  Md5Hasher();
  ~Md5Hasher();
  Md5Hasher(const Md5Hasher&) = delete;
  Md5Hasher& operator=(const Md5Hasher&) = delete;
  void update(ByteView bytes);
  Md5 finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// RSASSA-PKCS1-v1_5 over SHA-256 with a private key in PEM (PKCS#8 or PKCS#1). kUsage when it is no RSA key.
Result<Buffer> sign_rs256(std::string_view private_key_pem, ByteView bytes);
// RSASSA-PSS over SHA-256 with a salt of 32 bytes (JWT's PS256); otherwise the same.
Result<Buffer> sign_ps256(std::string_view private_key_pem, ByteView bytes);

// RFC 4648 "base64url" without padding.
std::string to_base64url(ByteView bytes);

}  // namespace varve::crypto
