#include "store/wrap/throttle.h"

#include <algorithm>
#include <mutex>

#include "store/wrap/forward.h"

namespace varve::store {
namespace {

class Throttle : public Forward {
 public:
  Throttle(StorePtr inner, Rate rate) : Forward(std::move(inner)), rate_(std::move(rate)) {}

  Result<> put(const Context& ctx, const Key& key, Body body, const PutOptions& options) override {
    TRY_OK(spend(ctx, body_size(body)));
    return inner().put(ctx, key, body, options);
  }

  Result<uint64_t> get(const Context& ctx, const Key& key, Range range, const Sink& sink) override {
    return inner().get(ctx, key, range, [&](ByteView piece) -> Result<> {
      TRY_OK(spend(ctx, piece.size()));
      return sink(piece);
    });
  }

 private:
  // Waits until what others took before is paid, and books our own bytes behind it.
  Result<> spend(const Context& ctx, uint64_t bytes) {
    const uint64_t rate = rate_();
    if (rate == 0) return {};
    const auto cost = std::chrono::duration_cast<SteadyClock::duration>(
        std::chrono::duration<double>(static_cast<double>(bytes) / static_cast<double>(rate)));
    const auto now = SteadyClock::now();
    SteadyClock::time_point begin;
    {
      std::lock_guard lock(mutex_);
      // Time in which nothing moved is not saved up for a burst later.
      begin = std::max(paid_until_, now);
      paid_until_ = begin + cost;
    }
    if (begin <= now) return {};
    return ctx.sleep(begin - now);
  }

  const Rate rate_;
  std::mutex mutex_;
  SteadyClock::time_point paid_until_ = {};
};

}  // namespace

StorePtr with_throttle(StorePtr inner, Rate rate) {
  return std::make_shared<Throttle>(std::move(inner), std::move(rate));
}

}  // namespace varve::store
