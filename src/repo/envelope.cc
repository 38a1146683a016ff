#include <fmt/format.h>

#include "repo/replicas.h"
#include "repo/repository.h"
#include "repo/sealer.h"

namespace varve::repo {
namespace {

constexpr std::string_view kMagic = "VARVOBJ1";
constexpr std::string_view kContext = "varve object 1";
constexpr size_t kSaltSize = 32;
constexpr size_t kFixedSize = 16;  // magic, encryption, codec, reserved, plain size
constexpr size_t kHeaderSize = kFixedSize + kSaltSize;
constexpr size_t kChecksumSize = sizeof(codec::Checksum);
constexpr uint32_t kMaxPlain = 256u << 20;

Buffer object_aad(ByteView fixed, const RepoId& repo, std::string_view kind, std::string_view key) {
  Buffer aad = to_buffer(as_bytes(kContext));
  aad.push_back(std::byte{0});
  append(aad, fixed);
  append(aad, repo.view());
  append(aad, as_bytes(kind));
  aad.push_back(std::byte{0});
  append(aad, as_bytes(key));
  return aad;
}

crypto::SecretKey object_key(const Repository& repo, ByteView salt) {
  Buffer info = to_buffer(repo.id().view());
  append(info, salt);
  return repo.derive(kContext, info);
}

tl::unexpected<Error> damaged(const store::Key& key, std::string_view why) {
  return fail(Code::kDamaged, fmt::format("{}: {}", key, why));
}

struct Header {
  codec::Kind codec{};
  uint32_t plain_size = 0;
};

Result<Header> parse_header(const store::Key& key, ByteView bytes, Encryption encryption) {
  if (bytes.size() < kHeaderSize + Sealer::kOverhead + kChecksumSize)
    return damaged(key, "is too short to be whole");
  if (as_text(bytes.first(kMagic.size())) != kMagic) return damaged(key, "is not an object of Varve's");
  if (!Repository::object_is_intact(bytes)) return damaged(key, "its checksum does not match its content");
  const auto codec = std::to_integer<uint8_t>(bytes[9]);
  if (bytes[8] != static_cast<std::byte>(encryption) || codec > static_cast<uint8_t>(codec::Kind::kLz4) ||
      load_le<uint16_t>(bytes.data() + 10) != 0)
    return damaged(key, "its header is not one of this repository");
  const auto plain_size = load_le<uint32_t>(bytes.data() + 12);
  if (plain_size > kMaxPlain) return damaged(key, "is larger than any object may be");
  return Header{static_cast<codec::Kind>(codec), plain_size};
}

}  // namespace

bool Repository::object_is_intact(ByteView bytes) {
  if (bytes.size() < kHeaderSize + Sealer::kOverhead + kChecksumSize) return false;
  const codec::Checksum sum = codec::checksum(bytes.first(bytes.size() - kChecksumSize));
  return std::equal(sum.begin(), sum.end(), bytes.end() - kChecksumSize);
}

Result<Buffer> Repository::seal_object(std::string_view kind, const store::Key& key, ByteView plain) const {
  if (plain.size() > kMaxPlain)
    return fail(Code::kUnsupported, fmt::format("{}: is larger than an object may be (256 MiB)", key));
  Buffer packed;
  TRY_ASSIGN(const codec::Kind codec, codec::Compressor({}).compress(plain, packed));

  Buffer out(kHeaderSize + packed.size() + Sealer::kOverhead);
  const MutableBytes header = MutableBytes(out).first(kHeaderSize);
  std::memcpy(header.data(), kMagic.data(), kMagic.size());
  header[8] = static_cast<std::byte>(config_.encryption);
  header[9] = static_cast<std::byte>(codec);
  store_le(header.data() + 10, uint16_t{0});
  store_le(header.data() + 12, static_cast<uint32_t>(plain.size()));
  const MutableBytes salt = header.subspan(kFixedSize);
  crypto::random_bytes(salt);

  const Buffer aad = object_aad(header.first(kFixedSize), id(), kind, key);
  Sealer sealer(config_.encryption, object_key(*this, salt));
  TRY_OK(sealer.seal(0, aad, packed, MutableBytes(out).subspan(kHeaderSize)));
  append(out, codec::checksum(out));
  return out;
}

Result<Buffer> Repository::open_object(std::string_view kind, const store::Key& key, ByteView bytes) const {
  TRY_ASSIGN(const Header header, parse_header(key, bytes, config_.encryption));
  const ByteView salt = bytes.subspan(kFixedSize, kSaltSize);
  const ByteView sealed = bytes.subspan(kHeaderSize, bytes.size() - kHeaderSize - kChecksumSize);
  Buffer packed(sealed.size() - Sealer::kOverhead);
  const Buffer aad = object_aad(bytes.first(kFixedSize), id(), kind, key);
  Sealer sealer(config_.encryption, object_key(*this, salt));
  if (auto opened = sealer.open(0, aad, sealed, packed); !opened) {
    if (opened.error().code != Code::kDamaged) return fail(std::move(opened).error());
    return damaged(key,
                   "does not authenticate: it was altered, belongs elsewhere, or is of another repository");
  }
  Buffer plain(header.plain_size);
  if (!codec::Decompressor().decompress(header.codec, packed, plain))
    return damaged(key, "its content cannot be decompressed");
  return plain;
}

Result<> Repository::put_object(const Context& ctx, std::string_view kind, const store::Key& key,
                                ByteView plain, const store::PutOptions& how) const {
  TRY_OK(check_may_write());
  TRY_ASSIGN(const Buffer sealed, seal_object(kind, key, plain));
  // A compressor's bug must not become a manifest that nobody can read.
  auto back = open_object(kind, key, sealed);
  if (!back || !same_bytes(*back, plain))
    return fail(Code::kInternal,
                fmt::format("{}: what was sealed does not open again; nothing was stored", key));
  return store::put_bytes(*store_, ctx, key, sealed, how);
}

Result<Buffer> Repository::get_object(const Context& ctx, std::string_view kind,
                                      const store::Key& key) const {
  // Incompressible content is stored as it is, so no object is longer than this.
  constexpr uint64_t kMost = kMaxPlain + kHeaderSize + Sealer::kOverhead + kChecksumSize;
  return read_any(*store_, [&](store::Store& from) -> Result<Buffer> {
    TRY_ASSIGN(const Buffer sealed, store::get_bytes(from, ctx, key, kMost));
    return open_object(kind, key, sealed);
  });
}

}  // namespace varve::repo
