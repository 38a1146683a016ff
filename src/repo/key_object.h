// keys/<key-id>: the repository's root key, wrapped for one secret (docs/format/keys.md).
#pragma once

#include <optional>
#include <string>

#include "repo/repository.h"

namespace varve::repo {

inline constexpr std::string_view kKeyPrefix = "keys/";

struct KeyObject {
  std::string id;  // 16 hexadecimal digits; the object's name
  RepoId repository;
  std::string kind;  // "passphrase" or "key-file"
  std::string label;
  Timestamp created = {};
  std::optional<crypto::Argon2Params> argon2id;  // kind "passphrase"
  Buffer check;                                  // 16 bytes: tells a wrong secret from an altered repository
  Buffer wrapped;                                // 48 bytes
  std::string text;                              // as stored
};

// kDamaged, naming the object; kUnsupported for a newer format.
Result<KeyObject> parse_key_object(std::string_view id, std::string_view text);

// What a person gave, parsed: kUsage when it cannot be a secret of its kind.
class Secret {
 public:
  static Result<Secret> from(const KeySource& source);
  const char* kind() const { return is_passphrase() ? "passphrase" : "key-file"; }

  // A new key object with a new id.
  Result<KeyObject> wrap(const Config& config, const crypto::Digest& config_digest,
                         const crypto::SecretKey& root, const std::string& label) const;
  // kUsage: not the secret this object was made for. kDamaged: the secret is right, but the object or
  // varve.json is not what it was when the object was made.
  Result<crypto::SecretKey> unwrap(const KeyObject& object, const crypto::Digest& config_digest) const;

 private:
  bool is_passphrase() const { return !passphrase_.empty(); }
  Result<crypto::SecretKey> master(const KeyObject& object) const;
  crypto::SecretText passphrase_;
  crypto::SecretKey file_key_;
};

}  // namespace varve::repo
