// What accompanies an operation through the layers: who may stop it, by when it must end, and its trace id.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <stop_token>
#include <string>

#include "base/error.h"

namespace varve {

using SteadyClock = std::chrono::steady_clock;

// Copied freely (cheap); safe to read from any thread.
struct Context {
  std::stop_token stop = {};
  SteadyClock::time_point deadline = SteadyClock::time_point::max();
  std::string trace = {};
  // Transient failures that may still be retried by everyone who shares this context; null: no limit but the
  // deadline.
  std::shared_ptr<std::atomic<int>> retry_budget = {};

  Context with_deadline(SteadyClock::duration from_now) const;
  // kInterrupted when asked to stop, kUnreachable (transient) when the deadline has passed.
  Result<> check() const;
  // Sleeps for d, but no longer than the deadline and only until stopped; then check().
  Result<> sleep(SteadyClock::duration d) const;
};

}  // namespace varve
