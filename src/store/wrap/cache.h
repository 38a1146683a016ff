// Keeps small objects and ranges that were read, in memory.
#pragma once

#include "store/store.h"

namespace varve::store {

struct CacheOptions {
  size_t most_bytes = size_t{64} << 20;  // of all that is kept; the least recently used goes first
  size_t most_each = size_t{1} << 20;    // what is larger passes through
};

struct CacheStats {
  uint64_t hits = 0, misses = 0;
  size_t bytes = 0, entries = 0;
};

// Objects are immutable, so what was read stays true; only head and list always ask the store. A get that
// asks again for the same range of an object is answered from memory: also after another client removed the
// object. A put or remove through this store forgets the key.
class CacheStore : public Store {
 public:
  virtual CacheStats stats() const = 0;
};
std::shared_ptr<CacheStore> with_cache(StorePtr inner, CacheOptions options = {});

}  // namespace varve::store
