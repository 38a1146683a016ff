// Holds the bytes per second that cross to and from a store under a bound.
#pragma once

#include "store/store.h"

namespace varve::store {

// One bound for both ways and all threads, on the average: a body goes out at once and the calls after it
// wait until it is paid for. bytes_per_second > 0.
StorePtr with_throttle(StorePtr inner, uint64_t bytes_per_second);

}  // namespace varve::store
