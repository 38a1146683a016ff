#include "codec/codec.h"

#include <gtest/gtest.h>
#include <random>

namespace varve::codec {
namespace {

Buffer random_buffer(size_t n, uint32_t seed = 1) {
  std::mt19937 rng(seed);
  Buffer out(n);
  for (auto& b : out) b = static_cast<std::byte>(rng());
  return out;
}

// Half random, half repeating: what a database page looks like to a compressor.
Buffer page_like(size_t n, uint32_t seed = 1) {
  Buffer out = random_buffer(n, seed);
  for (size_t i = 0; i < n; ++i) {
    if (i / 16 % 2 == 0) out[i] = static_cast<std::byte>(i % 7);
  }
  return out;
}

struct RoundTrip : testing::TestWithParam<Settings> {};

TEST_P(RoundTrip, ManyFramesWithOnePairOfContexts) {
  Compressor compressor(GetParam());
  Decompressor decompressor;
  for (size_t size : {0, 1, 2, 100, 4096, 8192, 65535, 65536, 65537, 1 << 20}) {
    for (const Buffer& plain : {page_like(size), random_buffer(size), Buffer(size, std::byte{0})}) {
      Buffer stored = to_buffer(as_bytes("before"));
      auto kind = compressor.compress(plain, stored);
      ASSERT_TRUE(kind);
      ASSERT_EQ(as_text(ByteView(stored).first(6)), "before") << "compress appends";
      const ByteView frame = ByteView(stored).subspan(6);
      EXPECT_LE(frame.size(), plain.size());
      EXPECT_EQ(*kind == Kind::kNone, frame.size() == plain.size());
      Buffer back(size, std::byte{0xaa});
      ASSERT_TRUE(decompressor.decompress(*kind, frame, back)) << size;
      EXPECT_EQ(back, plain);
    }
  }
}

TEST_P(RoundTrip, AnotherSizeIsRefused) {
  Compressor compressor(GetParam());
  Decompressor decompressor;
  const Buffer plain = page_like(8192);
  Buffer stored;
  auto kind = compressor.compress(plain, stored);
  ASSERT_TRUE(kind);
  for (size_t size : {0, 1, 8191, 8193, 100000}) {
    Buffer out(size);
    auto result = decompressor.decompress(*kind, stored, out);
    ASSERT_FALSE(result) << size;
    EXPECT_EQ(result.error().code, Code::kDamaged);
  }
  Buffer out(plain.size());
  for (size_t cut : {size_t{0}, size_t{1}, size_t{4}, stored.size() / 2, stored.size() - 1})
    EXPECT_FALSE(decompressor.decompress(*kind, ByteView(stored).first(cut), out)) << cut;
  stored.push_back(std::byte{0});
  EXPECT_FALSE(decompressor.decompress(*kind, stored, out)) << "something after the end";
}

TEST_P(RoundTrip, GarbageNeverEscapes) {
  // Under the address sanitizer this is the proof that nothing outside is touched.
  Compressor compressor(GetParam());
  Decompressor decompressor;
  const Buffer plain = page_like(4096);
  Buffer stored;
  auto kind = compressor.compress(plain, stored);
  ASSERT_TRUE(kind);
  std::mt19937 rng(7);
  for (int round = 0; round < 2000; ++round) {
    Buffer bad = stored;
    for (int i = 0; i < 3; ++i) bad[rng() % bad.size()] = static_cast<std::byte>(rng());
    Buffer out(plain.size());
    auto result = decompressor.decompress(*kind, bad, out);
    if (!result) {
      EXPECT_EQ(result.error().code, Code::kDamaged);
    }
  }
  Buffer out(plain.size());
  ASSERT_TRUE(decompressor.decompress(*kind, stored, out)) << "the context survives garbage";
  EXPECT_EQ(out, plain);
}

INSTANTIATE_TEST_SUITE_P(Codec, RoundTrip,
                         testing::Values(Settings{Kind::kNone, 0}, Settings{Kind::kZstd, 3},
                                         Settings{Kind::kZstd, -1}, Settings{Kind::kZstd, 1000},
                                         Settings{Kind::kLz4, 1}));

TEST(Compress, CompressesPages) {
  for (Kind kind : {Kind::kZstd, Kind::kLz4}) {
    Compressor compressor({kind, 3});
    Buffer stored;
    auto how = compressor.compress(page_like(65536), stored);
    ASSERT_TRUE(how);
    EXPECT_EQ(*how, kind);
    EXPECT_LT(stored.size(), 50000u);
    stored.clear();
    how = compressor.compress(random_buffer(65536), stored);
    ASSERT_TRUE(how);
    EXPECT_EQ(*how, Kind::kNone) << "random bytes are stored as they are";
    EXPECT_EQ(stored.size(), 65536u);
  }
}

TEST(Decompress, HeaderThatLiesAboutItsSize) {
  // Magic, descriptor "single segment, 8-byte content size", a size of 2^62, then one empty last block.
  auto frame = from_hex(
      "28b52ffde0"
      "0000000000000040"
      "010000");
  ASSERT_TRUE(frame);
  Decompressor decompressor;
  Buffer out(4096);
  auto result = decompressor.decompress(Kind::kZstd, *frame, out);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kDamaged);
}

TEST(Decompress, OnlyOnePlainFrame) {
  Compressor compressor({Kind::kZstd, 3});
  Decompressor decompressor;
  const Buffer plain = page_like(4096);
  Buffer one;
  ASSERT_EQ(*compressor.compress(plain, one), Kind::kZstd);
  Buffer two = one;
  append(two, one);
  Buffer out(2 * plain.size());
  EXPECT_FALSE(decompressor.decompress(Kind::kZstd, two, out)) << "two frames";
  Buffer skip = *from_hex("502a4d1804000000deadbeef");
  Buffer none;
  EXPECT_FALSE(decompressor.decompress(Kind::kZstd, skip, none)) << "a skippable frame";
  append(skip, one);
  out.resize(plain.size());
  EXPECT_FALSE(decompressor.decompress(Kind::kZstd, skip, out)) << "a skippable frame before";
}

TEST(Decompress, UnknownKind) {
  Decompressor decompressor;
  auto result = decompressor.decompress(static_cast<Kind>(9), {}, {});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kDamaged);
}

