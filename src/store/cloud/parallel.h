// How the drivers of the clouds are best asked.
#pragma once

#include <cstddef>

namespace varve::store::cloud {

// Ranges of 8 MiB: with 20 ms to the store and back, so many fill a line of 10 Gbit/s, and while some wait
// for their first byte or are decoded, the others keep it filled.
inline constexpr size_t kParallelGets = 8;

}  // namespace varve::store::cloud
