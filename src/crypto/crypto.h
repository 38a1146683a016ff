// Hashing, authenticated encryption, key derivation: thin wrappers of libsodium and OpenSSL that cannot be
// misused by omission. All functions are thread-safe after crypto_init().
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/error.h"

namespace varve::crypto {

// Once, early in main() and in each test's main; cheap to repeat. Fails when the libraries cannot start.
Result<> init();

// 32 bytes that are wiped when they go away. Compared only by equal().
class SecretKey {
 public:
  static constexpr size_t kSize = 32;
  SecretKey() = default;
  explicit SecretKey(std::span<const std::byte, kSize> bytes);
  SecretKey(const SecretKey&) = default;
  SecretKey& operator=(const SecretKey&) = default;
  ~SecretKey();
  static SecretKey random();
  std::span<const std::byte, kSize> bytes() const { return bytes_; }

 private:
  std::array<std::byte, kSize> bytes_{};
};

// Text that is wiped: a passphrase.
class SecretText {
 public:
  SecretText() = default;
  explicit SecretText(std::string text) : text_(std::move(text)) {}
  SecretText(SecretText&&) noexcept = default;
  SecretText& operator=(SecretText&&) noexcept;
  SecretText(const SecretText&) = default;
  SecretText& operator=(const SecretText&);
  ~SecretText();
  std::string_view text() const { return text_; }
  bool empty() const { return text_.empty(); }
  bool operator==(const SecretText& other) const;  // as equal() does

 private:
  std::string text_;
};

void random_bytes(MutableBytes out);
template <size_t N>
std::array<std::byte, N> random_array() {
  std::array<std::byte, N> out;
  random_bytes(out);
  return out;
}
// Constant time in the content; false for different lengths.
bool equal(ByteView a, ByteView b);
void wipe(MutableBytes bytes);

// BLAKE2b-256; key: 0 or 16–64 bytes.
using Digest = std::array<std::byte, 32>;
Digest digest(ByteView bytes, ByteView key = {});
class Hasher {  // the same over parts
 public:
  explicit Hasher(ByteView key = {});
  void update(ByteView bytes);
  Digest finish();

 private:
  alignas(64) std::array<std::byte, 384> state_;
};

// A key for one purpose: BLAKE2b-256 keyed with `key` over context ‖ 0x00 ‖ info. Different contexts,
// unrelated keys.
SecretKey derive(const SecretKey& key, std::string_view context, ByteView info = {});

// AES-256-GCM (OpenSSL). The nonce is a counter (on the wire: 12 bytes, little-endian): a (key, nonce) pair
// must never be used twice.
inline constexpr size_t kTagSize = 16;
// out.size() == plain.size() + kTagSize: ciphertext then tag. in and out may be the same memory start.
Result<> seal(const SecretKey& key, uint64_t nonce, ByteView aad, ByteView plain, MutableBytes out);
// out.size() == sealed.size() - kTagSize. kDamaged when it does not authenticate; then out is wiped.
Result<> open(const SecretKey& key, uint64_t nonce, ByteView aad, ByteView sealed, MutableBytes out);

// The same key used for many frames without setting the cipher up anew each time. One thread at a time.
class Cipher {
 public:
  explicit Cipher(const SecretKey& key);
  ~Cipher();
  Cipher(Cipher&&) noexcept;
  Cipher& operator=(Cipher&&) noexcept;
  Result<> seal(uint64_t nonce, ByteView aad, ByteView plain, MutableBytes out);
  Result<> open(uint64_t nonce, ByteView aad, ByteView sealed, MutableBytes out);

 private:
  void* seal_ctx_ = nullptr;
  void* open_ctx_ = nullptr;
};

// Argon2id (libsodium). The defaults are libsodium's MODERATE: 256 MiB would break the memory promise, so
// 64 MiB and 3 passes, as RFC 9106's second recommendation.
struct Argon2Params {
  uint64_t passes = 3;
  uint64_t memory_bytes = 64ull << 20;
  std::array<std::byte, 16> salt{};
};
// kDamaged for parameters outside sane limits (a forged key object must not eat the machine's memory).
Result<SecretKey> derive_from_passphrase(std::string_view passphrase, const Argon2Params& params);

std::string to_base64(ByteView bytes);
Result<Buffer> from_base64(std::string_view text);

}  // namespace varve::crypto
