#include "crypto/crypto.h"

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <openssl/evp.h>
#include <sodium.h>
#include <utility>

namespace varve::crypto {
namespace {

using Nonce = std::array<unsigned char, 12>;

const unsigned char* u8(const std::byte* p) {
  return reinterpret_cast<const unsigned char*>(p);
}
unsigned char* u8(std::byte* p) {
  return reinterpret_cast<unsigned char*>(p);
}

Nonce nonce_bytes(uint64_t counter) {
  Nonce out{};
  store_le(reinterpret_cast<std::byte*>(out.data()), counter);
  return out;
}

// Looking a cipher up by name costs more than sealing a page; once is enough.
const EVP_CIPHER* aes_256_gcm() {
  static EVP_CIPHER* const cipher = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  return cipher;
}

EVP_CIPHER_CTX* ctx_of(void* p) {
  return static_cast<EVP_CIPHER_CTX*>(p);
}

tl::unexpected<Error> library_failed(const char* what) {
  return fail(Code::kInternal, std::string("OpenSSL failed while ") + what);
}

// OpenSSL counts in int.
bool too_long(ByteView bytes) {
  return bytes.size() > INT_MAX - kTagSize;
}

void check_key_length(ByteView key) {
  // A short key is a bug of the caller that no test vector would show: hash nothing rather than hash weakly.
  if (!key.empty() &&
      (key.size() < crypto_generichash_KEYBYTES_MIN || key.size() > crypto_generichash_KEYBYTES_MAX))
    std::abort();
}

crypto_generichash_state* state_of(std::array<std::byte, 384>& bytes) {
  return reinterpret_cast<crypto_generichash_state*>(bytes.data());
}

void wipe_text(std::string& text) {
  // The capacity, not the size: a short text that was moved from has left its characters behind.
  text.resize(text.capacity());
  sodium_memzero(text.data(), text.size());
  text.clear();
}

}  // namespace

Result<> init() {
  if (sodium_init() < 0) return fail(Code::kInternal, "libsodium cannot start: no source of random numbers");
  if (aes_256_gcm() == nullptr) {
    return fail(Code::kUnsupported, "OpenSSL offers no AES-256-GCM",
                "check the providers that openssl.cnf activates: `openssl list -providers`");
  }
  return {};
}

SecretKey::SecretKey(std::span<const std::byte, kSize> bytes) {
  std::copy(bytes.begin(), bytes.end(), bytes_.begin());
}
SecretKey::~SecretKey() {
  wipe(bytes_);
}
SecretKey SecretKey::random() {
  SecretKey out;
  random_bytes(out.bytes_);
  return out;
}

SecretText& SecretText::operator=(SecretText&& other) noexcept {
  if (this != &other) {
    wipe_text(text_);
    text_ = std::move(other.text_);
  }
  return *this;
}
SecretText& SecretText::operator=(const SecretText& other) {
  if (this != &other) {
    wipe_text(text_);
    text_ = other.text_;
  }
  return *this;
}
SecretText::~SecretText() {
  wipe_text(text_);
}
bool SecretText::operator==(const SecretText& other) const {
  return equal(as_bytes(text_), as_bytes(other.text_));
}

void random_bytes(MutableBytes out) {
  randombytes_buf(out.data(), out.size());
}
bool equal(ByteView a, ByteView b) {
  return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}
void wipe(MutableBytes bytes) {
  sodium_memzero(bytes.data(), bytes.size());
}

Digest digest(ByteView bytes, ByteView key) {
  Hasher hasher(key);
  hasher.update(bytes);
  return hasher.finish();
}

Hasher::Hasher(ByteView key) {
  static_assert(sizeof(crypto_generichash_state) <= sizeof state_);
  static_assert(alignof(crypto_generichash_state) <= 64);
  check_key_length(key);
  crypto_generichash_init(state_of(state_), key.empty() ? nullptr : u8(key.data()), key.size(),
                          sizeof(Digest));
}
void Hasher::update(ByteView bytes) {
  crypto_generichash_update(state_of(state_), u8(bytes.data()), bytes.size());
}
Digest Hasher::finish() {
  Digest out;
  crypto_generichash_final(state_of(state_), u8(out.data()), out.size());
  return out;
}

SecretKey derive(const SecretKey& key, std::string_view context, ByteView info) {
  static constexpr std::byte kSeparator{0};
  Hasher hasher(key.bytes());
  hasher.update(as_bytes(context));
  hasher.update({&kSeparator, 1});
  hasher.update(info);
  Digest bytes = hasher.finish();
  SecretKey out{std::span<const std::byte, SecretKey::kSize>(bytes)};
  wipe(bytes);
  return out;
}

Cipher::Cipher(const SecretKey& key) : seal_ctx_(EVP_CIPHER_CTX_new()), open_ctx_(EVP_CIPHER_CTX_new()) {
  const unsigned char* k = u8(key.bytes().data());
  const bool ready = seal_ctx_ != nullptr && open_ctx_ != nullptr &&
                     EVP_EncryptInit_ex2(ctx_of(seal_ctx_), aes_256_gcm(), k, nullptr, nullptr) == 1 &&
                     EVP_DecryptInit_ex2(ctx_of(open_ctx_), aes_256_gcm(), k, nullptr, nullptr) == 1;
  if (ready) return;
  EVP_CIPHER_CTX_free(ctx_of(std::exchange(seal_ctx_, nullptr)));
  EVP_CIPHER_CTX_free(ctx_of(std::exchange(open_ctx_, nullptr)));
}
Cipher::~Cipher() {  // OpenSSL wipes the key schedule
  EVP_CIPHER_CTX_free(ctx_of(seal_ctx_));
  EVP_CIPHER_CTX_free(ctx_of(open_ctx_));
}
Cipher::Cipher(Cipher&& other) noexcept
    : seal_ctx_(std::exchange(other.seal_ctx_, nullptr)),
      open_ctx_(std::exchange(other.open_ctx_, nullptr)) {}
Cipher& Cipher::operator=(Cipher&& other) noexcept {
  std::swap(seal_ctx_, other.seal_ctx_);
  std::swap(open_ctx_, other.open_ctx_);
  return *this;
}

Result<> Cipher::seal(uint64_t nonce, ByteView aad, ByteView plain, MutableBytes out) {
  if (out.size() != plain.size() + kTagSize || too_long(plain) || too_long(aad))
    return fail(Code::kInternal, "seal: the lengths do not fit");
  EVP_CIPHER_CTX* ctx = ctx_of(seal_ctx_);
  const Nonce iv = nonce_bytes(nonce);
  int n = 0;
  if (ctx == nullptr || EVP_EncryptInit_ex2(ctx, nullptr, nullptr, iv.data(), nullptr) != 1)
    return library_failed("setting up encryption");
  if (!aad.empty() && EVP_EncryptUpdate(ctx, nullptr, &n, u8(aad.data()), static_cast<int>(aad.size())) != 1)
    return library_failed("authenticating");
  if (!plain.empty() &&
      EVP_EncryptUpdate(ctx, u8(out.data()), &n, u8(plain.data()), static_cast<int>(plain.size())) != 1)
    return library_failed("encrypting");
  unsigned char* tag = u8(out.data()) + plain.size();
  if (EVP_EncryptFinal_ex(ctx, tag, &n) != 1 ||
      EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, static_cast<int>(kTagSize), tag) != 1)
    return library_failed("encrypting");
  return {};
}