TEST(PageHasher, DependsOnTheSecretAndEveryByte) {
  const Buffer a = random_buffer(PageHasher::kSecretSize, 1), b = random_buffer(PageHasher::kSecretSize, 2);
  const PageHasher hash_a{std::span<const std::byte, PageHasher::kSecretSize>(a)};
  const PageHasher hash_b{std::span<const std::byte, PageHasher::kSecretSize>(b)};
  Buffer page = page_like(4096);
  const uint64_t identity = hash_a(page);
  EXPECT_EQ(hash_a(page), identity);
  EXPECT_NE(hash_b(page), identity);
  EXPECT_NE(hash_a(ByteView(page).first(4095)), identity);
  for (size_t i = 0; i < page.size(); i += 61) {
    page[i] ^= std::byte{1};
    EXPECT_NE(hash_a(page), identity) << i;
    page[i] ^= std::byte{1};
  }
}

// The identity of a page is stored in repositories: it may never change.
TEST(PageHasher, IsFrozen) {
  std::array<std::byte, PageHasher::kSecretSize> secret;
  for (size_t i = 0; i < secret.size(); ++i) secret[i] = static_cast<std::byte>(i * 7 + 3);
  const PageHasher hash(secret);
  EXPECT_EQ(hash(Buffer(512, std::byte{0})), 0xe8e5556bd9f4f1bbull);
  EXPECT_EQ(hash(Buffer(4096, std::byte{0x5a})), 0x5946f420b4e40656ull);
}

TEST(Checksum, PublishedVectorAndParts) {
  // XXH3-128 of nothing: 99aa06d3014798d86001c324468d497f.
  EXPECT_EQ(to_hex(checksum({})), "7f498d4624c30160d8984701d306aa99");
  const Buffer bytes = random_buffer(100000);
  Checksummer parts;
  for (size_t i = 0; i < bytes.size(); i += 777)
    parts.update(ByteView(bytes).subspan(i, std::min<size_t>(777, bytes.size() - i)));
  EXPECT_EQ(parts.finish(), checksum(bytes));
  EXPECT_NE(checksum(ByteView(bytes).first(99999)), checksum(bytes));
}

}  // namespace
}  // namespace varve::codec
