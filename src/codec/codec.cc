#include "codec/codec.h"

#include <algorithm>
#include <limits>
#include <lz4.h>
#include <string>
#include <xxhash.h>
#include <zstd.h>

namespace varve::codec {
namespace {

tl::unexpected<Error> damaged(std::string why) {
  return fail(Code::kDamaged, "compressed data are not what was written: " + std::move(why));
}

Checksum little_endian(XXH128_hash_t hash) {
  Checksum out;
  store_le(out.data(), uint64_t{hash.low64});
  store_le(out.data() + 8, uint64_t{hash.high64});
  return out;
}

template <auto F>
struct FreeBy {
  template <typename T>
  void operator()(T* p) const {
    F(p);
  }
};

}  // namespace

struct Compressor::Impl {
  Settings settings;
  std::unique_ptr<ZSTD_CCtx, FreeBy<ZSTD_freeCCtx>> zstd;
  std::vector<std::max_align_t> lz4;

  // The compressed size; 0 when the library gave up.
  size_t run(ByteView plain, MutableBytes out) {
    if (settings.kind == Kind::kZstd) {
      const size_t n = ZSTD_compress2(zstd.get(), out.data(), out.size(), plain.data(), plain.size());
      return ZSTD_isError(n) ? 0 : n;
    }
    return static_cast<size_t>(LZ4_compress_fast_extState(
        lz4.data(), reinterpret_cast<const char*>(plain.data()), reinterpret_cast<char*>(out.data()),
        static_cast<int>(plain.size()), static_cast<int>(out.size()), 1));
  }
};

Compressor::Compressor(Settings settings) : impl_(std::make_unique<Impl>()) {
  impl_->settings = settings;
  if (settings.kind == Kind::kZstd) {
    impl_->zstd.reset(ZSTD_createCCtx());
    const ZSTD_bounds bounds = ZSTD_cParam_getBounds(ZSTD_c_compressionLevel);
    ZSTD_CCtx_setParameter(impl_->zstd.get(), ZSTD_c_compressionLevel,
                           std::clamp(settings.level, bounds.lowerBound, bounds.upperBound));
    ZSTD_CCtx_setParameter(impl_->zstd.get(), ZSTD_c_checksumFlag, 0);  // frames are authenticated
  } else if (settings.kind == Kind::kLz4) {
    const auto need = static_cast<size_t>(LZ4_sizeofState());
    impl_->lz4.resize((need + sizeof(std::max_align_t) - 1) / sizeof(std::max_align_t));
  }
}
Compressor::~Compressor() = default;
Compressor::Compressor(Compressor&&) noexcept = default;

Result<Kind> Compressor::compress(ByteView plain, Buffer& out) {
  const Kind kind = impl_->settings.kind;
  if (kind == Kind::kZstd && !impl_->zstd) return fail(Code::kInternal, "zstd: out of memory");
  const size_t start = out.size();
  size_t bound = 0;  // stays 0 where the library takes no input of this size
  if (kind == Kind::kZstd) bound = ZSTD_compressBound(plain.size());
  if (kind == Kind::kLz4 && plain.size() <= LZ4_MAX_INPUT_SIZE)
    bound = static_cast<size_t>(LZ4_compressBound(static_cast<int>(plain.size())));
  if (!plain.empty() && bound > 0) {
    out.resize(start + bound);
    const size_t n = impl_->run(plain, MutableBytes(out).subspan(start));
    out.resize(start + n);
    if (n > 0 && n < plain.size()) return kind;
    out.resize(start);
  }
  append(out, plain);
  return Kind::kNone;
}

struct Decompressor::Impl {
  std::unique_ptr<ZSTD_DCtx, FreeBy<ZSTD_freeDCtx>> zstd;

  Result<> run_zstd(ByteView stored, MutableBytes out) {
    if (!zstd) zstd.reset(ZSTD_createDCtx());
    if (!zstd) return fail(Code::kInternal, "zstd: out of memory");
    // One frame of today's format and nothing after it: the library would also take skippable frames, several
    // frames, and the formats of its first versions.
    if (stored.size() < 4 || load_le<uint32_t>(stored.data()) != ZSTD_MAGICNUMBER)
      return damaged("not a zstd frame");
    if (ZSTD_findFrameCompressedSize(stored.data(), stored.size()) != stored.size())
      return damaged("the zstd frame is cut short or followed by something");
    // A single call that writes into the caller's memory: no window is allocated, whatever the header claims.
    const size_t n = ZSTD_decompressDCtx(zstd.get(), out.data(), out.size(), stored.data(), stored.size());
    if (ZSTD_isError(n)) return damaged(ZSTD_getErrorName(n));
    if (n != out.size()) return damaged("they decompress to another size");
    return {};
  }
};

Decompressor::Decompressor() : impl_(std::make_unique<Impl>()) {}
Decompressor::~Decompressor() = default;
Decompressor::Decompressor(Decompressor&&) noexcept = default;

Result<> Decompressor::decompress(Kind kind, ByteView stored, MutableBytes out) {
  switch (kind) {
    case Kind::kNone:
      if (stored.size() != out.size()) return damaged("they have another size");
      std::copy(stored.begin(), stored.end(), out.begin());
      return {};
    case Kind::kZstd:
      return impl_->run_zstd(stored, out);
    case Kind::kLz4: {
      constexpr size_t kMost = std::numeric_limits<int>::max();
      if (stored.size() > kMost || out.size() > kMost) return damaged("too large for lz4");
      const int n = LZ4_decompress_safe(reinterpret_cast<const char*>(stored.data()),
                                        reinterpret_cast<char*>(out.data()), static_cast<int>(stored.size()),
                                        static_cast<int>(out.size()));
      if (n < 0) return damaged("not an lz4 block");
      if (static_cast<size_t>(n) != out.size()) return damaged("they decompress to another size");
      return {};
    }
  }
  return damaged("the kind of compression is not known");
}

PageHasher::PageHasher(std::span<const std::byte, kSecretSize> secret) {
  static_assert(kSecretSize >= XXH3_SECRET_SIZE_MIN);
  std::copy(secret.begin(), secret.end(), secret_.begin());
}
uint64_t PageHasher::operator()(ByteView page) const {
  return XXH3_64bits_withSecret(page.data(), page.size(), secret_.data(), secret_.size());
}

Checksum checksum(ByteView bytes) {
  return little_endian(XXH3_128bits(bytes.data(), bytes.size()));
}

Checksummer::Checksummer() : state_(XXH3_createState()) {
  if (state_ == nullptr) throw std::bad_alloc();  // as `new` would
  XXH3_128bits_reset(static_cast<XXH3_state_t*>(state_));
}
Checksummer::~Checksummer() {
  XXH3_freeState(static_cast<XXH3_state_t*>(state_));
}
void Checksummer::update(ByteView bytes) {
  XXH3_128bits_update(static_cast<XXH3_state_t*>(state_), bytes.data(), bytes.size());
}
Checksum Checksummer::finish() {
  return little_endian(XXH3_128bits_digest(static_cast<const XXH3_state_t*>(state_)));
}

}  // namespace varve::codec
