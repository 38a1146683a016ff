// A credential that runs out and is fetched anew: by one thread, before it is too late, while the others go
// on with the old one.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <utility>

#include "base/context.h"
#include "base/time.h"

namespace varve::store::cloud {

template <typename T>
class Expiring {
 public:
  struct Fetched {
    T value;
    std::optional<Timestamp> expires;  // nullopt: never
  };
  using Fetch = std::function<Result<Fetched>(const Context&)>;

  // A value is renewed when less than `margin` is left of it; where that fails it serves until it expires.
  explicit Expiring(Fetch fetch, Seconds margin = std::chrono::minutes(5))
      : fetch_(std::move(fetch)), margin_(margin) {}

  Result<T> get(const Context& ctx) {
    std::unique_lock lock(mutex_);
    const Timestamp at = now();
    if (held_ && (!held_->expires || *held_->expires - at > margin_)) return held_->value;
    if (held_ && (!held_->expires || *held_->expires > at) && (fetching_ || at < next_try_))
      return held_->value;
    while (fetching_) {
      lock.unlock();
      TRY_OK(ctx.sleep(std::chrono::milliseconds(10)));
      lock.lock();
      if (!fetching_ && held_ && (!held_->expires || *held_->expires > now())) return held_->value;
    }
    fetching_ = true;
    lock.unlock();
    auto fetched = fetch_(ctx);
    lock.lock();
    fetching_ = false;
    if (fetched) {
      held_ = std::move(*fetched);
      return held_->value;
    }
    if (held_ && held_->expires && *held_->expires > now()) {
      next_try_ = now() + kBetweenTries;
      return held_->value;
    }
    return fail(std::move(fetched).error());
  }

  // The store refused the value: the next get() fetches another. Only `refused` is dropped, for another
  // thread may have renewed it already.
  void drop(const T& refused) {
    std::lock_guard lock(mutex_);
    if (held_ && held_->value == refused) held_.reset();
  }

 private:
  static constexpr Seconds kBetweenTries{20};

  const Fetch fetch_;
  const Seconds margin_;
  std::mutex mutex_;
  std::optional<Fetched> held_;
  bool fetching_ = false;
  Timestamp next_try_ = {};
};

}  // namespace varve::store::cloud
