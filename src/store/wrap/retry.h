// Tries again what is known to pass, and only that. The one place in Varve that retries a store.
#pragma once

#include <chrono>
#include <functional>

#include "store/store.h"

namespace varve::store {

struct RetryOptions {
  int most_tries = 8;
  std::chrono::milliseconds first_delay{
      100};  // doubles with each try; the delay is random below it (full jitter)
  std::chrono::milliseconds longest_delay{20'000};
  std::function<double()> random = {};  // [0, 1); empty: the library's
};

// Failures with Retry::kTransient or kThrottled are tried again, within the context's deadline, stop and
// retry budget. The last failure is returned, with the number of tries in its context.
// A delay that the store asked for (Error::retry_after) is waited for, up to two minutes.
//  - put, create-only: kExists after an own earlier try failed is a success when the object holds our body;
//  an unanswered
//    request may have been carried out.
//  - get: goes on where the sink stopped; a body that ends early is a failure of that kind. An error of the
//  sink is
//    returned at once.
//  - remove: only the keys that failed so are tried again.
StorePtr with_retry(StorePtr inner, RetryOptions options = {});

}  // namespace varve::store
