// Reading what may be damaged in one store from others that have it, too.
#pragma once

#include "store/store.h"

namespace varve::repo {

// Calls `read` with the store; if what it read is not what it should be, or cannot be had, with each of its
// alternatives, until one will do. The first failure is what is told. Safe because `read` authenticates: any
// store's bytes will do that pass.
template <typename Read>
auto read_any(store::Store& store, const Read& read) -> decltype(read(store)) {
  auto first = read(store);
  if (first || first.error().code == Code::kInterrupted || first.error().code == Code::kUsage) return first;
  for (const store::StorePtr& other : store.alternatives()) {
    if (auto again = read(*other)) return again;
  }
  return first;
}

}  // namespace varve::repo
