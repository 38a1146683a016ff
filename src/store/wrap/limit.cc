#include "store/wrap/limit.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

namespace varve::store {
namespace {

class Limiter {
 public:
  explicit Limiter(LimitOptions o) : options_(o), limit_(std::clamp(o.start, o.least, o.most)) {}

  // The number of the crowd the call belongs to; give it back to leave().
  Result<uint64_t> enter(const Context& ctx) {
    std::unique_lock lock(mutex_);
    TRY_OK(ctx.check());
    auto room = [&] { return under_way_ < limit_; };
    const bool entered = ctx.deadline == SteadyClock::time_point::max()
                             ? freed_.wait(lock, ctx.stop, room)
                             : freed_.wait_until(lock, ctx.stop, ctx.deadline, room);
    if (!entered) {
      lock.unlock();
      TRY_OK(ctx.check());
      return fail(Code::kInternal, "a wait for the store ended without a reason");
    }
    ++under_way_;
    return crowd_;
  }

  void leave(uint64_t crowd, bool succeeded, bool throttled) {
    std::lock_guard lock(mutex_);
    --under_way_;
    if (throttled && crowd == crowd_) {
      limit_ = std::max(options_.least, limit_ / 2);
      ++crowd_;
      successes_ = 0;
    } else if (succeeded && ++successes_ >= limit_) {
      limit_ = std::min(options_.most, limit_ + 1);
      successes_ = 0;
    }
    freed_.notify_all();
  }

  size_t limit() const {
    std::lock_guard lock(mutex_);
    return limit_;
  }

 private:
  const LimitOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable_any freed_;
  size_t limit_;
  size_t under_way_ = 0;
  size_t successes_ = 0;
  uint64_t crowd_ = 0;
};

class Limited : public LimitStore {
 public:
  Limited(StorePtr inner, LimitOptions options) : inner_(std::move(inner)), limiter_(options) {}

  size_t limit() const override { return limiter_.limit(); }
  Capabilities capabilities() const override { return inner_->capabilities(); }
  size_t parallel_gets() const override { return inner_->parallel_gets(); }
  std::string describe() const override { return inner_->describe(); }
  std::string policy() const override { return inner_->policy(); }
  Result<> put(const Context& ctx, const Key& key, Body body, const PutOptions& options) override {
    return within(ctx, [&] { return inner_->put(ctx, key, body, options); });
  }
  Result<uint64_t> get(const Context& ctx, const Key& key, Range range, const Sink& sink) override {
    return within(ctx, [&] { return inner_->get(ctx, key, range, sink); });
  }
  Result<ObjectInfo> head(const Context& ctx, const Key& key) override {
    return within(ctx, [&] { return inner_->head(ctx, key); });
  }
  Result<ListPage> list(const Context& ctx, const std::string& prefix, const std::string& token,
                        size_t most) override {
    return within(ctx, [&] { return inner_->list(ctx, prefix, token, most); });
  }
  Result<std::vector<RemoveResult>> remove(const Context& ctx, std::span<const Key> keys) override {
    return within(ctx, [&] { return inner_->remove(ctx, keys); });
  }
  Result<> extend_retention(const Context& ctx, const Key& key, Timestamp until) override {
    return within(ctx, [&] { return inner_->extend_retention(ctx, key, until); });
  }
  Result<uint64_t> remove_unfinished(const Context& ctx, Seconds age) override {
    return within(ctx, [&] { return inner_->remove_unfinished(ctx, age); });
  }

 private:
  static bool is_throttled(const Error& e) { return e.retry == Retry::kThrottled; }
  template <typename T>
  static bool throttled(const Result<T>& result) {
    return !result && is_throttled(result.error());
  }
  // A bucket throttles single keys of a bulk removal.
  static bool throttled(const Result<std::vector<RemoveResult>>& result) {
    if (!result) return is_throttled(result.error());
    return std::any_of(result->begin(), result->end(),
                       [](const RemoveResult& r) { return !r.result && is_throttled(r.result.error()); });
  }

  template <typename Call>
  auto within(const Context& ctx, const Call& call) -> decltype(call()) {
    TRY_ASSIGN(const uint64_t crowd, limiter_.enter(ctx));
    auto result = call();
    limiter_.leave(crowd, result.has_value(), throttled(result));
    return result;
  }

  StorePtr inner_;
  Limiter limiter_;
};

}  // namespace

std::shared_ptr<LimitStore> with_limit(StorePtr inner, LimitOptions options) {
  return std::make_shared<Limited>(std::move(inner), options);
}

}  // namespace varve::store
