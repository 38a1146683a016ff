#include "engine/postgres/stream_message.h"

#include <gtest/gtest.h>

namespace varve::engine::postgres {
namespace {

Buffer bytes(std::initializer_list<int> list) {
  Buffer out;
  for (int b : list) out.push_back(static_cast<std::byte>(b));
  return out;
}

// 2000-01-01 00:00:01 UTC.
constexpr Timestamp kSecond{std::chrono::microseconds(946'684'801'000'000)};

TEST(StreamMessage, Data) {
  const Buffer m = bytes(
      {'w', 0, 0, 0, 1, 0, 0, 0x20, 0, 0, 0, 0, 1, 0, 0, 0x30, 0, 0, 0, 0, 0, 0, 0x0f, 0x42, 0x40, 7, 8});
  const auto parsed = parse_stream_message(m);
  ASSERT_TRUE(parsed);
  const auto& data = std::get<StreamData>(*parsed);
  EXPECT_EQ(data.start, 0x100002000u);
  EXPECT_EQ(data.end, 0x100003000u);
  EXPECT_EQ(data.sent, kSecond);
  EXPECT_EQ(to_buffer(data.bytes), bytes({7, 8}));
}

TEST(StreamMessage, Keepalive) {
  const Buffer m = bytes({'k', 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0x0f, 0x42, 0x40, 1});
  const auto parsed = parse_stream_message(m);
  ASSERT_TRUE(parsed);
  const auto& alive = std::get<StreamKeepalive>(*parsed);
  EXPECT_EQ(alive.sent_up_to, 0x2000u);
  EXPECT_EQ(alive.sent, kSecond);
  EXPECT_TRUE(alive.reply_now);
}

TEST(StreamMessage, WhatIsNoneIsRefused) {
  EXPECT_EQ(parse_stream_message({}).error().code, Code::kDamaged);
  EXPECT_EQ(parse_stream_message(bytes({'x', 1, 2, 3})).error().code, Code::kDamaged);
  Buffer data(25), alive(18);
  std::fill(data.begin(), data.end(), std::byte{0});
  std::fill(alive.begin(), alive.end(), std::byte{0});
  data[0] = std::byte{'w'};
  alive[0] = std::byte{'k'};
  ASSERT_TRUE(parse_stream_message(data));
  ASSERT_TRUE(parse_stream_message(alive));
  for (size_t n = 0; n < data.size(); ++n) EXPECT_FALSE(parse_stream_message(ByteView(data).first(n))) << n;
  for (size_t n = 0; n < alive.size(); ++n) EXPECT_FALSE(parse_stream_message(ByteView(alive).first(n))) << n;
  // A time beyond all years, and bytes beyond the last position.
  Buffer late = alive;
  store_be<uint64_t>(late.data() + 9, INT64_MAX);
  EXPECT_FALSE(parse_stream_message(late));
  Buffer beyond = data;
  store_be<uint64_t>(beyond.data() + 1, UINT64_MAX);
  beyond.resize(27);
  EXPECT_FALSE(parse_stream_message(beyond));
}

TEST(StreamMessage, Status) {
  EXPECT_EQ(encode_stream_status(0x100002000, 0x100001000, kSecond, true),
            bytes({'r', 0, 0, 0, 1, 0, 0, 0x20, 0, 0, 0, 0, 1, 0,    0,    0x10, 0,
                   0,   0, 0, 0, 0, 0, 0, 0,    0, 0, 0, 0, 0, 0x0f, 0x42, 0x40, 1}));
}

}  // namespace
}  // namespace varve::engine::postgres
