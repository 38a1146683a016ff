// The key objects of a store.
#pragma once

#include "repo/key_object.h"

namespace varve::repo {

struct KeyRing {
  std::vector<KeyObject> keys;    // of this repository, ascending by id
  std::vector<Error> unreadable;  // damaged or unknown ones, each named
  size_t foreign = 0;             // intact ones of another repository: left by an init that did not end
};
Result<KeyRing> load_key_ring(const Context& ctx, store::Store& store, const RepoId& repository);

struct OpenedKey {
  crypto::SecretKey root;
  std::string key_id;
};
// Tries every object of the secret's kind.
Result<OpenedKey> open_with(const KeyRing& ring, const Secret& secret, const crypto::Digest& config_digest);

}  // namespace varve::repo
