#include "repo/sealer.h"

namespace varve::repo {

Sealer::Sealer(Encryption encryption, const crypto::SecretKey& key)
    : encryption_(encryption), key_(key), cipher_(key) {}

crypto::Digest Sealer::tag(uint64_t nonce, ByteView aad, ByteView plain) const {
  std::array<std::byte, 16> head;
  store_le(head.data(), nonce);
  store_le(head.data() + 8, uint64_t{aad.size()});
  crypto::Hasher hasher(key_.bytes());
  hasher.update(head);
  hasher.update(aad);
  hasher.update(plain);
  return hasher.finish();
}

Result<> Sealer::seal(uint64_t nonce, ByteView aad, ByteView plain, MutableBytes out) {
  if (encryption_ == Encryption::kAes256Gcm) return cipher_.seal(nonce, aad, plain, out);
  if (out.size() != plain.size() + kOverhead) return fail(Code::kInternal, "sealing: the lengths do not fit");
  const crypto::Digest digest = tag(nonce, aad, plain);
  if (!plain.empty()) std::memmove(out.data(), plain.data(), plain.size());
  std::memcpy(out.data() + plain.size(), digest.data(), kOverhead);
  return {};
}

Result<> Sealer::open(uint64_t nonce, ByteView aad, ByteView sealed, MutableBytes out) {
  if (sealed.size() < kOverhead || out.size() != sealed.size() - kOverhead)
    return fail(Code::kDamaged, "sealed bytes are too short to be whole");
  if (encryption_ == Encryption::kAes256Gcm) return cipher_.open(nonce, aad, sealed, out);
  const ByteView plain = sealed.first(out.size());
  const crypto::Digest digest = tag(nonce, aad, plain);
  if (!crypto::equal(ByteView(digest).first(kOverhead), sealed.subspan(out.size()))) {
    crypto::wipe(out);
    return fail(Code::kDamaged, "the bytes do not authenticate: they were changed, or belong elsewhere");
  }
  if (!plain.empty()) std::memmove(out.data(), plain.data(), plain.size());
  return {};
}

}  // namespace varve::repo
