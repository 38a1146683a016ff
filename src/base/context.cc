#include "base/context.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

namespace varve {

Context Context::with_deadline(SteadyClock::duration from_now) const {
  Context out = *this;
  out.deadline = std::min(deadline, SteadyClock::now() + from_now);
  return out;
}

Result<> Context::check() const {
  if (stop.stop_requested()) return fail(Code::kInterrupted, "interrupted");
  if (SteadyClock::now() >= deadline)
    return fail(Error{Code::kUnreachable, "the time allowed for the operation has passed"});
  return {};
}

Result<> Context::sleep(SteadyClock::duration d) const {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  auto until = std::min(deadline, SteadyClock::now() + d);
  wake.wait_until(lock, stop, until, [] { return false; });
  return check();
}

}  // namespace varve