Result<> Cipher::open(uint64_t nonce, ByteView aad, ByteView sealed, MutableBytes out) {
  if (sealed.size() < kTagSize) return fail(Code::kDamaged, "encrypted data are too short to be whole");
  if (out.size() != sealed.size() - kTagSize || too_long(out) || too_long(aad))
    return fail(Code::kInternal, "open: the lengths do not fit");
  EVP_CIPHER_CTX* ctx = ctx_of(open_ctx_);
  const Nonce iv = nonce_bytes(nonce);
  // Copied before decrypting: `out` may start where `sealed` does.
  std::array<unsigned char, kTagSize> tag;
  std::memcpy(tag.data(), sealed.data() + out.size(), kTagSize);
  int n = 0;
  if (ctx == nullptr || EVP_DecryptInit_ex2(ctx, nullptr, nullptr, iv.data(), nullptr) != 1)
    return library_failed("setting up decryption");
  if (!aad.empty() && EVP_DecryptUpdate(ctx, nullptr, &n, u8(aad.data()), static_cast<int>(aad.size())) != 1)
    return library_failed("authenticating");
  if (!out.empty() &&
      EVP_DecryptUpdate(ctx, u8(out.data()), &n, u8(sealed.data()), static_cast<int>(out.size())) != 1) {
    wipe(out);
    return library_failed("decrypting");
  }
  std::array<unsigned char, kTagSize> rest;
  if (EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, static_cast<int>(kTagSize), tag.data()) != 1 ||
      EVP_DecryptFinal_ex(ctx, rest.data(), &n) != 1) {
    wipe(out);
    return fail(Code::kDamaged, "encrypted data do not authenticate: they were changed, or belong elsewhere");
  }
  return {};
}

