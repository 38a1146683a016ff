// How bytes are protected in packs and small objects alike: authenticated and, in an encrypted repository,
// unreadable.
#pragma once

#include "repo/repository.h"

namespace varve::repo {

// kAes256Gcm: ciphertext, then the tag of 16 bytes. kNone: the bytes themselves, then the first 16 bytes of
// BLAKE2b-256, keyed with `key`, over nonce (u64 LE) ‖ length of aad (u64 LE) ‖ aad ‖ bytes. A (key, nonce)
// pair is used for one plaintext only. One thread at a time.
class Sealer {
 public:
  static constexpr size_t kOverhead = crypto::kTagSize;
  Sealer(Encryption encryption, const crypto::SecretKey& key);

  // out.size() == plain.size() + kOverhead; both may begin at the same place.
  Result<> seal(uint64_t nonce, ByteView aad, ByteView plain, MutableBytes out);
  // out.size() == sealed.size() - kOverhead. kDamaged when it does not authenticate; then out is wiped.
  Result<> open(uint64_t nonce, ByteView aad, ByteView sealed, MutableBytes out);

 private:
  crypto::Digest tag(uint64_t nonce, ByteView aad, ByteView plain) const;
  Encryption encryption_;
  crypto::SecretKey key_;
  crypto::Cipher cipher_;
};

}  // namespace varve::repo
