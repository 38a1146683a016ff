// A place in the WAL: a byte position (LSN), and its text as PostgreSQL prints it.
#pragma once

#include <charconv>
#include <cstdint>
#include <fmt/format.h>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/text.h"

namespace varve::engine::postgres {

// "16/B374D848"
inline std::string position_text(uint64_t lsn) {
  return fmt::format("{:X}/{:X}", lsn >> 32, lsn & 0xffffffff);
}

inline Result<uint64_t> parse_position(std::string_view text) {
  const size_t slash = text.find('/');
  const auto half = [](std::string_view digits, uint64_t& out) {
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out, 16);
    return !digits.empty() && digits.size() <= 8 && error == std::errc() &&
           end == digits.data() + digits.size();
  };
  uint64_t high = 0, low = 0;
  if (slash == text.npos || !half(text.substr(0, slash), high) || !half(text.substr(slash + 1), low))
    return fail(Code::kDamaged, fmt::format("\"{}\" is no WAL position", printable(text)));
  return high << 32 | low;
}

}  // namespace varve::engine::postgres