Result<> seal(const SecretKey& key, uint64_t nonce, ByteView aad, ByteView plain, MutableBytes out) {
  return Cipher(key).seal(nonce, aad, plain, out);
}
Result<> open(const SecretKey& key, uint64_t nonce, ByteView aad, ByteView sealed, MutableBytes out) {
  return Cipher(key).open(nonce, aad, sealed, out);
}

Result<SecretKey> derive_from_passphrase(std::string_view passphrase, const Argon2Params& params) {
  static_assert(std::tuple_size_v<decltype(params.salt)> == crypto_pwhash_argon2id_SALTBYTES);
  constexpr uint64_t kMostPasses = 32, kLeastMemory = 64 << 10, kMostMemory = 1ull << 30;
  if (params.passes < 1 || params.passes > kMostPasses || params.memory_bytes < kLeastMemory ||
      params.memory_bytes > kMostMemory)
    return fail(Code::kDamaged,
                "the parameters of the passphrase's key derivation are outside of sane limits");
  if (passphrase.empty()) return fail(Code::kUsage, "the passphrase is empty");
  std::array<std::byte, SecretKey::kSize> bytes;
  if (crypto_pwhash(u8(bytes.data()), bytes.size(), passphrase.data(), passphrase.size(),
                    u8(params.salt.data()), params.passes, params.memory_bytes,
                    crypto_pwhash_ALG_ARGON2ID13) != 0)
    return fail(Code::kIo, errno == ENOMEM ? "not enough memory to derive the key from the passphrase"
                                           : "cannot derive the key from the passphrase");
  SecretKey out{std::span<const std::byte, SecretKey::kSize>(bytes)};
  wipe(bytes);
  return out;
}

std::string to_base64(ByteView bytes) {
  std::string out(sodium_base64_encoded_len(bytes.size(), sodium_base64_VARIANT_ORIGINAL), '\0');
  sodium_bin2base64(out.data(), out.size(), u8(bytes.data()), bytes.size(), sodium_base64_VARIANT_ORIGINAL);
  out.pop_back();  // the terminating zero
  return out;
}

Result<Buffer> from_base64(std::string_view text) {
  Buffer out(text.size() / 4 * 3 + 3);
  size_t length = 0;
  const char* end = nullptr;
  const bool decoded = sodium_base642bin(u8(out.data()), out.size(), text.data(), text.size(), nullptr,
                                         &length, &end, sodium_base64_VARIANT_ORIGINAL) == 0;
  out.resize(decoded ? length : 0);
  // libsodium takes some bytes above 127 for letters; only what the encoder would have written is base64.
  if (!decoded || to_base64(out) != text) return fail(Code::kUsage, "not base64");
  return out;
}

}  // namespace varve::crypto
