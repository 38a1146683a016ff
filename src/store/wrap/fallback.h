// Several stores that hold the same objects, read as one: what the first does not have, or cannot give, comes
// from the others.
#pragma once

#include <vector>

#include "store/store.h"

namespace varve::store {

struct FallbackOptions {
  // Lists what any of them has. Without it the others are listed only when the first cannot be.
  bool unite = true;
  std::chrono::seconds first_answer{20};  // who has not answered once by then is left alone …
  std::chrono::seconds left_alone{600};   // … for so long, as is who cannot be reached later
};

struct FallbackUse {
  std::string store;     // its address
  uint64_t objects = 0;  // that came from it
};

// Objects are immutable and their readers authenticate them, so any store's will do. get and head ask the
// first, then the others, where it fails or has no such object; a get goes on where it stopped. Whether bytes
// are the right ones is known only to their reader: it asks alternatives() for others. put, remove and
// extend_retention are for the first alone.
class FallbackStore : public Store {
 public:
  virtual std::vector<FallbackUse> uses() const = 0;  // of the others, in order; those that gave nothing, too
  virtual std::optional<Error> first_down() const = 0;  // why the first is left alone at present
};
std::shared_ptr<FallbackStore> with_fallback(StorePtr first, std::vector<StorePtr> others,
                                             FallbackOptions options = {});

}  // namespace varve::store
