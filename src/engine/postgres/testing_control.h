// For tests: pg_control as bytes, made field by field.
#pragma once

#include <bit>
#include <cstdint>

#include "base/bytes.h"
#include "codec/crc32c.h"
#include "engine/postgres/control_file.h"

namespace varve::engine::postgres::testing {

template <typename T>
void set(Buffer& image, size_t at, T value) {
  store_le<T>(image.data() + at, value);
}

// Puts the right CRC: after every change.
inline void seal(Buffer& image) {
  const size_t at = load_le<uint32_t>(image.data() + 8) == 1800 ? 292 : 288;
  set<uint32_t>(image, at, codec::crc32c(ByteView(image).first(at)));
}

// Of a cluster of PostgreSQL 15 (control_version 1300), 17 (1700) or 18 (1800) in production.
inline Buffer control_image(uint32_t control_version = 1300) {
  Buffer image(kControlSize);
  std::fill(image.begin(), image.end(), std::byte{0});
  set<uint64_t>(image, 0, 7312345678901234567);
  set<uint32_t>(image, 8, control_version);
  set<uint32_t>(image, 12, 202209061);
  set<uint32_t>(image, 16, 6);
  set<uint64_t>(image, 24, 1700000000);
  set<uint64_t>(image, 32, 0x1'02000060);
  set<uint64_t>(image, 40, 0x1'02000028);
  set<uint32_t>(image, 48, 3);
  set<uint32_t>(image, 52, 3);
  image[56] = std::byte{1};
  set<uint64_t>(image, 104, 1699999999);
  set<uint64_t>(image, 136, 0x1'01ffff00);
  set<uint32_t>(image, 144, 2);
  set<uint32_t>(image, 172, 1);
  set<uint32_t>(image, 180, 100);
  set<uint32_t>(image, 184, 8);
  set<uint32_t>(image, 188, 10);
  set<uint32_t>(image, 192, 0);
  set<uint32_t>(image, 196, 64);
  set<uint32_t>(image, 204, 8);
  set<uint64_t>(image, 208, std::bit_cast<uint64_t>(1234567.0));
  set<uint32_t>(image, 216, 8192);
  set<uint32_t>(image, 220, 131072);
  set<uint32_t>(image, 224, 8192);
  set<uint32_t>(image, 228, 16 << 20);
  set<uint32_t>(image, 252, 1);
  seal(image);
  return image;
}

}  // namespace varve::engine::postgres::testing
