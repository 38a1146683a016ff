#include "codec/crc32c.h"

#include <array>

namespace varve::codec {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;  // reflected

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? kPolynomial : 0);
    table[i] = crc;
  }
  return table;
}
constexpr auto kTable = make_table();

uint32_t by_table(uint32_t crc, ByteView bytes) {
  for (const std::byte b : bytes) crc = (crc >> 8) ^ kTable[(crc ^ std::to_integer<uint32_t>(b)) & 0xff];
  return crc;
}

#ifdef __x86_64__
// The processor has an instruction for just this polynomial.
__attribute__((target("sse4.2"))) uint32_t by_instruction(uint32_t crc, ByteView bytes) {
  uint64_t wide = crc;
  size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8)
    wide = __builtin_ia32_crc32di(wide, load_le<uint64_t>(bytes.data() + at));
  crc = static_cast<uint32_t>(wide);
  for (; at < bytes.size(); ++at) crc = __builtin_ia32_crc32qi(crc, std::to_integer<uint8_t>(bytes[at]));
  return crc;
}
#endif

}  // namespace

uint32_t crc32c(ByteView bytes, uint32_t before) {
#ifdef __x86_64__
  static const bool has_instruction = __builtin_cpu_supports("sse4.2");
  if (has_instruction) return ~by_instruction(~before, bytes);
#endif
  return ~by_table(~before, bytes);
}

uint32_t crc32c(std::span<const ByteView> pieces) {
  uint32_t crc = 0;
  for (const ByteView& piece : pieces) crc = crc32c(piece, crc);
  return crc;
}

}  // namespace varve::codec
