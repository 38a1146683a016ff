// Refuses whatever would change the store.
#pragma once

#include "store/store.h"

namespace varve::store {

// put, remove and extend_retention are kDenied; the rest passes.
StorePtr with_readonly(StorePtr inner);

}  // namespace varve::store
