// Counts what crosses to a store: what a display, a bench and a bill are made from.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <memory>

#include "store/store.h"
#include "store/wrap/call_kind.h"

namespace varve::store {

struct CallStats {
  uint64_t calls = 0;
  uint64_t failures = 0;  // calls that returned an error; kNotFound and kExists are answers, not failures
  uint64_t bytes = 0;     // put: sent by successful calls; get: delivered; list and remove: number of keys
  std::chrono::microseconds total{0}, longest{0};
};

struct MetricsSnapshot {
  std::array<CallStats, kCallKinds> by_kind;
  const CallStats& of(CallKind kind) const { return by_kind[static_cast<size_t>(kind)]; }
};

// Thread-safe. The numbers of a snapshot may belong to moments some nanoseconds apart.
class Metrics {
 public:
  void record(CallKind kind, std::chrono::microseconds took, uint64_t bytes, bool failed);
  MetricsSnapshot snapshot() const;

 private:
  struct Counters {
    std::atomic<uint64_t> calls = 0, failures = 0, bytes = 0;
    std::atomic<int64_t> total_us = 0, longest_us = 0;
  };
  std::array<Counters, kCallKinds> counters_;
};

// Below the retries it counts requests, above them operations.
StorePtr with_metrics(StorePtr inner, std::shared_ptr<Metrics> metrics);

}  // namespace varve::store
