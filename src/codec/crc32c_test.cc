// Known answers from RFC 3720 (B.4).
#include "codec/crc32c.h"

#include <gtest/gtest.h>

namespace varve::codec {
namespace {

// The definition, bit by bit.
uint32_t slow(ByteView bytes) {
  uint32_t crc = ~0u;
  for (const std::byte b : bytes) {
    crc ^= std::to_integer<uint32_t>(b);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc;
}

TEST(Crc32c, KnownAnswers) {
  EXPECT_EQ(crc32c(ByteView{}), 0u);
  EXPECT_EQ(crc32c(as_bytes("123456789")), 0xe3069283u);
  EXPECT_EQ(crc32c(Buffer(32, std::byte{0})), 0x8a9136aau);
  EXPECT_EQ(crc32c(Buffer(32, std::byte{0xff})), 0x62a8ab43u);
}

TEST(Crc32c, PiecesAndLengths) {
  std::string text;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(crc32c(as_bytes(text)), slow(as_bytes(text)));
    const ByteView pieces[] = {
        as_bytes(text).first(text.size() / 3), {}, as_bytes(text).subspan(text.size() / 3)};
    EXPECT_EQ(crc32c(pieces), slow(as_bytes(text)));
    text += static_cast<char>(i * 37);
  }
}

}  // namespace
}  // namespace varve::codec
