// Holds the bytes per second that cross to and from a store under a bound.
#pragma once

#include "store/store.h"

namespace varve::store {

// Bytes per second at this moment; 0: no limit. Called from any thread.
using Rate = std::function<uint64_t()>;

// One bound for both ways and all threads, on the average: a body goes out at once and the calls after it
// wait until it is paid for, at the rate of the moment it went.
StorePtr with_throttle(StorePtr inner, Rate rate);

}  // namespace varve::store
