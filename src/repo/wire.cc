#include "repo/wire.h"

#include <fmt/format.h>

namespace varve::repo {
namespace {

// Length of the well-formed sequence that text begins with; 0: none (Unicode, table 3-7).
size_t sequence(std::string_view text) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80) return 1;
  const size_t n = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < n) return 0;
  for (size_t i = 1; i < n; ++i)
    if ((at(i) & 0xc0) != 0x80) return 0;
  const unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  return at(1) < low || at(1) > high ? 0 : n;
}

}  // namespace

std::string utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t n = sequence(text);
    out += n > 0 ? text.substr(0, n) : "\xef\xbf\xbd";
    text.remove_prefix(n > 0 ? n : 1);
  }
  return out;
}

Buffer serialize(const google::protobuf::MessageLite& message) {
  Buffer out(message.ByteSizeLong());
  message.SerializeWithCachedSizesToArray(reinterpret_cast<uint8_t*>(out.data()));
  return out;
}

Result<> parse(google::protobuf::MessageLite& message, ByteView bytes, std::string_view what) {
  if (bytes.size() > INT_MAX || !message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return fail(Code::kDamaged, fmt::format("{}: is not encoded as it must be", what));
  return {};
}

Result<Timestamp> time_from_wire(int64_t micros) {
  constexpr int64_t kEarliest = -62'135'596'800'000'000, kLatest = 253'402'300'799'999'999;
  if (micros < kEarliest || micros > kLatest)
    return fail(Code::kDamaged, "a moment is outside of every calendar");
  return Timestamp(std::chrono::microseconds(micros));
}

}  // namespace varve::repo
