// Bytes as everything in Varve passes them: views that do not own, buffers that do, little-endian fields.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.h"

namespace varve {

using ByteView = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

// A vector whose resize() leaves new bytes uninitialised: page buffers are filled at once by a read.
template <typename T>
struct UninitializedAllocator : std::allocator<T> {
  template <typename U>
  struct rebind {
    using other = UninitializedAllocator<U>;
  };
  template <typename U>
  void construct(U* p) noexcept {
    ::new (static_cast<void*>(p)) U;
  }
  template <typename U, typename... A>
  void construct(U* p, A&&... a) {
    ::new (static_cast<void*>(p)) U(std::forward<A>(a)...);
  }
};
using Buffer = std::vector<std::byte, UninitializedAllocator<std::byte>>;

inline ByteView as_bytes(std::string_view s) {
  return std::as_bytes(std::span(s.data(), s.size()));
}
inline std::string_view as_text(ByteView b) {
  return {reinterpret_cast<const char*>(b.data()), b.size()};
}
// memcpy, because the allocator hides from the library that it could: also where it moves to more memory.
inline void append(Buffer& to, ByteView b) {
  if (b.empty()) return;
  const size_t at = to.size(), size = at + b.size();
  if (to.capacity() < size) {
    Buffer larger;
    larger.reserve(size < 2 * at ? 2 * at : size);
    larger.resize(at);
    if (at > 0) std::memcpy(larger.data(), to.data(), at);
    larger.resize(size);
    std::memcpy(larger.data() + at, b.data(), b.size());  // before the old one goes: b may be of it
    to = std::move(larger);
    return;
  }
  to.resize(size);
  std::memcpy(to.data() + at, b.data(), b.size());
}
// As std::equal, which compares bytes one by one. Not for secrets: crypto::equal() is.
inline bool same_bytes(ByteView a, ByteView b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}
inline Buffer to_buffer(ByteView b) {
  Buffer out;
  append(out, b);
  return out;
}

// Lower-case hexadecimal; from_hex refuses odd length and other characters.
std::string to_hex(ByteView bytes);
Result<Buffer> from_hex(std::string_view text);

bool all_zero(ByteView bytes);

// Integers at a place of known size; the caller guarantees room. Hosts are little-endian (checked in
// bytes.cc).
template <typename T>
requires std::is_unsigned_v<T> T load_le(const std::byte* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <typename T>
requires std::is_unsigned_v<T>
void store_le(std::byte* p, T v) {
  std::memcpy(p, &v, sizeof v);
}
template <typename T>
requires std::is_unsigned_v<T> T load_be(const std::byte* p) {
  T v = 0;
  for (size_t i = 0; i < sizeof v; ++i) v = static_cast<T>((v << 8) | std::to_integer<T>(p[i]));
  return v;
}
template <typename T>
requires std::is_unsigned_v<T>
void store_be(std::byte* p, T v) {
  for (size_t i = sizeof v; i-- > 0; v = static_cast<T>(v >> 8)) p[i] = static_cast<std::byte>(v & 0xff);
}

// Reads fields off untrusted bytes; every read is checked against the end.
class ByteReader {
 public:
  explicit ByteReader(ByteView bytes) : bytes_(bytes) {}
  size_t remaining() const { return bytes_.size() - at_; }
  size_t position() const { return at_; }
  template <typename T>
  Result<T> le() {
    TRY_ASSIGN(ByteView b, take(sizeof(T)));
    return load_le<T>(b.data());
  }
  template <typename T>
  Result<T> be() {
    TRY_ASSIGN(ByteView b, take(sizeof(T)));
    return load_be<T>(b.data());
  }
  Result<ByteView> take(size_t n) {
    if (n > remaining()) return fail(Code::kDamaged, "unexpected end of data");
    ByteView out = bytes_.subspan(at_, n);
    at_ += n;
    return out;
  }

 private:
  ByteView bytes_;
  size_t at_ = 0;
};

}  // namespace varve
