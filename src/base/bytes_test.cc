#include "base/bytes.h"

#include <gtest/gtest.h>

namespace varve {
namespace {

TEST(Bytes, Hexadecimal) {
  const Buffer bytes = {std::byte{0x00}, std::byte{0x7f}, std::byte{0xab}, std::byte{0xff}};
  EXPECT_EQ(to_hex(bytes), "007fabff");
  EXPECT_EQ(*from_hex("007fABff"), bytes);
  EXPECT_TRUE(from_hex("")->empty());
  for (const char* junk : {"0", "000", "0g", "g0", " 00", "0x00", "é"}) EXPECT_FALSE(from_hex(junk)) << junk;
}

TEST(Bytes, AllZero) {
  EXPECT_TRUE(all_zero({}));
  Buffer bytes(4096, std::byte{0});
  EXPECT_TRUE(all_zero(bytes));
  for (size_t i : {0, 1, 2047, 4095}) {
    bytes[i] = std::byte{1};
    EXPECT_FALSE(all_zero(bytes)) << i;
    bytes[i] = std::byte{0};
  }
  EXPECT_FALSE(all_zero(Buffer(4096, std::byte{7})));
}

TEST(Bytes, IntegersOfBothOrders) {
  std::byte place[8];
  store_le<uint32_t>(place, 0x01020304);
  EXPECT_EQ(to_hex(ByteView(place, 4)), "04030201");
  EXPECT_EQ(load_le<uint32_t>(place), 0x01020304u);
  store_be<uint64_t>(place, 0x0102030405060708);
  EXPECT_EQ(to_hex(place), "0102030405060708");
  EXPECT_EQ(load_be<uint64_t>(place), 0x0102030405060708u);
  store_be<uint8_t>(place, 0xfe);
  EXPECT_EQ(load_be<uint8_t>(place), 0xfe);
}

TEST(ByteReader, NeverReadsBeyondTheEnd) {
  const Buffer bytes = *from_hex("0102030405");
  ByteReader in(bytes);
  EXPECT_EQ(*in.be<uint16_t>(), 0x0102);
  EXPECT_EQ(in.position(), 2u);
  auto too_much = in.le<uint32_t>();
  ASSERT_FALSE(too_much);
  EXPECT_EQ(too_much.error().code, Code::kDamaged);
  EXPECT_EQ(in.remaining(), 3u) << "a refused read takes nothing";
  EXPECT_FALSE(in.take(SIZE_MAX));
  EXPECT_EQ(to_hex(*in.take(3)), "030405");
  EXPECT_TRUE(in.take(0));
  EXPECT_FALSE(in.le<uint8_t>());
}

TEST(Bytes, TextAndBuffers) {
  Buffer out = to_buffer(as_bytes("one"));
  append(out, as_bytes(" two"));
  EXPECT_EQ(as_text(out), "one two");
}

}  // namespace
}  // namespace varve
