#include "engine/postgres/page.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace varve::engine::postgres {
namespace {

constexpr size_t kLanes = 32;
constexpr uint32_t kPrime = 16777619;
constexpr size_t kChecksumAt = 8;

// The lanes' starting values, as checksum_impl.h has them.
constexpr std::array<uint32_t, kLanes> kOffsets = {
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756};

using Lanes = std::array<uint32_t, kLanes>;

// One row through all lanes; the compiler makes vector instructions of it.
inline void mix(Lanes& sums, const Lanes& values) {
  for (size_t i = 0; i < kLanes; ++i) {
    const uint32_t mixed = sums[i] ^ values[i];
    sums[i] = mixed * kPrime ^ (mixed >> 17);
  }
}

}  // namespace

uint64_t page_lsn(ByteView page) {
  return uint64_t{load_le<uint32_t>(page.data())} << 32 | load_le<uint32_t>(page.data() + 4);
}

uint16_t stored_checksum(ByteView page) {
  return load_le<uint16_t>(page.data() + kChecksumAt);
}

uint16_t page_checksum(ByteView page, uint32_t block) {
  Lanes sums = kOffsets, values;
  for (size_t at = 0; at + sizeof values <= page.size(); at += sizeof values) {
    std::memcpy(values.data(), page.data() + at, sizeof values);
    // The checksum itself counts as zero.
    if (at == 0) values[kChecksumAt / 4] &= 0xffff0000;
    mix(sums, values);
  }
  const Lanes zeros{};
  mix(sums, zeros);
  mix(sums, zeros);
  uint32_t all = 0;
  for (const uint32_t sum : sums) all ^= sum;
  all ^= block;
  // Never zero: zero stands for "none".
  return static_cast<uint16_t>(all % 65535 + 1);
}

PageState verify_page(ByteView page, uint32_t block, uint64_t start) {
  if (page_checksum(page, block) == stored_checksum(page)) return PageState::kGood;
  if (all_zero(page)) return PageState::kGood;
  return page_lsn(page) >= start ? PageState::kRepaired : PageState::kBad;
}

}  // namespace varve::engine::postgres
