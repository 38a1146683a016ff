// Known answers: RFC 4231, FIPS 180, RFC 1321; signatures are checked by OpenSSL's own verification.
#include "crypto/signing.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

namespace varve::crypto {
namespace {

std::string pem_of(EVP_PKEY* key, bool traditional) {
  BIO* bio = BIO_new(BIO_s_mem());
  if (traditional)
    PEM_write_bio_PrivateKey_traditional(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  else
    PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string out(data, static_cast<size_t>(size));
  BIO_free(bio);
  return out;
}

TEST(Signing, KnownDigests) {
  EXPECT_EQ(to_hex(sha256(as_bytes("abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(to_hex(sha256(ByteView{})), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  const ByteView pieces[] = {as_bytes("a"), {}, as_bytes("bc")};
  EXPECT_EQ(sha256(pieces), sha256(as_bytes("abc")));
  EXPECT_EQ(to_hex(md5(pieces)), "900150983cd24fb0d6963f7d28e17f72");
  Md5Hasher hasher;
  for (const ByteView& piece : pieces) hasher.update(piece);
  EXPECT_EQ(hasher.finish(), md5(pieces));
  EXPECT_EQ(to_hex(hmac_sha256(as_bytes("Jefe"), as_bytes("what do ya want for nothing?"))),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST(Signing, Base64Url) {
  EXPECT_EQ(to_base64url(as_bytes("\xfb\xff\xfe")), "-__-");
  EXPECT_EQ(to_base64url(as_bytes("a")), "YQ");
  EXPECT_EQ(to_base64url({}), "");
}

TEST(Signing, PssIsVerifiedByItsPublicKey) {
  EVP_PKEY* key = EVP_RSA_gen(2048);
  auto signature = sign_ps256(pem_of(key, false), as_bytes("a token"));
  ASSERT_TRUE(signature) << signature.error().describe();
  EVP_MD_CTX* ctx = EVP_MD_CTX_new();
  EVP_PKEY_CTX* settings = nullptr;
  ASSERT_EQ(EVP_DigestVerifyInit(ctx, &settings, EVP_sha256(), nullptr, key), 1);
  ASSERT_EQ(EVP_PKEY_CTX_set_rsa_padding(settings, RSA_PKCS1_PSS_PADDING), 1);
  ASSERT_EQ(EVP_PKEY_CTX_set_rsa_pss_saltlen(settings, 32), 1);
  EXPECT_EQ(EVP_DigestVerify(ctx, reinterpret_cast<const unsigned char*>(signature->data()),
                             signature->size(), reinterpret_cast<const unsigned char*>("a token"), 7),
            1);
  EVP_MD_CTX_free(ctx);
  EVP_PKEY_free(key);
}

TEST(Signing, RsaIsVerifiedByItsPublicKey) {
  EVP_PKEY* key = EVP_RSA_gen(2048);
  ASSERT_NE(key, nullptr);
  for (const bool traditional : {false, true}) {
    auto signature = sign_rs256(pem_of(key, traditional), as_bytes("a token"));
    ASSERT_TRUE(signature) << signature.error().describe();
    EVP_MD_CTX* ctx = EVP_MD_CTX_new();
    ASSERT_EQ(EVP_DigestVerifyInit(ctx, nullptr, EVP_sha256(), nullptr, key), 1);
    EXPECT_EQ(EVP_DigestVerify(ctx, reinterpret_cast<const unsigned char*>(signature->data()),
                               signature->size(), reinterpret_cast<const unsigned char*>("a token"), 7),
              1);
    EVP_MD_CTX_free(ctx);
  }
  EVP_PKEY_free(key);
  EVP_PKEY* other = EVP_EC_gen("P-256");
  for (const std::string& pem :
       {std::string(), std::string("-----BEGIN PRIVATE KEY-----\nnonsense"), pem_of(other, false)}) {
    auto refused = sign_rs256(pem, as_bytes("x"));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kUsage);
  }
  EVP_PKEY_free(other);
}

}  // namespace
}  // namespace varve::crypto
