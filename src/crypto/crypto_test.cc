#include "crypto/crypto.h"

#include <gtest/gtest.h>
#include <numeric>
#include <set>

namespace varve::crypto {
namespace {

struct CryptoTest : testing::Test {
  void SetUp() override { ASSERT_TRUE(init()); }
};

template <size_t N>
std::array<std::byte, N> counting() {
  std::array<std::byte, N> out;
  for (size_t i = 0; i < N; ++i) out[i] = static_cast<std::byte>(i);
  return out;
}
SecretKey counting_key() {
  return SecretKey(counting<32>());
}

Buffer seal_all(const SecretKey& key, uint64_t nonce, ByteView aad, ByteView plain) {
  Buffer out(plain.size() + kTagSize);
  EXPECT_TRUE(seal(key, nonce, aad, plain, out));
  return out;
}

// McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 13 and 14.
TEST_F(CryptoTest, GcmPublishedVectors) {
  const SecretKey zero;
  EXPECT_EQ(to_hex(seal_all(zero, 0, {}, {})), "530f8afbc74536b9a963b4f1c4cb738b");
  const std::array<std::byte, 16> block{};
  EXPECT_EQ(to_hex(seal_all(zero, 0, {}, block)),
            "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
}

// Computed with another implementation over the nonce 080706050403020100000000.
TEST_F(CryptoTest, NonceIsLittleEndian) {
  EXPECT_EQ(to_hex(seal_all(counting_key(), 0x0102030405060708, as_bytes("place 7"),
                            as_bytes("a page of a database"))),
            "d69f0104f523420573bb8a0bbaf4e8ab5b25eaabd5f5b60e390f79d269aa325c044eb18a");
}

TEST_F(CryptoTest, EveryChangedBitIsRefusedAndNothingIsGivenOut) {
  const SecretKey key = SecretKey::random();
  const Buffer sealed = seal_all(key, 7, as_bytes("aad"), as_bytes("secret page"));
  Buffer out(sealed.size() - kTagSize);
  ASSERT_TRUE(open(key, 7, as_bytes("aad"), sealed, out));
  EXPECT_EQ(as_text(out), "secret page");
  for (size_t bit = 0; bit < sealed.size() * 8; ++bit) {
    Buffer bad = sealed;
    bad[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
    out.assign(out.size(), std::byte{0x55});
    auto result = open(key, 7, as_bytes("aad"), bad, out);
    ASSERT_FALSE(result) << bit;
    EXPECT_EQ(result.error().code, Code::kDamaged);
    EXPECT_TRUE(all_zero(out));
  }
  EXPECT_FALSE(open(key, 8, as_bytes("aad"), sealed, out)) << "another nonce";
  EXPECT_FALSE(open(key, 7, as_bytes("aae"), sealed, out)) << "another place";
  EXPECT_FALSE(open(key, 7, {}, sealed, out)) << "no place";
  EXPECT_FALSE(open(SecretKey::random(), 7, as_bytes("aad"), sealed, out)) << "another key";
  EXPECT_TRUE(open(key, 7, as_bytes("aad"), sealed, out)) << "a refusal leaves nothing behind";
}

TEST_F(CryptoTest, LengthsAreChecked) {
  const SecretKey key = SecretKey::random();
  Buffer small(kTagSize - 1), empty;
  auto too_short = open(key, 0, {}, small, empty);
  ASSERT_FALSE(too_short);
  EXPECT_EQ(too_short.error().code, Code::kDamaged);
  Buffer sealed(kTagSize + 4), wrong(5);
  EXPECT_EQ(open(key, 0, {}, sealed, wrong).error().code, Code::kInternal);
  EXPECT_EQ(seal(key, 0, {}, wrong, small).error().code, Code::kInternal);
}

TEST_F(CryptoTest, CipherIsReusedMovedAndWorksInPlace) {
  const SecretKey key = SecretKey::random();
  Cipher first(key);
  Cipher cipher(std::move(first));
  for (uint64_t nonce = 0; nonce < 50; ++nonce) {
    Buffer page(100 + nonce * 37);
    random_bytes(page);
    const Buffer plain = page;
    page.resize(plain.size() + kTagSize);
    ASSERT_TRUE(cipher.seal(nonce, as_bytes("x"), MutableBytes(page).first(plain.size()), page));
    EXPECT_EQ(page, seal_all(key, nonce, as_bytes("x"), plain));
    Buffer damaged = page;
    damaged[nonce] ^= std::byte{1};
    Buffer out(plain.size());
    EXPECT_FALSE(cipher.open(nonce, as_bytes("x"), damaged, out));
    ASSERT_TRUE(cipher.open(nonce, as_bytes("x"), page, MutableBytes(page).first(plain.size())));
    page.resize(plain.size());
    EXPECT_EQ(page, plain);
  }
  Buffer tag(kTagSize);
  EXPECT_FALSE(first.seal(0, {}, {}, tag)) << "moved from";  // NOLINT(bugprone-use-after-move)
}

// RFC 7693 appendix A has BLAKE2b-512; these are b2sum -l 256 and Python's hashlib.
TEST_F(CryptoTest, Blake2b) {
  EXPECT_EQ(to_hex(digest({})), "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
  EXPECT_EQ(to_hex(digest(as_bytes("abc"))),
            "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
  const auto bytes = counting<255>();
  const auto key = counting<32>();
  const char* keyed = "f60f5c4a575c43db6c93608515866ea998e04b35792f5a92b27aa5880cd6721e";
  EXPECT_EQ(to_hex(digest(bytes, key)), keyed);
  Hasher parts(key);
  for (size_t i = 0; i < bytes.size(); i += 50)
    parts.update(ByteView(bytes).subspan(i, std::min<size_t>(50, bytes.size() - i)));
  EXPECT_EQ(to_hex(parts.finish()), keyed);
}

TEST_F(CryptoTest, DerivedKeysDependOnEverything) {
  const auto info = std::array{std::byte{1}, std::byte{2}};
  EXPECT_EQ(to_hex(derive(counting_key(), "varve frame", info).bytes()),
            "d4d961825b79f4e8326a99004d356771d67205d20f2c5bd44f20d14be8095c38");
  std::set<std::string> seen;
  for (const SecretKey& key : {counting_key(), SecretKey()}) {
    for (const char* context : {"", "a", "ab"}) {
      for (const char* more : {"", "a", "b"})
        seen.insert(to_hex(derive(key, context, as_bytes(more)).bytes()));
    }
  }
  EXPECT_EQ(seen.size(), 18u);
}

// Computed with OpenSSL's Argon2id, one lane.
TEST_F(CryptoTest, Argon2id) {
  Argon2Params params;
  params.salt = counting<16>();
  auto key = derive_from_passphrase("correct horse battery staple", params);
  ASSERT_TRUE(key);
  EXPECT_EQ(to_hex(key->bytes()), "0d1a3c6523c8f06e4e0af9c515aa5b5448cfebd6838f2d52c3d8b6ef8ddc3c2e");
  params.passes = 1;
  params.memory_bytes = 64 << 10;
  key = derive_from_passphrase("correct horse battery staple", params);
  ASSERT_TRUE(key);
  EXPECT_EQ(to_hex(key->bytes()), "92dc5d67019623868bde079275e522f4b7e8213d3414ed85cbc2ac8a41117288");
}

TEST_F(CryptoTest, ForgedArgonParametersAreRefusedBeforeTheyCostAnything) {
  for (auto [passes, memory] : {std::pair<uint64_t, uint64_t>{0, 64 << 20},
                                {33, 64 << 20},
                                {UINT64_MAX, 64 << 20},
                                {3, 0},
                                {3, 4096},
                                {3, (1ull << 30) + 1},
                                {3, UINT64_MAX}}) {
    Argon2Params params;
    params.passes = passes;
    params.memory_bytes = memory;
    auto key = derive_from_passphrase("p", params);
    ASSERT_FALSE(key) << passes << " " << memory;
    EXPECT_EQ(key.error().code, Code::kDamaged);
  }
  EXPECT_EQ(derive_from_passphrase("", {}).error().code, Code::kUsage);
}

TEST_F(CryptoTest, Base64) {  // RFC 4648 §10
  const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"}};
  for (auto [plain, text] : vectors) {
    EXPECT_EQ(to_base64(as_bytes(plain)), text);
    auto back = from_base64(text);
    ASSERT_TRUE(back) << text;
    EXPECT_EQ(as_text(*back), plain);
  }
  for (const char* junk : {"Z", "Zg", "Zg=", "Zh==", "Zm9v=", "Zm9v\n", " Zm9v", "Zm9v!", "Zm-_", "Zg==Zg==",
                           "\xb9\xf9\xb9\xf9\x99\xcf"
                           "f0"}) {
    auto back = from_base64(junk);
    ASSERT_FALSE(back) << junk;
    EXPECT_EQ(back.error().code, Code::kUsage);
  }
}

TEST_F(CryptoTest, EqualComparesContentAndLength) {
  EXPECT_TRUE(equal(as_bytes("same"), as_bytes("same")));
  EXPECT_FALSE(equal(as_bytes("same"), as_bytes("sane")));
  EXPECT_FALSE(equal(as_bytes("same"), as_bytes("same ")));
  EXPECT_TRUE(equal({}, {}));
}

TEST_F(CryptoTest, RandomDiffers) {
  EXPECT_NE(to_hex(SecretKey::random().bytes()), to_hex(SecretKey::random().bytes()));
  EXPECT_NE(random_array<16>(), random_array<16>());
}

TEST_F(CryptoTest, SecretsAreWiped) {
  alignas(SecretKey) std::array<std::byte, sizeof(SecretKey)> place;
  place.fill(std::byte{0x55});
  auto* key = new (place.data()) SecretKey(counting<32>());
  EXPECT_EQ(to_hex(key->bytes()), to_hex(counting<32>()));
  key->~SecretKey();
  EXPECT_TRUE(all_zero(place));

  SecretText from(std::string("short"));  // lies within the object, where a move leaves it behind
  SecretText to;
  to = std::move(from);
  EXPECT_EQ(to.text(), "short");
  to = SecretText(std::string(100, 'x'));
  EXPECT_EQ(to.text().size(), 100u);
  const SecretText copy = to;
  EXPECT_EQ(copy.text(), to.text());
}

TEST_F(CryptoTest, BadHashKeyEndsTheProgram) {
  EXPECT_DEATH(digest(as_bytes("x"), as_bytes("too short")), "");
}

}  // namespace
}  // namespace varve::crypto
