// Compression of one frame at a time. Objects are reusable and belong to one thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "base/bytes.h"
#include "base/error.h"

namespace varve::codec {

enum class Kind : uint8_t { kNone = 0, kZstd = 1, kLz4 = 2 };  // numbers are part of the format

struct Settings {
  Kind kind = Kind::kZstd;
  int level = 3;
};

class Compressor {
 public:
  explicit Compressor(Settings settings);
  ~Compressor();
  Compressor(Compressor&&) noexcept;
  // Appends the compressed form of plain to out and says how: kNone when compressing would not make it
  // smaller.
  Result<Kind> compress(ByteView plain, Buffer& out);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class Decompressor {
 public:
  Decompressor();
  ~Decompressor();
  Decompressor(Decompressor&&) noexcept;
  // Fills out exactly: kDamaged when the stored bytes give more, less, or nonsense. Never reads or writes
  // outside.
  Result<> decompress(Kind kind, ByteView stored, MutableBytes out);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The identity of a page's content: XXH3-64 under a secret of the repository (docs/format/, "page identity").
class PageHasher {
 public:
  static constexpr size_t kSecretSize = 192;
  explicit PageHasher(std::span<const std::byte, kSecretSize> secret);
  uint64_t operator()(ByteView page) const;

 private:
  std::array<std::byte, kSecretSize> secret_;
};
// Unkeyed XXH3-128 as a little-endian integer (low half first): tells damage (not forgery) of a whole pack.
using Checksum = std::array<std::byte, 16>;
Checksum checksum(ByteView bytes);
class Checksummer {
 public:
  Checksummer();
  ~Checksummer();
  Checksummer(const Checksummer&) = delete;
  Checksummer& operator=(const Checksummer&) = delete;
  void update(ByteView bytes);
  Checksum finish();

 private:
  void* state_;
};

}  // namespace varve::codec
