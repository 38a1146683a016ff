#include "crypto/signing.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <sodium.h>

namespace varve::crypto {
namespace {

template <typename T, void (*Free)(T*)>
struct Deleter {
  void operator()(T* p) const { Free(p); }
};
using DigestContext = std::unique_ptr<EVP_MD_CTX, Deleter<EVP_MD_CTX, EVP_MD_CTX_free>>;
using PrivateKey = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY, EVP_PKEY_free>>;

// These digests fail only for want of memory, or where a policy of the system forbids them.
template <typename Out>
Out digest_of(const EVP_MD* kind, std::span<const ByteView> pieces) {
  Out out{};
  const DigestContext ctx(EVP_MD_CTX_new());
  bool fine = ctx && EVP_DigestInit_ex(ctx.get(), kind, nullptr) == 1;
  for (const ByteView& piece : pieces)
    fine = fine && EVP_DigestUpdate(ctx.get(), piece.data(), piece.size()) == 1;
  if (!fine || EVP_DigestFinal_ex(ctx.get(), reinterpret_cast<unsigned char*>(out.data()), nullptr) != 1)
    std::terminate();
  return out;
}

}  // namespace

Sha256 sha256(ByteView bytes) {
  return sha256(std::span<const ByteView>(&bytes, 1));
}

Sha256 sha256(std::span<const ByteView> pieces) {
  return digest_of<Sha256>(EVP_sha256(), pieces);
}

Sha256 hmac_sha256(ByteView key, ByteView bytes) {
  Sha256 out{};
  if (!HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
            reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
            reinterpret_cast<unsigned char*>(out.data()), nullptr))
    std::terminate();
  return out;
}

Md5 md5(std::span<const ByteView> pieces) {
  return digest_of<Md5>(EVP_md5(), pieces);
}

struct Md5Hasher::State {
  DigestContext ctx{EVP_MD_CTX_new()};
};

Md5Hasher::Md5Hasher() : state_(std::make_unique<State>()) {
  if (!state_->ctx || EVP_DigestInit_ex(state_->ctx.get(), EVP_md5(), nullptr) != 1) std::terminate();
}
Md5Hasher::~Md5Hasher() = default;

void Md5Hasher::update(ByteView bytes) {
  if (EVP_DigestUpdate(state_->ctx.get(), bytes.data(), bytes.size()) != 1) std::terminate();
}

Md5 Md5Hasher::finish() {
  Md5 out{};
  if (EVP_DigestFinal_ex(state_->ctx.get(), reinterpret_cast<unsigned char*>(out.data()), nullptr) != 1)
    std::terminate();
  return out;
}

namespace {

Result<Buffer> sign_rsa(std::string_view private_key_pem, ByteView bytes, bool pss) {
  const std::unique_ptr<BIO, Deleter<BIO, BIO_free_all>> bio(
      BIO_new_mem_buf(private_key_pem.data(), static_cast<int>(private_key_pem.size())));
  // No prompt: a key with a passphrase of its own is refused.
  const auto no_passphrase = [](char*, int, int, void*) { return -1; };
  const PrivateKey key(bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr) : nullptr);
  if (!key || EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_RSA)
    return fail(Code::kUsage, "this is no RSA private key in PEM");
  const DigestContext ctx(EVP_MD_CTX_new());
  const auto* in = reinterpret_cast<const unsigned char*>(bytes.data());
  size_t size = 0;
  EVP_PKEY_CTX* settings = nullptr;  // belongs to ctx
  if (!ctx || EVP_DigestSignInit(ctx.get(), &settings, EVP_sha256(), nullptr, key.get()) != 1 ||
      (pss && (EVP_PKEY_CTX_set_rsa_padding(settings, RSA_PKCS1_PSS_PADDING) != 1 ||
               EVP_PKEY_CTX_set_rsa_pss_saltlen(settings, RSA_PSS_SALTLEN_DIGEST) != 1)) ||
      EVP_DigestSign(ctx.get(), nullptr, &size, in, bytes.size()) != 1)
    return fail(Code::kInternal, "OpenSSL cannot sign by RSA");
  Buffer out(size);
  if (EVP_DigestSign(ctx.get(), reinterpret_cast<unsigned char*>(out.data()), &size, in, bytes.size()) != 1)
    return fail(Code::kInternal, "OpenSSL did not sign by RSA");
  out.resize(size);
  return out;
}

}  // namespace

Result<Buffer> sign_rs256(std::string_view private_key_pem, ByteView bytes) {
  return sign_rsa(private_key_pem, bytes, false);
}

Result<Buffer> sign_ps256(std::string_view private_key_pem, ByteView bytes) {
  return sign_rsa(private_key_pem, bytes, true);
}

std::string to_base64url(ByteView bytes) {
  constexpr int kVariant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
  std::string out(sodium_base64_encoded_len(bytes.size(), kVariant), '\0');
  sodium_bin2base64(out.data(), out.size(), reinterpret_cast<const unsigned char*>(bytes.data()),
                    bytes.size(), kVariant);
  out.resize(out.size() - 1);  // its zero
  return out;
}

}  // namespace varve::crypto
