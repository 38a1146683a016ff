#include "base/bytes.h"

#include <algorithm>
#include <bit>

namespace varve {

static_assert(std::endian::native == std::endian::little,
              "load_le/store_le copy: a big-endian host needs a swap");

std::string to_hex(ByteView bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (std::byte b : bytes) {
    out += kDigits[std::to_integer<unsigned>(b) >> 4];
    out += kDigits[std::to_integer<unsigned>(b) & 15];
  }
  return out;
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Result<Buffer> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return fail(Code::kUsage, "odd number of hexadecimal digits");
  Buffer out;
  out.reserve(text.size() / 2);
  for (size_t i = 0; i < text.size(); i += 2) {
    int hi = hex_digit(text[i]);
    int lo = hex_digit(text[i + 1]);
    if (hi < 0 || lo < 0) return fail(Code::kUsage, "not a hexadecimal digit");
    out.push_back(static_cast<std::byte>(hi * 16 + lo));
  }
  return out;
}

bool all_zero(ByteView bytes) {
  // A first look, then each byte equals its predecessor: memcmp does the second at memory speed.
  return bytes.empty() ||
         (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace varve
