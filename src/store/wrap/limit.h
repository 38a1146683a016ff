// How many calls may be under way at once, found out by what the store bears; shared by all workers.
#pragma once

#include <cstddef>

#include "store/store.h"

namespace varve::store {

struct LimitOptions {
  size_t start = 16;
  size_t least = 1;
  size_t most = 128;
};

// Calls beyond the limit wait (within their context's deadline and stop). The limit grows by one after as
// many successes in a row as it is wide, and is halved by a throttled call: once per crowd, for calls that
// were under way already when it was halved say nothing new. Put it below the retries, so that a call does
// not hold its place while it waits to try again.
class LimitStore : public Store {
 public:
  virtual size_t limit() const = 0;
};
std::shared_ptr<LimitStore> with_limit(StorePtr inner, LimitOptions options = {});

}  // namespace varve::store
